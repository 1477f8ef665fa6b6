"""A stage on this machine that remembers: jobs, schedules, executions, pauses, refusals. It runs no AWS.

Its rules are the manager's own where they are plain functions: what a job is, when it fires, what is refused.
A test compares its answers with the OpenAPI document. It may be given many jobs and executions, which it
makes up when they are asked for.
"""

import json
import re
import secrets
import threading
import time
from base64 import b64encode
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from typing import Any, cast

from jobmanager.callbacks.body import callback_errors
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import (
    BadRequest,
    Conflict,
    Gone,
    ManagedElsewhere,
    NotFound,
    PreconditionFailed,
    ScheduleLimitReached,
    TargetTestFailed,
    counted,
)
from jobmanager.core.names import execution_id as id_of_execution
from jobmanager.core.names import job_guid, job_key, name_errors, split_job_key
from jobmanager.jobs.after import ends_of, parents_of
from jobmanager.jobs.definition import DEFINITION_FIELDS, is_chained, is_paused, overlap
from jobmanager.jobs.next_runs import next_runs_of
from jobmanager.jobs.timing import schedule_key, searched_key_of, timing_of_job
from jobmanager.jobs.validation import definition, job_errors
from jobmanager.limits.definition import DEFINITION_FIELDS as LIMIT_FIELDS
from jobmanager.limits.definition import Limit
from jobmanager.limits.validation import limit_definition
from jobmanager.limits.view import limit_view
from jobmanager.schedules.expression import is_rate
from jobmanager.schedules.fire_times import fire_times_within, next_fire_times
from jobmanager.schedules.keys import is_plain, timing_of
from jobmanager.schedules.limit import nearest
from jobmanager.schedules.local_times import local_time_at
from jobmanager.schedules.preview import preview_schedule
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.warnings import warnings_of
from jobmanager.schedules.zones import zone_of

type Json = dict[str, Any]
type Answer = tuple[int, Json | None, dict[str, str]]

REGION = "eu-central-1"
CALLER = "arn:aws:iam::123456789012:user/ann"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:sjm-local-notifications"
FINAL = ("success", "fail", "timeout", "skipped", "cancelled")

_DAY_MS = 86_400_000
_GENERATED_SCHEDULES = 250
# A prime with no factor in common with the numbers of jobs in use, so that the runs of a day are spread.
_STRIDE = 7919
_JOBS_OF_A_SERVICE = 1000
_MAX_WAITING = 100
_LOOKED_AT_FOR_A_PAGE = 2000
_MOST_OF_A_CHAIN = 200
_LEFT_OUT_OF_LISTS = ("payload", "state", "attempts")


