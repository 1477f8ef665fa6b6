"""Runs each flow of the manager with a fault at one call, many runs in parallel.

Each run has its own job, and its own schedule if the flow changes rules, so that a fault hits only this run.
This module prepares the jobs with the manager's own code. The code under test runs on the stage. The flows of
executions that wait, and of jobs that run after others, are in tests.integration.faulted_turns.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.error import URLError

import pytest

from jobmanager.aws import tables
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import iso, now_ms
from jobmanager.core.names import execution_id, job_guid
from jobmanager.core.settings import number_setting
from jobmanager.delivery.secrets import create as create_secret
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.by_hand import start_by_hand
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.record import RUNNING, Due, Execution, is_open
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import is_deleted
from jobmanager.jobs.validation import definition
from jobmanager.limits import changes as limit_changes
from jobmanager.limits import store as limits
from jobmanager.schedules import rules, triggers
from jobmanager.schedules.trigger_kind import trigger_name
from local.api_client import ManagerApi, path_of
from local.faults import plans
from local.faults.plans import Call, Fault
from local.faults.worker import FAIL, limit_subject
from local.observed_service import ObservedService
from local.slowness import PatientClock
from tests.integration.polling import patient, poll
from tests.integration.scenario import own_schedule
from tests.integration.sweeps import look_at_expired
from tests.integration.upkeep import only_one

type Json = dict[str, Any]

TTL = 15
UPDATED_BY = "a test of faults"
SETTINGS_OF = ("put_schedule", "save_job", "start_execution", "reap_executions", "create_webhook_secret")
ONE_MINUTE_MS = 60_000
AT_ONCE = 4
TURNS_AT_ONCE = 8
QUIET_LOOKS = 4
SECONDS_FOR_ROOM = 10
SECONDS_TO_BEGIN = 10
SECONDS_FOR_TURNS = 40
SECONDS_IN_VAIN = 45
"""How long an execution is awaited that a permanent fault may keep from its end, on any machine."""
OWN = "its own"
"""What a call of the upkeep is about, if it is about one run."""
OWN_JOB, FIRST, LIMIT = "a", "first", "limit"
"""The roles of what the events of a flow of turns are about, beside those of its other jobs."""


def own_service() -> str:
    """The name of a service that no other run uses."""
    return f"faults-{uuid.uuid4().hex[:12]}"


@dataclass
class Run:
    """One run of one flow."""

    flow: Flow
    service_name: str
    job_name: str
    schedule: str
    call: Call | None = None
    kind: str = ""
    fault: Fault | None = None
    marker: str = ""
    first: str = ""
    answers: list[int] = field(default_factory=list)

    @property
    def guid(self) -> str:
        """The job's GUID."""
        return job_guid(self.service_name, self.job_name)

    def name_of(self, role: str) -> str:
        """The name of one of the jobs of the run. The first has the run's own name."""
        return self.job_name if role == OWN_JOB else f"{self.job_name}-{role}"

    @property
    def guids(self) -> dict[str, str]:
        """The GUIDs of the jobs of the run, by their roles."""
        roles = (OWN_JOB, *self.flow.others)
        return {role: job_guid(self.service_name, self.name_of(role)) for role in roles}

    @property
    def roles(self) -> dict[str, str]:
        """What events of a flow of turns are about, each with the text that the plans of faults know.

        The execution that began first is not one of its job's others.
        """
        limit = {LIMIT: limit_subject(self.service_name, self.job_name)} if self.flow.limit else {}
        return {**({FIRST: self.first} if self.first else {}), **self.guids, **limit}

    @property
    def path(self) -> str:
        """The job's path in the API."""
        return path_of("services", self.service_name, "jobs", self.job_name)

    @property
    def is_express(self) -> bool:
        """Whether an Express machine runs its executions. Nothing tells whether such a machine runs."""
        return self.flow.job.get("workflow_type") == "express"

    @property
    def subjects(self) -> tuple[str, ...]:
        """The texts by which the plans of faults recognize events about this run."""
        if self.marker:
            return (self.marker,)
        if self.flow.is_of_turns:
            return tuple(self.roles.values())
        return (self.guid, self.schedule) if self.flow.has_own_schedule else (self.guid,)

    def __str__(self) -> str:
        if self.call is None:
            return f"{self.flow.name}, no fault"
        about = f" about {self.call.about}" if self.flow.is_of_turns and not self.flow.is_upkeep else ""
        return f"{self.flow.name}, {self.kind} at {self.call.call} of {self.call.step}{about}"

    def plan(self) -> None:
        """Plans the fault for the events of its subject, and has the calls of all recorded."""
        fault = self.planned()
        if not self.flow.is_of_turns:
            plans.plan(self.subjects, [fault])
            return
        for role, subject in self.roles.items():
            plans.plan([subject], [fault] if self.call is not None and self.call.about == role else [])

    def planned(self) -> Fault:
        """Creates the run's fault. The run's job and schedule must have their final names."""
        step = "" if self.call is None else self.call.step
        is_own = self.flow.is_upkeep and (self.call is None or self.call.about == OWN)
        texts = (self.guid, self.job_name, self.schedule, trigger_name(self.schedule)) if is_own else ()
        call = Call(step, "" if self.call is None else self.call.call, self.job_name if is_own else "")
        self.fault = Fault(call, self.kind, texts)
        return self.fault

    def happened(self) -> bool:
        """Whether its fault hit a call. If upkeep has no fault: whether it worked on this run."""
        if self.call is None and self.flow.is_upkeep:
            return any(call.about == self.job_name for call in plans.calls_seen(self.subjects))
        return self.call is None or (self.fault is not None and self.fault.happened())


