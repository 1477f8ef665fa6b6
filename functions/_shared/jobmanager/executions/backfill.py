"""Backfills a job: starts it for times in the past for which it should have run.

The API's function finds the times, and hands them to start_due_executions, which starts them one after the
other, oldest first. What is started has a name that follows from its time. So the same backfill, given twice,
and one whose function died half way and is invoked again, start nothing twice.

- A missed time gets the name of its tick. So it is also not started twice if the tick comes later after all,
  or is caught up.
- With ``only_missed`` false, the name has the backfill's id as its suffix, because the tick may have its own
  name. The id follows from the request. To run the same times once more, give another Idempotency-Key.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from jobmanager.api.fields import bad_field, boolean, check_idempotency_key, refuse_unknown, time_ms
from jobmanager.core.clock import iso
from jobmanager.core.errors import BadRequest
from jobmanager.core.names import execution_id
from jobmanager.core.settings import number_setting
from jobmanager.executions.backfill_starts import BackfillTick
from jobmanager.executions.backfill_times import BACKFILLED, fire_count, times_of
from jobmanager.executions.record import BackfillOf
from jobmanager.jobs import store as jobs
from jobmanager.jobs.after import parents_of
from jobmanager.jobs.definition import Job, is_chained
from jobmanager.jobs.timing import schedule_key
from jobmanager.schedules.local_times import local_time_at
from jobmanager.schedules.zones import UTC, zone_of

MAX_STARTS = 1000
"""The most executions that a backfill starts."""
_MAX_FIRE_TIMES = 20_000
_DAY_MS = 86_400_000


class Request(NamedTuple):
    """A requested backfill: from ``since_ms`` to before ``until_ms``, both in ms since 1970."""

    since_ms: int
    until_ms: int
    only_missed: bool
    dry_run: bool
    key: str | None


def request_of(body: dict[str, Any], key: str | None, at_ms: int) -> Request:
    """Reads the requested backfill from the body of a request. Raises BadRequest."""
    refuse_unknown(body, ("since", "until", "only_missed", "dry_run"))
    if key is not None:
        check_idempotency_key(key)
    only_missed = boolean("only_missed", body.get("only_missed", True))
    for name in ("since",) if only_missed else ("since", "until"):
        if body.get(name) is None:
            raise bad_field(name, "this field is required: expected a time such as 2026-11-23T02:00:00Z")
    since_ms = time_ms("since", body["since"])
    until_ms = at_ms if body.get("until") is None else time_ms("until", body["until"])
    if until_ms <= since_ms:
        raise bad_field("until", "expected a time after since")
    if until_ms > at_ms:
        raise bad_field("until", "expected a time that is not in the future")
    days = number_setting("RETENTION_DAYS")
    if only_missed and since_ms < at_ms - days * _DAY_MS:
        detail = f"expected a time within the last {days} days, because the history has no older executions"
        raise bad_field("since", detail)
    dry_run = boolean("dry_run", body.get("dry_run", False))
    return Request(since_ms, until_ms, only_missed, dry_run, key)


def backfill(
    service_name: str,
    job_name: str,
    request: Request,
    requested_by: str,
    at_ms: int,
    hand_over: Callable[[BackfillTick], object],
) -> dict[str, Any]:
    """Backfills a job; returns the API's answer, with the times. Raises NotFound and BadRequest.

    ``hand_over`` passes the times to start_due_executions, unless there are none or it is a dry run. If there
    are more than can be started, ``next_since`` says where the next backfill is to begin. Raises BadRequest
    if the job has no schedule, so that there are no times for which it should have run.
    """
    job = jobs.read(service_name, job_name)
    if is_chained(job):
        raise BadRequest(
            f"{job['job_key']} has no schedule: it runs after {', '.join(parents_of(job))}. Backfill these,"
            " or rerun their executions."
        )
    until_ms = _until_ms(job, request, at_ms)
    if fire_count(job, request.since_ms, until_ms) > _MAX_FIRE_TIMES:
        raise bad_field("since", f"expected a range with at most {_MAX_FIRE_TIMES} fire times of the job")
    times = times_of(job, request.since_ms, until_ms, request.only_missed)
    chosen = times[:MAX_STARTS]
    identifier = _identifier(job, request)
    suffix = "" if request.only_missed else f"{BACKFILLED}{identifier}"
    if chosen and not request.dry_run:
        backfill_of = BackfillOf(backfill_id=identifier, requested_at=iso(at_ms), requested_by=requested_by)
        hand_over(
            {
                "schedule": schedule_key(job),
                "scheduled_time": iso(chosen[0]),
                "backfill": {
                    "job_key": job["job_key"],
                    "backfill_of": backfill_of,
                    "suffix": suffix,
                    "times": [ms // 1000 for ms in chosen],
                },
            }
        )
    more = {"next_since": iso(times[MAX_STARTS])} if len(times) > MAX_STARTS else {}
    return {
        "backfill_id": identifier,
        "schedule": job["schedule"],
        "time_zone": job.get("time_zone", UTC),
        "since": iso(request.since_ms),
        "until": iso(until_ms),
        "only_missed": request.only_missed,
        "dry_run": request.dry_run,
        "count": len(chosen),
        "times": [_time_view(job, ms, suffix) for ms in chosen],
        **more,
    }


def _until_ms(job: Job, request: Request, at_ms: int) -> int:
    """Returns before when times are looked at. A tick that may still be on its way is not missed."""
    if not request.only_missed:
        return request.until_ms
    grace_seconds = number_setting("MISSED_TICK_GRACE_SECONDS") + job.get("spread_seconds", 0)
    return max(min(request.until_ms, at_ms - grace_seconds * 1000), request.since_ms)


def _identifier(job: Job, request: Request) -> str:
    asked = [job["job_guid"], job["created_at"], request.since_ms, request.until_ms, request.only_missed]
    return hashlib.sha256(json.dumps([*asked, request.key]).encode()).hexdigest()[:12]


def _time_view(job: Job, ms: int, suffix: str) -> dict[str, str]:
    local = local_time_at(ms, zone_of(job.get("time_zone", UTC)))
    return {
        "scheduled_time": iso(ms),
        "local_time": local.iso(),
        "execution_id": execution_id(job["job_guid"], ms, suffix),
    }