class Stage:
    """The state of a stage. ``jobs`` and ``executions`` of the last day are made up when asked for."""

    def __init__(self, *, jobs: int = 0, executions: int = 0, schedule_limit: int = 300) -> None:
        self.schedule_limit = schedule_limit
        self.url = ""
        self.received: list[tuple[str, str]] = []
        self.notifications: list[Json] = []
        self.target_answers: dict[str, Json] = {}
        self.warnings: list[Json] = []  # of every job that is put
        self.failures: list[tuple[re.Pattern[str], int, Json | None]] = []
        self.seconds_to_answer = 0.0
        self.began_ms = now_ms()
        self.lock = threading.RLock()
        self._job_count, self._execution_count = jobs, executions
        self._jobs: dict[str, Json | None] = {}  # None: a made-up job that was deleted
        self._executions: dict[str, Json] = {}
        self._limits: dict[tuple[str, str], Limit] = {}
        self._secrets: dict[str, list[Json]] = {}
        self._tokens: dict[str, tuple[str, int]] = {}
        self._idempotent: dict[str, str] = {}
        # Of a job that runs after others: the latest end of each that it has not run after yet.
        self._arrived: dict[str, dict[str, Json]] = {}
        self._schedules = Counter(
            {
                schedule_of(number): len(range(number, jobs, _GENERATED_SCHEDULES))
                for number in range(min(jobs, _GENERATED_SCHEDULES))
            }
        )

    # What a test does beside the API

    def fail_next(self, request: str, status: int, document: Json | None = None) -> None:
        """Answers the next request whose "METHOD /path" matches with a failure, instead of doing it."""
        self.failures.append((re.compile(request), status, document))

    def fire(self, schedule: str, at_ms: int | None = None) -> list[Json]:
        """Delivers a tick of a schedule; returns the executions of the jobs that are not made up."""
        with self.lock:
            at_ms = at_ms or now_ms() // 1000 * 1000
            key = searched_key_of(schedule)
            due = [job for job in self._jobs.values() if job and _key_of(job) == key]
            return [self._begin(job, at_ms, at_ms) for job in due if job["enabled"]]

    def callback_url(self, job_name: str) -> str:
        """The ``callback_url`` of the job's latest notification."""
        return next(
            str(each["callback_url"]) for each in reversed(self.notifications) if each["job_name"] == job_name
        )

    def end(self, identifier: str, status: str, **result: Any) -> None:
        """Ends an execution as the manager does, for example with ``timeout``."""
        with self.lock:
            self._end_attempt(self._executions[identifier], status, result)

    def add(self, execution: Json) -> None:
        """Puts an execution into the history as it is."""
        with self.lock:
            self._executions[execution["execution_id"]] = execution

    def change(self, service_name: str, job_name: str, **fields: Any) -> None:
        """Writes into a job, as somebody else does."""
        with self.lock:
            job = self._job(service_name, job_name)
            self._save({**job, **fields, "version": job["version"] + 1, "updated_at": iso(now_ms())})

    # Jobs

    def put_job(self, service_name: str, job_name: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """PUT of a job."""
        errors = name_errors(service_name, job_name) + job_errors(body, _resolve)
        if errors:
            raise BadRequest(counted(len(errors), "field", "not as expected"), errors=errors)
        defined = definition({"workflow_type": "standard", **body}, TOPIC)
        old = self._find(service_name, job_name)
        self._check_precondition(service_name, job_name, old, headers)
        if old and "managed_by" in old:
            detail = f"{job_key(service_name, job_name)} is defined in {old['managed_by']}: change it there"
            raise ManagedElsewhere(detail, managed_by=old["managed_by"])
        if body.get("test_invocation", True) and defined["invocation_type"] == "http":
            self._tested(defined["invocation_target"])
        schedule = _key_of(defined)
        for number, name in enumerate(parents_of(defined)):
            if self._find(service_name, name) is None:
                raise _bad(f"after/{number}/job", f"there is no {name}: PUT it first")
        is_new = schedule is not None and not self._schedules[schedule]
        if is_new and self._used_schedules() >= self.schedule_limit:
            raise ScheduleLimitReached(
                f"{schedule} would be one more unique schedule than the {self.schedule_limit} that this stage"
                " may have: choose one that is in use, or have schedule_limit raised",
                limit=self.schedule_limit,
                nearest_schedules=nearest(str(schedule), self._in_use(), now_ms()),
            )
        of_schedule = warnings_of(schedule, None, None, now_ms()) if schedule else []
        warnings: Any = [*of_schedule, *self.warnings]
        at = iso(now_ms())
        kept = {name: value for name, value in (old or {}).items() if name not in DEFINITION_FIELDS}
        job = {
            "service_name": service_name,
            "job_name": job_name,
            "job_guid": job_guid(service_name, job_name),
            "created_at": at,
            "last_successful_execution": {},
            **kept,
            **defined,
            "overlap": overlap(defined),
            "version": old["version"] + 1 if old else 1,
            "updated_at": at,
            "updated_by": CALLER,
        }
        if old and all(old.get(name) == job.get(name) for name in DEFINITION_FIELDS):
            job = old
        self._save(job)
        shown = job | ({"warnings": warnings} if warnings else {})
        return (200 if old else 201), shown, {"etag": f'"{job["version"]}"'}

    def get_job(self, service_name: str, job_name: str) -> Answer:
        """GET of a job."""
        job = self._job(service_name, job_name)
        stored: Any = job | ({"paused": _stored(job["paused"])} if "paused" in job else {})
        shown = _shown(job) | next_runs_of(stored, now_ms())
        children = [each["job_name"] for each in self._children_of(job)]
        gone = [name for name in parents_of(job) if self._find(service_name, name) is None]
        shown |= {name: found for name, found in (("children", children), ("orphaned_by", gone)) if found}
        return 200, shown, {"etag": f'"{job["version"]}"'}

    def delete_job(self, service_name: str, job_name: str, headers: Mapping[str, str]) -> Answer:
        """DELETE of a job."""
        old = self._find(service_name, job_name)
        self._check_precondition(service_name, job_name, old, headers)
        if old:
            self._count(old, -1)
            self._jobs[job_key(service_name, job_name)] = None
        return 204, None, {}

    def pause_job(self, service_name: str, job_name: str, body: Json) -> Answer:
        """POST …/pause."""
        job = self._job(service_name, job_name)
        if not isinstance(body.get("reason"), str) or not body["reason"]:
            raise _bad("reason", "expected a string of 1 to 1024 characters")
        if "until" in body and _ms("until", body["until"]) <= now_ms():
            raise _bad("until", "expected a time in the future")
        until = {"until": iso(_ms("until", body["until"]))} if "until" in body else {}
        paused = {"reason": body["reason"], **until, "paused_at": iso(now_ms()), "paused_by": CALLER}
        self._save({**job, "paused": paused, "version": job["version"] + 1})
        return 200, _shown(self._job(service_name, job_name)), {}

    def resume_job(self, service_name: str, job_name: str) -> Answer:
        """POST …/resume."""
        job = dict(self._job(service_name, job_name))
        if job.pop("paused", None):
            self._save({**job, "version": job["version"] + 1})
        return 200, job, {}

    def backfill_job(self, service_name: str, job_name: str, body: Json) -> Answer:
        """POST …/backfill, of a job whose times are known."""
        job = self._job(service_name, job_name)
        if is_chained(job):
            raise BadRequest("A job that runs after others has no times to backfill.")
        since_ms = _ms("since", body["since"])
        until_ms = _ms("until", body["until"]) if "until" in body else now_ms()
        ran = {
            each["scheduled_time_ms"]
            for each in self._executions.values()
            if each["job_guid"] == job["job_guid"] and "started_by" not in each
        }
        times = fire_times_within(timing_of_job(job), since_ms - 1, since_ms, until_ms - 1)
        missed = [ms for ms in times if ms not in ran or not body["only_missed"]]
        zone = job.get("time_zone", "UTC")
        backfill_of = {"backfill_id": "3f9a01c27be4", "requested_at": iso(now_ms()), "requested_by": CALLER}
        if not body["dry_run"]:
            for ms in missed:
                self._begin(job, ms, now_ms(), "", backfill_of=backfill_of)
        found = {
            "backfill_id": "3f9a01c27be4",
            "schedule": job["schedule"],
            "time_zone": zone,
            "since": iso(since_ms),
            "until": iso(until_ms),
            "only_missed": body["only_missed"],
            "dry_run": body["dry_run"],
            "count": len(missed),
            "times": [
                {
                    "scheduled_time": iso(ms),
                    "local_time": local_time_at(ms, zone_of(zone)).iso(),
                    "execution_id": id_of_execution(job["job_guid"], ms),
                }
                for ms in missed
            ],
        }
        return (200 if body["dry_run"] else 202), found, {}

    def test_job(self, service_name: str, job_name: str) -> Answer:
        """POST …/test."""
        job = self._job(service_name, job_name)
        target = {name: job[name] for name in ("invocation_type", "invocation_target")}
        seen = (
            self._tested(job["invocation_target"])
            if job["invocation_type"] == "http"
            else {"message_id": "5e8e7dd9"}
        )
        return 200, {**target, "seen": seen}, {}

    def list_jobs(self, search: Json) -> Answer:
        """Lists of jobs."""
        services, names = _several(search, "service_name"), _several(search, "job_name")
        owners, guids = _several(search, "owner"), _several(search, "job_guid")
        schedule = searched_key_of(search["schedule"]) if "schedule" in search else None
        tags = search.get("tags", {})

        def is_wanted(job: Json) -> bool:
            return (
                (not services or job["service_name"] in services)
                and (not names or job["job_name"] in names)
                and (not owners or job.get("owner") in owners)
                and (not guids or job["job_guid"] in guids)
                and (schedule is None or (_key_of(job) == schedule and job["enabled"]))
                and all(job.get("tags", {}).get(name) == value for name, value in tags.items())
            )

        after = search.get("more", "")
        if len(services) == 1:
            after = max(after, f"{services[0]}/")
        found = ((key, self._find(*split_job_key(key))) for key in self._keys_after(after))
        until = f"{services[0]}0" if len(services) == 1 else None  # 0 comes after /
        listed: Iterator[tuple[str, Json]] = ((key, job) for key, job in found if job)
        if until:
            listed = _while_below(listed, until)
        return 200, _page(listed, is_wanted, search), {}

    # Executions

    def start_execution(
        self, service_name: str, job_name: str, body: Json, headers: Mapping[str, str], **more: Any
    ) -> Answer:
        """POST …/executions, and with ``rerun_of`` a rerun."""
        job = self._job(service_name, job_name)
        if (key := headers.get("idempotency-key")) and (known := self._idempotent.get(key)):
            return 201, self._executions[known], {}
        if "lock_execution" in job and job["overlap"] == "skip":
            raise Conflict(
                f"The lock is held by {job['lock_execution']}.", lock_execution=job["lock_execution"]
            )
        at_ms = now_ms()
        more |= {"started_by": CALLER, "payload": body.get("payload", job["payload"])}
        execution = self._begin(job, at_ms // 1000 * 1000, at_ms, secrets.token_hex(5), **more)
        if key:
            self._idempotent[key] = execution["execution_id"]
        paused = {"paused": job["paused"]} if "paused" in job else {}
        return 201, execution | paused, {}

    def rerun_execution(
        self, service_name: str, job_name: str, execution_id: str, headers: Mapping[str, str]
    ) -> Answer:
        """POST …/rerun."""
        old = self._execution(service_name, job_name, execution_id)
        body = {"payload": old["payload"]} if "payload" in old else {}
        status, new, more = self.start_execution(service_name, job_name, body, headers, rerun_of=execution_id)
        assert new
        reruns = list(dict.fromkeys([*old.get("reruns", []), new["execution_id"]]))
        self._executions[execution_id] = old | {"reruns": reruns}
        return status, new, more

    def cancel_execution(self, service_name: str, job_name: str, execution_id: str, body: Json) -> Answer:
        """POST …/cancel."""
        execution = self._execution(service_name, job_name, execution_id)
        if execution["status"] not in ("waiting", "running", "cancelled"):
            raise Conflict(
                f"The execution has ended as {execution['status']}; there is nothing to cancel.",
                execution_status=execution["status"],
            )
        if execution["status"] in ("waiting", "running"):
            cause = f"cancelled by {CALLER}: {body.get('reason', 'no reason given')}"
            self._executions[execution_id] = execution
            self._end(execution, "cancelled", {"cause": cause})
        return 200, self._executions[execution_id], {}

    def get_execution(self, service_name: str, job_name: str, execution_id: str) -> Answer:
        """GET of an execution."""
        return 200, self._execution(service_name, job_name, execution_id), {}

    def get_chain(self, service_name: str, job_name: str, execution_id: str) -> Answer:
        """GET of the chain of an execution."""
        seen = self._along("parents", [self._execution(service_name, job_name, execution_id)])
        known = {each["execution_id"] for each in seen}
        roots = [each for each in seen if not known & {*_linked(each, "parents")}]
        found = self._along("children", roots)
        shown = [
            {name: value for name, value in each.items() if name not in _LEFT_OUT_OF_LISTS}
            for each in found[:_MOST_OF_A_CHAIN]
        ]
        chain = {"roots": [each["execution_id"] for each in roots], "executions": shown}
        return 200, {**chain, "is_cut": len(found) > _MOST_OF_A_CHAIN}, {}

    def list_executions(self, search: Json) -> Answer:
        """Lists of executions, newest first."""
        services, names = _several(search, "service_name"), _several(search, "job_name")
        statuses, reasons = _several(search, "status"), _several(search, "reason")
        guids = _several(search, "job_guid")
        by = "started_at_ms" if search.get("by") == "started_at" else "scheduled_time_ms"
        since = _time_or_day(search["since"]) if "since" in search else None
        until = _time_or_day(search["until"]) if "until" in search else None

        def is_wanted(execution: Json) -> bool:
            return (
                (not services or execution["service_name"] in services)
                and (not names or execution["job_name"] in names)
                and (not statuses or execution["status"] in statuses)
                and (not reasons or execution.get("reason", {}).get("code") in reasons)
                and (not guids or execution["job_guid"] in guids)
                and (until is None or execution[by] < until)
            )

        def key(execution: Json) -> tuple[int, int, str]:
            return -(execution[by] // 1000), -execution["started_at_ms"], execution["execution_id"]

        made_up = self._made_up_executions(services, names, search.get("more"), until)
        saved = sorted((each for each in self._executions.values()), key=key)
        listed = (each for each in merge(saved, made_up, key=key))
        if "more" in search:
            position = json.loads(search["more"])
            listed = (each for each in listed if list(key(each)) > position)
        keyed: Iterator[tuple[str, Json]] = ((json.dumps(list(key(each))), each) for each in listed)
        if since is not None:
            keyed = _while_since(keyed, by, since)
        return 200, _page(keyed, is_wanted, search), {}

    def receive_callback(self, callback_token: str, body: Json) -> Answer:
        """POST to a ``callback_url``."""
        if callback_token not in self._tokens:
            raise NotFound("This is no callback_url of this stage.")
        identifier, attempt = self._tokens[callback_token]
        execution = self._executions[identifier]
        job = self._job(execution["service_name"], execution["job_name"])
        if errors := callback_errors(body, job["ttl_seconds"]):
            raise BadRequest(counted(len(errors), "field", "not as expected"), errors=errors)
        is_over = execution["status"] != "running" or execution.get("attempt") != attempt
        if is_over or "next_attempt_at" in execution:
            raise Gone("Stop: the execution or its attempt is over.", execution_status=execution["status"])
        if body["status"] == "processing":
            seconds: int = body.get("extend_seconds") or job["ttl_seconds"]
            lock_expires_at = iso(now_ms() + 1000 * seconds)
            progress = {"progress": body["progress"]} if "progress" in body else {}
            self._executions[identifier] = execution | progress | {"lock_expires_at": lock_expires_at}
        else:
            result = {name: value for name, value in body.items() if name != "status"}
            self._end_attempt(execution, body["status"], result)
        now = self._executions[identifier]
        kept = {name: now[name] for name in ("execution_id", "attempt", "status")}
        more: Json = {name: now[name] for name in ("progress", "next_attempt_at") if name in now}
        return 200, {**kept, **more, "lock_expires_at": now.get("lock_expires_at", iso(now_ms()))}, {}

    def next_attempt(self, identifier: str) -> None:
        """Begins the attempt for which an execution waits."""
        with self.lock:
            execution = dict(self._executions[identifier])
            del execution["next_attempt_at"]
            execution |= {"attempt": execution["attempt"] + 1, "service_invoked_at_ms": now_ms()}
            for name in ("progress", "summary", "error", "cause"):
                execution.pop(name, None)
            running = {
                "attempt": execution["attempt"],
                "status": "running",
                "service_invoked_at_ms": now_ms(),
            }
            execution["attempts"] = [*execution["attempts"], running]
            self._executions[identifier] = execution
            self._notify(execution)

    # Schedules

    def list_schedules(self, search: Json) -> Answer:
        """GET of the schedules in use."""
        limit = _limit(search)
        in_use = [schedule for schedule in self._in_use() if schedule > search.get("more", "")]
        found = [
            {
                "schedule_key": schedule,
                "schedule": timing_of(schedule).schedule,
                "time_zone": timing_of(schedule).time_zone,
                **_bounds_of(timing_of(schedule)),
                "trigger_type": "rule" if is_plain(timing_of(schedule)) else "scheduler",
                "job_count": self._schedules[schedule],
                "rule": "in step",
                "next_fire_times": None
                if is_rate(schedule)
                else [iso(ms) for ms in next_fire_times(timing_of(schedule), now_ms(), 3)],
            }
            for schedule in in_use[:limit]
        ]
        paging = {"more": found[-1]["schedule_key"]} if len(in_use) > limit else {}
        used = self._used_schedules()
        counts = {"schedule_count": used, "rule_count": used, "schedule_limit": self.schedule_limit}
        return 200, {"results": found, "paging": paging, **counts}, {}

    def preview_schedule(self, search: Json) -> Answer:
        """GET of the next fire times of a schedule."""
        return 200, preview_schedule(search, now_ms()), {}

    def reconcile_schedules(self) -> Answer:
        """POST that reconciles: here, everything is always in step."""
        done = {"checked": self._used_schedules(), "changed": [], "missed": [], "completed": 0}
        return 200, {**done, "complete": True}, {}

    # Limits

    def put_limit(self, service_name: str, limit_name: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """PUT of a limit."""
        defined = limit_definition(service_name, limit_name, body)
        old = self._limits.get((service_name, limit_name))
        if "if-none-match" in headers and old is not None:
            raise PreconditionFailed(f"{limit_name} exists.", version=old["version"])
        now = iso(now_ms())
        kept: Any = {name: value for name, value in (old or {}).items() if name not in LIMIT_FIELDS}
        limit: Any = {
            "created_at": now,
            **kept,
            **defined,
            "service_name": service_name,
            "limit_name": limit_name,
            "version": 1 + (old["version"] if old else 0),
            "updated_at": now,
            "updated_by": CALLER,
        }
        self._limits[service_name, limit_name] = limit
        _, shown, more = self.get_limit(service_name, limit_name)
        return 200 if old else 201, shown, more

    def get_limit(self, service_name: str, limit_name: str) -> Answer:
        """GET of a limit."""
        limit = self._limits.get((service_name, limit_name))
        if limit is None:
            raise NotFound(f"There is no limit {service_name}/{limit_name}.")
        return 200, limit_view(limit, now_ms()), {"etag": f'"{limit["version"]}"'}

    def list_limits(self, service_name: str) -> Answer:
        """GET of the limits of a service."""
        of_service = [each for (service, _), each in sorted(self._limits.items()) if service == service_name]
        return 200, {"results": [limit_view(each, now_ms()) for each in of_service], "paging": {}}, {}

    def delete_limit(self, service_name: str, limit_name: str) -> Answer:
        """DELETE of a limit that no job names."""
        self.get_limit(service_name, limit_name)
        jobs = [job for job in self._jobs.values() if job and job["service_name"] == service_name]
        users = [job["job_name"] for job in jobs if job.get("limit") == limit_name]
        if users:
            raise Conflict(f"{limit_name} is the limit of {', '.join(users)}.")
        del self._limits[service_name, limit_name]
        return 204, None, {}

    def use_limit(self, service_name: str, limit_name: str, **attributes: Any) -> None:
        """Writes into a limit what executions do: holders, waiting_count, next_start_ms."""
        self._limits[service_name, limit_name].update(cast(Any, attributes))

    # Webhook secrets

    def create_webhook_secret(self, service_name: str, body: Json) -> Answer:
        """POST of a secret."""
        at_ms = now_ms()
        expires_at = iso(at_ms + 1000 * body.get("overlap_seconds", 86_400))
        others = [{**each, "expires_at": expires_at} for each in self._secrets.get(service_name, [])]
        new = {"secret_id": secrets.token_hex(8), "created_at": iso(at_ms), "created_by": CALLER}
        self._secrets[service_name] = [new, *others]
        secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
        return 201, {"service_name": service_name, **new, "secret": secret, "others": others}, {}

    def list_webhook_secrets(self, service_name: str) -> Answer:
        """GET of the secrets of a service, without what is secret."""
        return 200, {"results": self._secrets.get(service_name, []), "paging": {}}, {}

    def delete_webhook_secret(self, service_name: str, secret_id: str, force: str | None) -> Answer:
        """DELETE of a secret."""
        kept = [each for each in self._secrets.get(service_name, []) if each["secret_id"] != secret_id]
        if len(kept) == len(self._secrets.get(service_name, [])):
            raise NotFound("There is no such secret.")
        if force != "true" and not any("expires_at" not in each for each in kept):
            raise Conflict("This is the last secret without an end. Create another one first.")
        self._secrets[service_name] = kept
        return 204, None, {}

    # Inside

    def _find(self, service_name: str, job_name: str) -> Json | None:
        key = job_key(service_name, job_name)
        if key in self._jobs:
            return self._jobs[key]
        number = _number_of(service_name, job_name)
        return _made_up_job(number) if number is not None and number < self._job_count else None

    def _job(self, service_name: str, job_name: str) -> Json:
        job = self._find(service_name, job_name)
        if job is None:
            raise NotFound(f"There is no job {job_key(service_name, job_name)}. PUT it to create it.")
        return job

    def _execution(self, service_name: str, job_name: str, execution_id: str) -> Json:
        found = self._executions.get(execution_id)
        if found is None and (number := _run_of(execution_id)) is not None and number < self._execution_count:
            found = self._made_up_execution(number)
        if found is None or (found["service_name"], found["job_name"]) != (service_name, job_name):
            raise NotFound(f"{job_key(service_name, job_name)} has no execution {execution_id}.")
        return found

    def _save(self, job: Json) -> None:
        if old := self._find(job["service_name"], job["job_name"]):
            self._count(old, -1)
        self._jobs[job_key(job["service_name"], job["job_name"])] = job
        self._count(job, 1)

    def _count(self, job: Json, change: int) -> None:
        key = _key_of(job)
        if key and job["enabled"] and "until" in job.get("paused", {"until": ""}):
            self._schedules[key] += change

    def _children_of(self, job: Json) -> list[Json]:
        """The jobs that run after a job, by name."""
        found = [
            each
            for each in self._jobs.values()
            if each and each["service_name"] == job["service_name"] and job["job_name"] in parents_of(each)
        ]
        return sorted(found, key=lambda each: str(each["job_name"]))

    def _along(self, link: str, level: list[Json]) -> list[Json]:
        """Executions, then those to which they link, and so on."""
        found = {each["execution_id"]: each for each in level}
        while level:
            names = dict.fromkeys(name for each in level for name in _linked(each, link))
            level = [
                self._executions[name] for name in names if name in self._executions and name not in found
            ]
            found |= {each["execution_id"]: each for each in level}
        return list(found.values())

    def _start_children(self, job: Json, ended: Json) -> None:
        """Starts each job for which this was the last of the ends that it waits for."""
        for child in self._children_of(job):
            if ended["status"] not in ends_of(child, job["job_name"]):
                continue
            arrived = self._arrived.setdefault(child["job_guid"], {})
            arrived[job["job_name"]] = ended
            if set(arrived) < set(parents_of(child)):
                continue
            del self._arrived[child["job_guid"]]
            parents = [
                {"job": name, **{field: arrived[name][field] for field in ("execution_id", "status")}}
                for name in parents_of(child)
            ]
            at_ms = ended["finished_at_ms"]
            begun = self._begin(child, at_ms // 1000 * 1000, at_ms, secrets.token_hex(5), parents=parents)
            for name in parents_of(child):
                parent = self._executions[arrived[name]["execution_id"]]
                children = [*parent.get("children", []), begun["execution_id"]]
                self._executions[parent["execution_id"]] = parent | {"children": children}

    def _in_use(self) -> list[str]:
        return sorted(schedule for schedule, count in self._schedules.items() if count > 0)

    def _used_schedules(self) -> int:
        return sum(count > 0 for count in self._schedules.values())

    def _check_precondition(
        self, service_name: str, job_name: str, old: Json | None, headers: Mapping[str, str]
    ) -> None:
        key = job_key(service_name, job_name)
        if match := headers.get("if-match"):
            if old is None:
                raise PreconditionFailed(f"There is no job {key}. Leave If-Match out to create it.")
            if match != "*" and f'"{old["version"]}"' not in match:
                raise PreconditionFailed(
                    f"{key} is at version {old['version']}, which If-Match does not name. GET it.",
                    version=old["version"],
                )
        if "if-none-match" in headers and old is not None:
            raise PreconditionFailed(f"{key} exists, at version {old['version']}.", version=old["version"])

    def _tested(self, target: str) -> Json:
        seen = self.target_answers.get(target, {"http_status": 202, "duration_ms": 31})
        if not 200 <= seen.get("http_status", 0) < 300:
            what = f"it answered HTTP {seen['http_status']}" if "http_status" in seen else seen["error"]
            raise TargetTestFailed(
                f"{target} does not take notifications: {what}.",
                seen=seen,
                errors=[{"pointer": "/invocation_target", "detail": what}],
            )
        return seen

    def _begin(self, job: Json, scheduled_ms: int, at_ms: int, suffix: str = "", **more: Any) -> Json:
        identifier = id_of_execution(job["job_guid"], scheduled_ms, suffix)
        names = ("service_name", "job_name", "job_guid", "schedule", "invocation_type", "invocation_target")
        execution: Json = {
            **{name: job[name] for name in names if name in job},
            "execution_id": identifier,
            "workflow_type": job["workflow_type"],
            "exclusive": job["exclusive"],
            "scheduled_time": iso(scheduled_ms),
            "scheduled_time_ms": scheduled_ms,
            "started_at_ms": at_ms,
            "payload": job["payload"],
            **more,
        }
        paused: Any = {**job, "paused": _stored(job["paused"])} if "paused" in job else job
        if is_paused(paused, at_ms) and not {"started_by", "backfill_of"} & more.keys():
            execution |= _skipped(at_ms, "job_paused", f"the job is paused: {job['paused']['reason']}")
        elif "lock_execution" in job and job["overlap"] == "skip":
            execution |= _skipped(at_ms, "lock_held", f"the lock is held by {job['lock_execution']}")
        elif "lock_execution" in job and job["overlap"] != "cancel_running":
            return self._wait(job, execution, at_ms)
        else:
            if "lock_execution" in job:
                cause = f"cancelled for {identifier}"
                self._end(self._executions[job["lock_execution"]], "cancelled", {"cause": cause})
                job = self._job(job["service_name"], job["job_name"])
            return self._run(job, execution, at_ms)
        self._executions[identifier] = execution
        return execution

    def _run(self, job: Json, execution: Json, at_ms: int) -> Json:
        identifier = execution["execution_id"]
        execution |= {
            "status": "running",
            "attempt": 1,
            "started_at_ms": at_ms,
            "service_invoked_at_ms": at_ms,
            "invocation_latency_ms": at_ms - execution["scheduled_time_ms"],
            "lock_expires_at": iso(at_ms + 1000 * job["ttl_seconds"]),
        }
        execution.pop("reason", None)
        if "retry" in job:
            first = {"attempt": 1, "status": "running", "service_invoked_at_ms": at_ms}
            execution["attempts"] = [first]
        if job["exclusive"]:
            fencing_token = job.get("fencing_token", 0) + 1
            execution["fencing_token"] = fencing_token
            lock = {"lock_execution": identifier, "lock_expires_at": execution["lock_expires_at"]}
            self._save(job | lock | {"fencing_token": fencing_token})
        self._notify(execution)
        self._executions[identifier] = execution
        return execution

    def _wait(self, job: Json, execution: Json, at_ms: int) -> Json:
        others = self._waiting(job)
        if job["overlap"] == "queue_one":
            for each in others:
                detail = f"{execution['execution_id']} waits in its place"
                self._executions[each["execution_id"]] = each | _skipped(at_ms, "superseded", detail)
        if job["overlap"] == "queue_all" and len(others) == _MAX_WAITING:
            execution |= _skipped(at_ms, "queue_full", f"{_MAX_WAITING} executions of the job wait already")
        else:
            reason = {"code": "lock_held", "detail": f"the lock is held by {job['lock_execution']}"}
            execution |= {"status": "waiting", "reason": reason, "waiting_since_ms": at_ms}
        self._executions[execution["execution_id"]] = execution
        return execution

    def _waiting(self, job: Json) -> list[Json]:
        """What waits for the lock of a job, in the order of the scheduled times."""
        found = [
            each
            for each in self._executions.values()
            if each["job_guid"] == job["job_guid"] and each["status"] == "waiting"
        ]
        return sorted(found, key=lambda each: (each["scheduled_time_ms"], each["execution_id"]))

    def _notify(self, execution: Json) -> None:
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (execution["execution_id"], execution["attempt"])
        names = ("service_name", "job_name", "job_guid", "execution_id", "attempt", "payload")
        notification = {name: execution[name] for name in names}
        self.notifications.append({**notification, "callback_url": f"{self.url}/callback/{token}"})

    def _end_attempt(self, execution: Json, status: str, result: Json) -> None:
        job = self._job(execution["service_name"], execution["job_name"])
        retry = job.get("retry")
        at_ms = now_ms()
        if retry:
            ended = {**execution["attempts"][-1], "status": status, "finished_at_ms": at_ms, **result}
            ended.pop("state", None)
            execution = {**execution, "attempts": [*execution["attempts"][:-1], ended]}
            if status in retry["on"] and execution["attempt"] < retry["max_attempts"]:
                wait = retry["interval_seconds"] * retry["backoff_rate"] ** (execution["attempt"] - 1)
                execution["next_attempt_at"] = iso(at_ms + int(1000 * min(wait, 3600)))
                execution.pop("service_invoked_at_ms", None)
                self._executions[execution["execution_id"]] = execution
                return
        self._end(execution, status, result)

    def _end(self, execution: Json, status: str, result: Json) -> None:
        at_ms = now_ms()
        ended = {**execution, "status": status, "finished_at_ms": at_ms, **result}
        for name in ("lock_expires_at", "next_attempt_at"):
            ended.pop(name, None)
        if "service_invoked_at_ms" in ended:
            ended["duration_ms"] = at_ms - ended["service_invoked_at_ms"]
        self._executions[execution["execution_id"]] = ended
        job = self._find(execution["service_name"], execution["job_name"])
        if job is None:
            return
        names = ["execution_id", "scheduled_time", "scheduled_time_ms", "service_invoked_at_ms"]
        names += ["finished_at_ms", "fencing_token", "status", "summary"]
        last = {name: ended[name] for name in names if name in ended}
        job = {**job, "last_execution": last}
        if status == "success":
            state = {"state": ended["state"]} if "state" in ended else {}
            job["last_successful_execution"] = last | state
        if job.get("lock_execution") == execution["execution_id"]:
            del job["lock_execution"], job["lock_expires_at"]
        self._save(job)
        self._start_children(job, ended)
        if "lock_execution" not in job and (waiting := self._waiting(job)):
            self._run(job, dict(waiting[0]), at_ms)

    def _keys_after(self, after: str) -> Iterator[str]:
        numbers = range(self._job_count)
        first = bisect_right(numbers, after, key=lambda number: job_key(*_names_of(number)))
        made_up = (job_key(*_names_of(number)) for number in numbers[first:])
        own = sorted(key for key in self._jobs if key > after)
        previous = ""
        for key in merge(made_up, own):
            if key != previous:
                yield key
            previous = key

    def _made_up_execution(self, run: int) -> Json:
        return made_up_execution(run, self._job_count, self._execution_count, self.began_ms)

    def _made_up_executions(
        self, services: list[str], names: list[str], more: str | None, until: int | None
    ) -> Iterator[Json]:
        """The made-up executions, newest first, except those that a request has changed since."""
        if not self._execution_count:
            return
        step = _DAY_MS / self._execution_count
        low = 1000 * json.loads(more)[0] if more else -(until or self.began_ms)
        first, stride = max(0, int((self.began_ms + low - 1000) / step) - 1), 1
        if len(services) == 1 and len(names) == 1:
            number = _number_of(services[0], names[0])
            if number is None or number >= self._job_count:
                return
            # The runs of one job are those whose number times the stride is the job's.
            of_job = number * pow(_STRIDE, -1, self._job_count) % self._job_count
            stride = self._job_count
            first += (of_job - first) % stride
        for run in range(first, self._execution_count, stride):
            made_up = self._made_up_execution(run)
            if made_up["execution_id"] not in self._executions:
                yield made_up


def now_ms() -> int:
    """The time, in ms since 1970."""
    return time.time_ns() // 1_000_000


def schedule_of(number: int) -> str:
    """The schedule of a made-up job."""
    kind = number % _GENERATED_SCHEDULES
    if kind == 0:
        return "rate(5 minutes)"
    return f"cron({kind % 60} {1 + kind // 60 * 5} ? * {'MON-FRI' if kind % 3 else '*'} *)"


def _names_of(number: int) -> tuple[str, str]:
    return f"team-{number // _JOBS_OF_A_SERVICE:04}", f"job-{number % _JOBS_OF_A_SERVICE:03}"


def _number_of(service_name: str, job_name: str) -> int | None:
    match = re.fullmatch(r"team-(\d{4})/job-(\d{3})", f"{service_name}/{job_name}")
    return int(match[1]) * _JOBS_OF_A_SERVICE + int(match[2]) if match else None


def _made_up_job(number: int) -> Json:
    service_name, job_name = _names_of(number)
    body = {"schedule": schedule_of(number), "invocation_type": "sns", "exclusive": number % 2 == 0}
    defined = definition({"workflow_type": "express", **body}, TOPIC)
    return {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": job_guid(service_name, job_name),
        **defined,
        "overlap": overlap(defined),
        "owner": f"team {number // _JOBS_OF_A_SERVICE}",
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "updated_by": CALLER,
        "last_successful_execution": {},
    }


def made_up_execution(run: int, job_count: int, count: int, until_ms: int) -> Json:
    """The execution number ``run`` of a day's ``count``, counted back from ``until_ms``."""
    number = run * _STRIDE % job_count
    service_name, job_name = _names_of(number)
    guid = job_guid(service_name, job_name)
    scheduled_ms = int(until_ms - run * _DAY_MS / count) // 1000 * 1000
    execution: Json = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        "execution_id": id_of_execution(guid, scheduled_ms, f"run{run}"),
        "schedule": schedule_of(number),
        "invocation_type": "sns",
        "invocation_target": TOPIC,
        "workflow_type": "express",
        "exclusive": number % 2 == 0,
        "scheduled_time": iso(scheduled_ms),
        "scheduled_time_ms": scheduled_ms,
        "started_at_ms": scheduled_ms + 400,
        "payload": "",
    }
    if run % 50 == 11:
        return execution | _skipped(scheduled_ms + 400, "lock_held", "the lock is held by another")
    execution |= {
        "attempt": 1,
        "service_invoked_at_ms": scheduled_ms + 700,
        "invocation_latency_ms": 700,
    }
    if run < 40:
        return execution | {
            "status": "running",
            "progress": run * 2,
            "lock_expires_at": iso(scheduled_ms + 300_000),
        }
    ended = {"finished_at_ms": scheduled_ms + 700 + run % 90_000, "duration_ms": run % 90_000}
    if run % 200 == 3:
        return execution | ended | {"status": "fail", "error": "LedgerLocked", "cause": "table in use"}
    if run % 1000 == 7:
        return execution | ended | {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "silent"}
    return execution | ended | {"status": "success", "summary": f"{run} rows"}


def _run_of(identifier: str) -> int | None:
    match = re.search(r"-run(\d+)$", identifier)
    return int(match[1]) if match else None


def _shown(job: Json) -> Json:
    """A job without a pause that is over."""
    is_over = "paused" in job and "until" in job["paused"] and ms_of_iso(job["paused"]["until"]) <= now_ms()
    return {name: value for name, value in job.items() if not (is_over and name == "paused")}


def _key_of(job: Mapping[str, Any]) -> str | None:
    """The key of a job's schedule; None if it runs after others."""
    return None if is_chained(job) else schedule_key(job)


def _linked(execution: Json, link: str) -> list[str]:
    if link == "parents":
        return [parent["execution_id"] for parent in execution.get("parents", [])]
    return list(execution.get("children", []))


def _bounds_of(timing: Timing) -> Json:
    bounds = {"start_at": timing.start_ms, "end_at": timing.end_ms}
    return {name: iso(ms) for name, ms in bounds.items() if ms is not None}


def _stored(paused: Json) -> Json:
    return paused | ({"until": ms_of_iso(paused["until"])} if "until" in paused else {})


def _skipped(at_ms: int, code: str, detail: str) -> Json:
    return {"status": "skipped", "finished_at_ms": at_ms, "reason": {"code": code, "detail": detail}}


def _resolve(host: str, port: int) -> list[str]:
    """Every name is a public address, but those that can have none."""
    if host.endswith(".invalid"):
        raise OSError(host)
    return ["127.0.0.1" if host == "localhost" else "52.1.2.3"]


def _several(search: Json, name: str) -> list[str]:
    value = search.get(name, [])
    return [value] if isinstance(value, str) else list(value)


def _bad(name: str, detail: str) -> BadRequest:
    return BadRequest(f"{name}: {detail}", errors=[{"pointer": f"/{name}", "detail": detail}])


def _ms(name: str, value: Any) -> int:
    try:
        return ms_of_iso(str(value))
    except ValueError:
        raise _bad(name, "expected a time such as 2026-11-23T02:00:00Z") from None


def _time_or_day(value: str) -> int:
    return _ms("since", f"{value}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else value)


def _limit(search: Json) -> int:
    limit = int(search.get("limit", 50))
    if not 1 <= limit <= 100:
        raise _bad("limit", "expected a number from 1 to 100")
    return limit


def _while_below(keyed: Iterator[tuple[str, Json]], until: str) -> Iterator[tuple[str, Json]]:
    for key, each in keyed:
        if key >= until:
            return
        yield key, each


def _while_since(keyed: Iterator[tuple[str, Json]], by: str, since: int) -> Iterator[tuple[str, Json]]:
    for key, each in keyed:
        if each[by] < since:
            return
        yield key, each


def _page(keyed: Iterator[tuple[str, Json]], is_wanted: Callable[[Json], bool], search: Json) -> Json:
    """A page, after which ``more`` is the key of the last one that was looked at."""
    limit, last = _limit(search), ""
    results: list[Json] = []
    for looked_at, (key, each) in enumerate(keyed):
        if len(results) == limit or looked_at == _LOOKED_AT_FOR_A_PAGE:
            return {"results": results, "paging": {"more": last}}
        if is_wanted(each):
            results.append({name: value for name, value in each.items() if name not in _LEFT_OUT_OF_LISTS})
        last = key
    return {"results": results, "paging": {}}