@dataclass(frozen=True)
class Flow:
    """What a run does, and what it needs first.

    ``ends``: the final statuses of its executions, without a permanent fault. ``is_due``: a tick starts them.
    ``others``: the fields of the other jobs, by their roles. ``limit``: the definition of the limit that the
    jobs share, and ``most_at_once``: how many of them may run. If it ``is_of_turns``, its ``steps`` are each
    the role of a subject and a function, unless it is upkeep.
    """

    name: str
    steps: tuple[str, ...]
    job: Json = field(default_factory=dict)
    prepare: Callable[[Bench, Run], None] | None = None
    act: Callable[[Bench, Run], None] | None = None
    ends: tuple[str, ...] = ()
    has_own_schedule: bool = False
    is_due: bool = False
    is_signed: bool = False
    is_upkeep: bool = False
    is_of_turns: bool = False
    others: dict[str, Json] = field(default_factory=dict)
    limit: Json | None = None
    most_at_once: int | None = None


class Bench:
    """The stage, one service that receives all notifications, and everything else that the runs share."""

    def __init__(self, aws: Any, outputs: Json, api: ManagerApi, service: ObservedService) -> None:
        self.aws = aws
        self.outputs = outputs
        self.api = api
        self.service = service
        self.lambda_ = aws.client("lambda")
        self.machines = aws.client("stepfunctions")
        self.daily_schedules = self._daily_schedules()

    def take_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sets the environment variables of the stage's functions for the manager's code in this process."""
        for function in SETTINGS_OF:
            found = self.lambda_.get_function_configuration(FunctionName=self.function(function))
            for name, value in found["Environment"]["Variables"].items():
                monkeypatch.setenv(name, value)
        for name in ("METRICS_BY_STAGE", "METRICS_BY_SERVICE", "METRICS_BY_JOB"):
            monkeypatch.setenv(name, "false")  # they are printed

    def function(self, name: str) -> str:
        """The name of a function on the stage."""
        return str(self.outputs["function_names"][name])

    def run(self, flow: Flow, call: Call | None = None, kind: str = "") -> Run:
        """A run with its own job."""
        has_own_service = flow.is_signed or flow.is_of_turns
        service_name = own_service() if has_own_service else self.service.service_name
        return Run(flow, service_name, f"{flow.name}-{uuid.uuid4().hex[:10]}", own_schedule(), call, kind)

    def save(self, run: Run, role: str = OWN_JOB, **more: Any) -> None:
        """Saves a job of a run, without a rule. A field that is None is left out."""
        fields = run.flow.job if role == OWN_JOB else run.flow.others[role]
        is_http = fields.get("invocation_type", "http") == "http"
        target = {"invocation_target": self.service.webhook_url(run.job_name)} if is_http else {}
        body = {"schedule": run.schedule, "invocation_type": "http", "ttl_seconds": patient(TTL), **target}
        body |= fields | more
        body = {name: value for name, value in body.items() if value is not None}
        topic = self.outputs["notifications_topic_arn"]
        changes.save(run.service_name, run.name_of(role), definition(body, topic), UPDATED_BY, now_ms())

    def save_with_rule(self, run: Run) -> None:
        """Saves the job of a run and its rule, as a PUT does."""
        self.save(run)
        triggers.settle(run.schedule)

    def request(self, run: Run, method: str, path: str, body: Any = None, **headers: str) -> int:
        """Sends a request, and retries it if it fails. Returns the last status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status = 0
        for _ in range(3):
            try:
                status = self.api.request(method, path, body, named).status
            except (URLError, OSError):
                status = 0
            run.answers.append(status)
            if 200 <= status < 500:
                break
            time.sleep(0.3)
        return status

    def tick(self, schedule: str) -> None:
        """Delivers a tick as a rule does: asynchronously, with Lambda's own retries."""
        event = json.dumps({"schedule": schedule, "scheduled_time": iso(now_ms())})
        function = self.function("start_due_executions")
        self.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=event)

    def invoke(self, function: str, event: Json) -> bool:
        """Invokes a function. Returns whether it succeeded."""
        answer = self.lambda_.invoke(FunctionName=function, Payload=json.dumps(event))
        answer["Payload"].read()
        return "FunctionError" not in answer

    def running_machines(self, runs: Iterable[Run]) -> list[str]:
        """The executions of these runs that Step Functions still runs."""
        guids = {guid for run in runs for guid in run.guids.values()}
        pages = self.machines.get_paginator("list_executions").paginate(
            stateMachineArn=self.outputs["state_machine_arn"], statusFilter="RUNNING"
        )
        return [each["name"] for page in pages for each in page["executions"] if each["name"][:36] in guids]

    def stop_machines(self, runs: Iterable[Run]) -> None:
        """Stops the executions of these runs that Step Functions still runs."""
        arn = self.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
        for name in self.running_machines(runs):
            self.machines.stop_execution(executionArn=f"{arn}:{name}")

    def sweep(self) -> None:
        """Invokes the sweep, as its rule does each minute."""
        assert self.invoke(self.function("reap_executions"), {})

    def look_at_expired(self, runs: Iterable[Run]) -> None:
        """See :func:`tests.integration.sweeps.look_at_expired`."""
        keys = [
            to_item({name: record[name] for name in ("job_guid", "execution_id")})
            for run in runs
            for record in self.records(run)
        ]
        look_at_expired(self.aws.client("dynamodb"), self.outputs["executions_table_name"], keys)

    def make_overdue(self, runs: Iterable[Run], ends_running: bool = True) -> None:
        """Moves the deadlines of the open executions back, so that the next sweep ends or settles them.

        Those of Express executions are minutes away. Waits until what has ended is as overdue as that.
        An execution that waits has no deadline. The next sweep looks at it, as it does at those that run
        unless it ``ends_running``.
        """
        now, grace = int(time.time()), number_setting("REAP_GRACE_SECONDS")
        ended_at = 0
        for run in runs:
            for record in self.records(run):
                if "sweep_shard" not in record:
                    continue
                key = {"job_guid": record["job_guid"], "execution_id": record["execution_id"]}
                is_overdue = "lock_expires_at" in record and (record["status"] != RUNNING or ends_running)
                overdue = {":overdue": now - grace - 1} if is_overdue else {}
                tables.update_if(
                    self.outputs["executions_table_name"],
                    key,
                    f"SET sweep_at = :now{', lock_expires_at = :overdue' if overdue else ''}",
                    "attribute_exists(sweep_shard) AND #status = :status",
                    {":now": now - 1, ":status": record["status"], **overdue},
                )
                ended_at = max(ended_at, record.get("finished_at_ms", 0) // 1000)
        time.sleep(max(0, ended_at + grace + 2 - time.time()))

    def is_unfinished(self, run: Run) -> bool:
        """Whether an execution of a run has yet to begin or to end, by the records."""
        records = self.records(run)
        return len(records) < len(run.flow.ends) or _is_any_open(records)

    def records(self, run: Run) -> list[Json]:
        """The executions of a run, those of each of its jobs in their order."""
        return [record for role in run.guids for record in self.records_of(run, role)]

    def records_of(self, run: Run, role: str) -> list[Json]:
        """The executions of a job of a run, in their order."""
        guid = run.guids[role]
        return [
            record
            for page in tables.query_pages(
                TableName=self.outputs["executions_table_name"],
                KeyConditionExpression="job_guid = :guid",
                ExpressionAttributeValues=to_item({":guid": guid}),
                ConsistentRead=True,
            )
            for record in map(from_item, page["Items"])
            if record["execution_id"].startswith(guid)
        ]

    def _daily_schedules(self) -> list[str]:
        """Schedules that fire twice a day, but not within the next ten minutes."""
        minutes = [(time.gmtime().tm_min + later) % 60 for later in range(10, 51)]
        schedules = [f"cron({minute} {hour}/12 * * ? *)" for minute in minutes for hour in range(12)]
        return random.sample(schedules, len(schedules))


def _is_any_open(records: Iterable[Json]) -> bool:
    return any(is_open(cast(Execution, each)) for each in records)


# --- what flows do ---------------------------------------------------------------------------------------


def _save_paused(bench: Bench, run: Run) -> None:
    """Saves a job that is paused with ``until``, so that its rule still fires."""
    bench.save(run)
    until = now_ms() + 60 * ONE_MINUTE_MS
    changes.pause(run.service_name, run.job_name, {"reason": "a test", "until": until}, UPDATED_BY, now_ms())


def _save_paused_without_end(bench: Bench, run: Run) -> None:
    bench.save(run)
    changes.pause(run.service_name, run.job_name, {"reason": "a test"}, UPDATED_BY, now_ms())
    triggers.settle(run.schedule)


def _save_signed(bench: Bench, run: Run) -> None:
    create_secret(run.service_name, 86_400, UPDATED_BY, now_ms())
    bench.save(run)


def _tick(bench: Bench, run: Run) -> None:
    bench.tick(run.schedule)


def _put(bench: Bench, run: Run) -> None:
    body = {"schedule": run.schedule, "invocation_type": "http", "ttl_seconds": patient(TTL)}
    bench.request(run, "PUT", run.path, body | {"invocation_target": bench.service.webhook_url(run.job_name)})


def _save_elsewhere(bench: Bench, run: Run) -> None:
    other = own_schedule()
    bench.save(run, schedule=other)
    triggers.settle(other)


def _delete(bench: Bench, run: Run) -> None:
    bench.request(run, "DELETE", run.path)


def _pause(bench: Bench, run: Run) -> None:
    bench.request(run, "POST", f"{run.path}/pause", {"reason": "a test"})


def _resume(bench: Bench, run: Run) -> None:
    bench.request(run, "POST", f"{run.path}/resume")


def _run_now(bench: Bench, run: Run) -> None:
    bench.request(run, "POST", f"{run.path}/executions", {}, idempotency_key=run.job_name)


def _start(bench: Bench, run: Run) -> None:
    bench.save_with_rule(run)
    start_by_hand(run.service_name, run.job_name, {"started_by": UPDATED_BY}, None, now_ms())


def _cancel(bench: Bench, run: Run) -> None:
    (record,) = bench.records(run)
    poll(lambda: any(_is_about(each, run) for each in bench.service.received), 30, "notification")
    bench.request(run, "POST", f"{run.path}/executions/{record['execution_id']}/cancel")


def _is_about(received: Any, run: Run) -> bool:
    return bool(received.notification["job_name"] == run.job_name)


def _begin_long_ago(bench: Bench, run: Run) -> None:
    """Records an overdue execution whose service was notified, but which has no state machine."""
    bench.save(run)
    at_ms = now_ms() - ONE_MINUTE_MS
    due: Due = {
        "service_name": run.service_name,
        "job_name": run.job_name,
        "job_guid": run.guid,
        "execution_id": execution_id(run.guid, at_ms),
        "scheduled_time": iso(at_ms),
    }
    begin_by_hand(due, {"started_by": UPDATED_BY}, at_ms)
    key = {"job_guid": run.guid, "execution_id": due["execution_id"]}
    update = ("SET service_invoked_at_ms = :at", "attribute_exists(execution_id)", {":at": at_ms})
    tables.update_if(bench.outputs["executions_table_name"], key, *update)


def _begin_express(bench: Bench, run: Run, seconds_ago: int, **changes: Any) -> Execution:
    """Records an execution of an Express machine that died. ``changes``: to the fields of its record."""
    bench.save(run)
    at_ms = now_ms() - 1000 * seconds_ago
    due: Due = {
        "service_name": run.service_name,
        "job_name": run.job_name,
        "job_guid": run.guid,
        "execution_id": execution_id(run.guid, at_ms),
        "scheduled_time": iso(at_ms),
    }
    begun = begin_by_hand(due, {"started_by": UPDATED_BY}, at_ms)
    key = {"job_guid": run.guid, "execution_id": begun["execution_id"]}
    changes |= {"machine_execution": DEAD_MACHINE, "service_invoked_at_ms": at_ms}
    update = f"SET {', '.join(f'{name} = :{name}' for name in changes)}"
    values = {f":{name}": value for name, value in changes.items()}
    table = bench.outputs["executions_table_name"]
    changed = tables.update_if(table, key, update, "attribute_exists(execution_id)", values)
    return cast(Execution, changed)


def _die_before_the_notification(bench: Bench, run: Run) -> None:
    _begin_express(bench, run, 70)


def _fail_an_attempt(bench: Bench, run: Run) -> None:
    record = _begin_express(bench, run, 10)
    assert end_attempt(record, "fail", {"error": "Job.First"}, now_ms() - 5000)


def _fall_silent(bench: Bench, run: Run) -> None:
    _begin_express(bench, run, 70, delivered_attempt=1)


def _live_on(bench: Bench, run: Run) -> None:
    """Records an execution whose heartbeat has moved its deadline, but not the time of its next sweep."""
    _begin_express(bench, run, 70, delivered_attempt=1, lock_expires_at=now_ms() // 1000 + 3 * TTL)


def _end_unsettled(bench: Bench, run: Run) -> None:
    record = _begin_express(bench, run, 70, delivered_attempt=1)
    assert end_attempt(record, "success", {"state": "s-1"}, now_ms() - 30_000)


def _put_rule_only(_bench: Bench, run: Run) -> None:
    rules.put(run.schedule)


def _miss_ticks(bench: Bench, run: Run) -> None:
    """Saves a job on a schedule that has been in use for three days without a tick."""
    run.schedule = bench.daily_schedules.pop()
    bench.save_with_rule(run)
    long_ago = now_ms() - 3 * 24 * 60 * ONE_MINUTE_MS
    stage = bench.outputs["prefix"].rpartition("-")[2]
    schedule = {"stage": stage, "schedule": run.schedule}
    job = {"service_name": run.service_name, "job_name": run.job_name}
    for table, key, name in (("schedules", schedule, "since_ms"), ("jobs", job, "active_since_ms")):
        tables.update_if(
            bench.outputs[f"{table}_table_name"], key, f"SET {name} = :at", f"{name} > :at", {":at": long_ago}
        )


SNS = {"invocation_type": "sns"}
SILENT = {"payload": '{"do": "silent"}'}
EXPRESS = {"workflow_type": "express"}
OVERDUE = {"ttl_seconds": TTL}
DEAD_MACHINE = "a-machine-that-died"
FUNCTIONS_OF_A_RUN = ("run_execution", "receive_callback", "finish_execution")

_OF_BOTH_TYPES = (
    Flow(
        "success",
        FUNCTIONS_OF_A_RUN,
        {"exclusive": True, "payload": '{"do": "succeed", "heartbeats": 1, "seconds": 0.2}'},
        ends=("success",),
        is_due=True,
    ),
    Flow(
        "failure",
        FUNCTIONS_OF_A_RUN,
        {
            **SNS,
            "exclusive": True,
            "payload": '{"do": "fail"}',
            "alert_after_failures": 1,
            "retry": {"max_attempts": 2, "interval_seconds": 1},
        },
        ends=("fail",),
        is_due=True,
    ),
    Flow("silence", FUNCTIONS_OF_A_RUN, {"exclusive": True, **SILENT}, ends=("timeout",), is_due=True),
    Flow("sync", ("run_execution",), {"async": False}, ends=("success",), is_due=True),
    Flow("skipped", FUNCTIONS_OF_A_RUN, {"exclusive": True}, _save_paused, ends=("skipped",), is_due=True),
    Flow(
        "run-now",
        ("start_execution",),
        {"exclusive": True},
        Bench.save_with_rule,
        _run_now,
        ends=("success",),
        has_own_schedule=True,
    ),
    Flow(
        "cancel",
        ("cancel_execution",),
        {"exclusive": True, **SILENT},
        _start,
        _cancel,
        ends=("cancelled",),
        has_own_schedule=True,
    ),
)

FLOWS = (
    *_OF_BOTH_TYPES,
    *(replace(flow, name=f"express-{flow.name}", job={**EXPRESS, **flow.job}) for flow in _OF_BOTH_TYPES),
    Flow("signed", ("run_execution",), {}, _save_signed, ends=("success",), is_due=True, is_signed=True),
    Flow(
        "express-undelivered",
        FUNCTIONS_OF_A_RUN,
        {**EXPRESS, "exclusive": True, "invocation_target": "http://127.0.0.1:9/nobody"},
        ends=("fail",),
        is_due=True,
    ),
    Flow(
        "tick",
        ("start_due_executions",),
        {},
        Bench.save_with_rule,
        _tick,
        ends=("success",),
        has_own_schedule=True,
    ),
    Flow(
        "put",
        ("put_job", "validate_job", "test_target", "put_schedule", "save_job", "release_schedule"),
        act=_put,
        has_own_schedule=True,
    ),
    Flow(
        "move",
        ("save_job", "release_schedule"),
        prepare=_save_elsewhere,
        act=_put,
        has_own_schedule=True,
    ),
    Flow("delete", ("delete_job",), {}, Bench.save_with_rule, _delete, has_own_schedule=True),
    Flow("pause", ("pause_job",), {}, Bench.save_with_rule, _pause, has_own_schedule=True),
    Flow("resume", ("resume_job",), {}, _save_paused_without_end, _resume, has_own_schedule=True),
    Flow(
        "reap",
        ("reap_executions",),
        {**OVERDUE, **SNS, "exclusive": True, "alert_after_failures": 1},
        _begin_long_ago,
        ends=("timeout",),
        is_upkeep=True,
    ),
    Flow(
        "sweep-restart",
        ("reap_executions",),
        {**EXPRESS, "exclusive": True, "ttl_seconds": 300},
        _die_before_the_notification,
        ends=("success",),
        is_upkeep=True,
    ),
    Flow(
        "sweep-next-attempt",
        ("reap_executions",),
        {**EXPRESS, "exclusive": True, "retry": {"max_attempts": 2, "interval_seconds": 1}},
        _fail_an_attempt,
        ends=("success",),
        is_upkeep=True,
    ),
    Flow(
        "sweep-timeout",
        ("reap_executions",),
        {**OVERDUE, **EXPRESS, "exclusive": True, "alert_after_failures": 1},
        _fall_silent,
        ends=("timeout",),
        is_upkeep=True,
    ),
    Flow(
        "sweep-later",
        ("reap_executions",),
        {**OVERDUE, **EXPRESS, "exclusive": True},
        _live_on,
        ends=("timeout",),
        is_upkeep=True,
    ),
    Flow(
        "sweep-settle",
        ("reap_executions",),
        {**OVERDUE, **EXPRESS, "exclusive": True},
        _end_unsettled,
        ends=("success",),
        is_upkeep=True,
    ),
    Flow("missing", ("reconcile_schedules",), {}, Bench.save, is_upkeep=True),
    Flow("orphan", ("reconcile_schedules",), {}, _put_rule_only, is_upkeep=True),
    Flow(
        "missed",
        ("reconcile_schedules",),
        {"catch_up": "one"},
        _miss_ticks,
        ends=("success",),
        is_upkeep=True,
    ),
)


# --- doing many at once ----------------------------------------------------------------------------------


def do(bench: Bench, runs: Sequence[Run]) -> None:
    """Prepares all runs, plans their faults and starts them. Returns before their executions end."""
    due = [run for run in runs if run.flow.is_due]
    turns = [run for run in runs if run.flow.is_of_turns and not run.flow.is_upkeep]
    asked = [run for run in runs if run.flow.act is not None and not run.flow.is_of_turns]
    schedule = own_schedule()
    for run in turns:
        if not run.flow.has_own_schedule:
            run.schedule = schedule
    # Those of silent services go first, because they last longest. Then the upkeep, because the schedules of
    # the other runs would give the reconciler more work.
    _run_due(bench, due)
    _run_upkeep(bench, [run for run in runs if run.flow.is_upkeep])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda run: _do_one(bench, run), asked))
    with ThreadPoolExecutor(TURNS_AT_ONCE) as pool:
        list(pool.map(lambda run: _do_one(bench, run), turns))


def wait_until_quiet(bench: Bench, runs: Sequence[Run], seconds: float = 180) -> None:
    """Waits until no state machine of these runs is running or about to start, and sweeps meanwhile.

    A machine that meets a permanent fault may retry for an hour. As an operator might, this stops it. Nothing
    tells whether an Express machine runs, so this waits until its execution is settled, but not for ever: a
    permanent fault may keep it from that on any machine, and any other that does is found later.
    """
    looks = deque([False], QUIET_LOOKS)
    permanent = [run for run in runs if run.kind == FAIL]
    # Between two executions of a flow of turns, no machine runs.
    awaited = [run for run in runs if run.is_express or run.flow.is_of_turns]
    patience = PatientClock()
    began, began_here = patience.now(), time.monotonic()

    def is_awaited(run: Run, passed: float) -> bool:
        longest = SECONDS_FOR_TURNS if run.flow.is_of_turns else seconds
        if run.kind != FAIL:
            return passed < 0.9 * longest and bench.is_unfinished(run)
        if time.monotonic() - began_here > min(0.5 * longest, SECONDS_IN_VAIN):
            return False
        return _is_any_open(bench.records(run)) if passed > SECONDS_TO_BEGIN else bench.is_unfinished(run)

    def are_quiet() -> bool:
        nonlocal awaited
        time.sleep(1)
        passed = patience.now() - began
        if permanent and time.monotonic() - began_here > SECONDS_IN_VAIN:
            bench.stop_machines(permanent)
        if awaited:
            bench.look_at_expired(run for run in awaited if run.is_express)
            bench.sweep()
            awaited = [run for run in awaited if is_awaited(run, passed)]
        looks.append(not awaited and not bench.running_machines(runs))
        return len(looks) == QUIET_LOOKS and all(looks)

    poll(are_quiet, seconds, "end of all machines")


def _prepare(bench: Bench, run: Run) -> None:
    prepare = run.flow.prepare or (None if run.flow.act else Bench.save)
    if prepare is not None:
        prepare(bench, run)


def _do_one(bench: Bench, run: Run) -> None:
    _prepare(bench, run)
    run.plan()
    assert run.flow.act is not None
    run.flow.act(bench, run)


def _run_due(bench: Bench, runs: Sequence[Run], at_once: int = 24) -> None:
    """Runs them in waves, each by one tick of its own schedule, so that the service has time to call back."""
    for start in range(0, len(runs), at_once):
        wave, schedule = runs[start : start + at_once], own_schedule()
        for run in wave:
            run.schedule = schedule
            _prepare(bench, run)
            run.plan()
        triggers.settle(schedule)
        bench.tick(schedule)
        time.sleep(1)
        poll(lambda wave=wave: len(bench.running_machines(wave)) < at_once // 3, 60, "room")  # type: ignore[misc]
        _wait_for_express(bench, [run for run in wave if run.is_express], at_once // 3)


def _wait_for_express(bench: Bench, runs: Sequence[Run], most: int) -> None:
    """Waits until few of these executions have not begun. Some never do."""
    gives_up_at = time.monotonic() + SECONDS_FOR_ROOM
    while sum(not bench.records(run) for run in runs) > most and time.monotonic() < gives_up_at:
        time.sleep(0.5)


def _run_upkeep(bench: Bench, runs: Sequence[Run]) -> None:
    """Invokes the reaper and the reconciler until all faults have happened. One invocation handles many runs.

    Permanent faults come last, because each makes its invocation fail.
    """
    for function in dict.fromkeys(run.flow.steps[0] for run in runs):
        own = [run for run in runs if run.flow.steps[0] == function]
        name = bench.function(function)
        passing = [run for run in own if run.kind != FAIL]
        lasting = [run for run in own if run not in passing]
        _invoke_until_all_happened(bench, name, passing, len(passing) + 4)
        for phase in dict.fromkeys(map(_phase, lasting)):
            _invoke_until_all_happened(bench, name, [run for run in lasting if _phase(run) == phase], 1)
        # The stage's own rules, or another test's reconciler, may have worked on it first.
        for run in own:
            if not run.happened():
                forget([run])
                run.job_name, run.schedule = f"{run.job_name[:-10]}{uuid.uuid4().hex[:10]}", own_schedule()
                if run.flow.is_of_turns:
                    run.service_name = own_service()  # the other still has what was prepared
                _invoke_until_all_happened(bench, name, [run], 2)


def _phase(run: Run) -> str:
    """The phase of the upkeep that a permanent fault ends. The upkeep does not run the phases after it."""
    assert run.call is not None
    if run.call.about != OWN:
        return str(run)
    is_of_rules = run.flow.name in ("missing", "orphan") and not run.call.call.startswith("sns.")
    return "rules" if is_of_rules else run.flow.steps[0]


def _invoke_until_all_happened(bench: Bench, function: str, runs: Sequence[Run], most: int) -> None:
    if not runs:
        return
    marker = uuid.uuid4().hex
    # The upkeep of another test would do the work of these runs without their faults.
    with only_one("sweep" if function == bench.function("reap_executions") else "reconciler"):
        for run in runs:
            _prepare(bench, run)
            run.marker = marker
        plans.plan([marker], [run.planned() for run in runs])
        for _ in range(most):
            is_done = bench.invoke(function, {"faults": marker})
            if is_done and all(run.happened() for run in runs):
                break


def forget(runs: Iterable[Run]) -> None:
    """Deletes the plans, jobs, limits and rules of these runs."""
    for run in runs:
        plans.forget(run.subjects)
        for role in reversed(run.guids):
            job = jobs.find(run.service_name, run.name_of(role))
            if job is not None and not is_deleted(job):
                changes.delete(run.service_name, run.name_of(role), UPDATED_BY, now_ms())
                if "schedule" in job:
                    triggers.settle(job["schedule"])
        if run.flow.limit and limits.find(run.service_name, run.job_name):
            limit_changes.delete(run.service_name, run.job_name, list)


def calls_of(bench: Bench, runs: Sequence[Run]) -> dict[str, list[Call]]:
    """By flow, the calls that its functions made in every one of these runs. Leaves out chance calls."""
    found: dict[str, list[Call]] = {}
    for run in runs:
        if run.flow.is_of_turns and not run.flow.is_upkeep:
            own = _calls_by_role(bench, run)
            found[run.flow.name] = [call for call in own if call in found.get(run.flow.name, own)]
            continue
        steps = tuple(bench.function(step) for step in run.flow.steps)
        own = [
            Call(call.step, call.call, OWN if call.about else "")
            for call in plans.calls_seen(run.subjects)
            if call.function in steps
            and (not run.flow.is_upkeep or call.about == run.job_name or _reads_everything(call, run))
        ]
        found[run.flow.name] = [call for call in own if call in found.get(run.flow.name, own)]
    return found


def _calls_by_role(bench: Bench, run: Run) -> list[Call]:
    """The calls of a flow of turns, each about the role of its subject."""
    steps = {
        (role, bench.function(step)) for role, _, step in (each.partition("/") for each in run.flow.steps)
    }
    return [
        Call(call.step, call.call, role)
        for role, subject in run.roles.items()
        for call in plans.calls_seen([subject])
        if (role, call.function) in steps
    ]


def _reads_everything(call: Call, run: Run) -> bool:
    """Whether a call of the upkeep reads everything. Other calls without a subject are about other jobs.

    Each sweep reads the same. One flow of it is enough for these calls.
    """
    is_query = call.call.startswith(("dynamodb.Query#", "events.ListRules#"))
    return is_query and not call.about and not run.is_express and not run.flow.is_of_turns
