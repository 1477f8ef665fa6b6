"""Runs a plan on a stage: performs each action at its time, then waits until the stage is quiet."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, cast

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import iso
from jobmanager.core.names import guid_of_execution, job_guid
from jobmanager.executions.moved import machine_names
from jobmanager.executions.queues import ENTRY_PREFIX, queue_of_lock, queue_of_slots
from jobmanager.executions.record import FINAL_STATUSES, RUNNING, WAITING, Execution
from local.api_client import ApiResponse, path_of
from local.sample_service import QueueListener
from tests.integration.contract import CheckedApi
from tests.integration.polling import patient, poll
from tests.integration.scenario import own_schedule
from tests.integration.upkeep import only_one
from tests.life import sequences
from tests.life.journal import NO_ANSWER, Asked, Delivered, Journal, Json, Ticked, now_ms
from tests.life.model import NO_JOB, LimitTimeline, State, Timeline, is_shown_as, put
from tests.life.plan import MOVING_JOB, STEADY_JOB, TTL, WORKFLOW_TYPES, Action, Plan
from tests.life.service import WaywardService
from tests.life.stalls import Stalls
from tests.life.timed import timed_jobs

MINUTE_MS = 60_000
CANCELLED_BY_OVERLAP = "cancelled by the manager: "
"""With what the cause begins of an execution that was cancelled because its job was due again."""
_TICKS_AT_ONCE = 8
_TICK_AGAIN_WITHIN_SECONDS = 15
_OLD_TICK_SECONDS = 5
_AROUND_THE_MINUTE_SECONDS = (-2.5, 1.0)
_SECONDS_TO_REST = 240
_SECONDS_BETWEEN_REAPS = 5
_SECONDS_TO_BEGIN = 5
_OF_SCHEDULES_ONLY = ("schedule", "catch_up")


@dataclass
class Job:
    """A job of the plan on the stage. One thread, its lane, makes all requests that change it, one by one."""

    name: str
    guid: str
    timeline: Timeline = field(default_factory=Timeline)
    lane: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1))


@dataclass
class Limit:
    """A limit of the plan on the stage. Its lock lets requests that change it be made one by one."""

    name: str
    timeline: LimitTimeline = field(default_factory=LimitTimeline)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class TimedJob:
    """A job that fires by itself, and the body with which it is put once."""

    job: Job
    body: Json


@dataclass
class Life:
    """A plan that runs on a stage, and everything that is known about it."""

    aws: Any
    outputs: Json
    api: CheckedApi
    plan: Plan

    def __post_init__(self) -> None:
        self.service_name = f"life-{uuid.uuid4().hex[:12]}"
        self.schedules = [own_schedule() for _ in range(self.plan.schedules)]
        # Every minute. The years are drawn, so that no other life shares these schedules.
        years = random.sample(range(2100, 2200), 3)
        self.steady_schedule, *self.moving_schedules = (f"cron(* * * * ? 2020-{year})" for year in years)
        self.jobs = {name: self._job(name) for name in map(_job_name, range(self.plan.jobs))}
        self.after = {
            _job_name(number): {_job_name(parent): ends for parent, ends in parents.items()}
            for number, parents in self.plan.chains.items()
        }
        """The jobs after which each job of a chain runs, each with the ends that count."""
        self.chained = {name: self._job(name) for name in self.after}
        self.limits = {name: Limit(name) for name in map(_limit_name, range(len(self.plan.limits)))}
        self.steady = self._job(STEADY_JOB)
        self.moving = self._job(MOVING_JOB)
        self.timed: dict[str, TimedJob] = {}
        self.journal = Journal()
        self.events: list[Json] = []
        self.faults: list[tuple[str, str | None]] = []
        """What was wrong while the plan ran, each with its job."""
        self.final_seen: dict[str, str] = {}
        """The first final status that was seen of each execution. It must not change."""
        self.counts: Counter[str] = Counter()
        """How often each kind of action was done, and each situation reached."""
        self.service = WaywardService(
            self.service_name, self.outputs["notifications_topic_arn"], self.journal
        )
        self._lambda = self.aws.client("lambda")
        self._dynamodb = self.aws.client("dynamodb")
        self._rules = self.aws.client("events")
        self._machines = self.aws.client("stepfunctions")
        self._keep_lock = threading.Lock()
        self._quiet: Counter[str | None] = Counter()
        self.stalls = Stalls()

    def _job(self, name: str) -> Job:
        return Job(name, job_guid(self.service_name, name))

    @property
    def all_jobs(self) -> list[Job]:
        """The jobs of the plan, the two on minutely schedules, and those that fire by themselves."""
        timed = (each.job for each in self.timed.values())
        return [*self.planned.values(), self.steady, self.moving, *timed]

    @property
    def planned(self) -> dict[str, Job]:
        """The jobs of the plan by their names: those that have a schedule, and those that run after them."""
        return self.jobs | self.chained

    @contextmanager
    def running(self) -> Iterator[None]:
        """Receives notifications and events meanwhile; deletes all jobs at the end."""
        received_events = QueueListener(
            self.outputs["events_topic_arn"],
            {"service_name": [self.service_name]},
            lambda event, _: self.events.append(event),
            queue_name=f"{self.service_name}-events",
            long_poll_seconds=1,
        )
        with self.stalls, self.service, received_events:
            try:
                yield
            finally:
                for job in self.all_jobs:
                    self.api.request("DELETE", self._path(job))
                    job.lane.shutdown()
                for limit in self.limits.values():
                    self.api.request("DELETE", self._limit_path(limit))

    def live(self) -> None:
        """Performs all actions, each at its time, or as soon as the lane of its job is free."""
        for limit, body in zip(self.limits.values(), self.plan.limits, strict=True):
            self._put_limit(limit, dict(body))
        self._on_lane(self.steady, self.put, self._minutely_body(self.steady, self.steady_schedule))
        for name, timing in timed_jobs(self.plan.seed, now_ms(), self.plan.seconds).items():
            job = self._job(name)
            self.timed[name] = TimedJob(job, self._minutely_body(job, "") | timing)
            self._on_lane(job, self.put, self.timed[name].body)
        is_over = threading.Event()
        moving = self._on_lane(self.moving, self._move_around_each_minute, is_over)
        started = time.monotonic()
        with ThreadPoolExecutor(_TICKS_AT_ONCE) as of_schedules:
            waiting: list[Future[None]] = []
            for action in self.plan.actions:
                time.sleep(max(0.0, started + action.at - time.monotonic()))
                if action.job is not None:
                    job = self.planned[_job_name(action.job)]
                    waiting.append(self._on_lane(job, self._act_on_job, action))
                else:
                    waiting.append(of_schedules.submit(self._safely, None, self._act_on_schedule, action))
            for future in waiting:
                future.result()
        is_over.set()
        moving.result()

    def _move_around_each_minute(self, job: Job, is_over: threading.Event) -> None:
        """Moves a job between two schedules shortly before or after each minute, when both fire.

        Each second time it also changes the type of its machine.
        """
        offsets = random.Random(self.plan.seed)
        for number in count():
            schedule, workflow_type = self.moving_schedules[number % 2], WORKFLOW_TYPES[number // 2 % 2]
            self.put(job, self._minutely_body(job, schedule, workflow_type))
            now = time.time()
            earliest, latest = _AROUND_THE_MINUTE_SECONDS
            next_minute = ((now - earliest) // 60 + 1) * 60
            if is_over.wait(next_minute + offsets.uniform(earliest, latest) - now):
                return
            self.count("moved at a minute")

    @contextmanager
    def quiet(self, *schedules: str | None) -> Iterator[None]:
        """Delays the planned ticks of these schedules: the manager knows only the newest tick of each."""
        self._quiet.update(schedules)
        try:
            yield
        finally:
            self._quiet.subtract(schedules)

    def count(self, what: str) -> None:
        """Counts what was done, or reached, for the report."""
        with self._keep_lock:
            self.counts[what] += 1

    def come_to_rest(self) -> None:
        """Waits until every execution has ended, runs the reaper meanwhile, and reconciles the rules.

        The service has recovered. The reaper ends an execution only when it is overdue by a minute.
        """
        self.service.recover()
        for job in (self.steady, self.moving, *(each.job for each in self.timed.values())):
            self._on_lane(job, self.pause, None).result()
        # Nothing tells whether an Express machine is about to begin.
        time.sleep(patient(_SECONDS_TO_BEGIN))
        reaped = 0.0

        def at_rest() -> bool:
            nonlocal reaped
            if time.monotonic() - reaped > _SECONDS_BETWEEN_REAPS:
                self._upkeep("reap")
                reaped = time.monotonic()
            time.sleep(0.5)
            return not any(
                "sweep_shard" in record or record["status"] in (RUNNING, WAITING)
                for record in self.records().values()
            )

        self._wait(at_rest, _SECONDS_TO_REST, "rest")
        self._wait(lambda: not self.running_machines(), 60, "end of all machines")
        self._upkeep("reconcile")
        for job in self.planned.values():
            self._on_lane(job, self._look).result()
        ended = {record["execution_id"] for record in self.records().values()}
        ends = ("execution.started", "job.")
        self._wait(
            lambda: ended <= {e.get("execution_id") for e in self.events if not e["event"].startswith(ends)},
            20,
            "event of each end",
        )

    def _wait(self, until: Any, seconds: float, what: str) -> None:
        try:
            poll(until, seconds, what)
        except AssertionError as error:
            self.wrong(str(error))

    # --- the content of the stage -----------------------------------------------------------------------

    def records(self) -> dict[str, Json]:
        """The record of every execution, read consistently from the table, by execution_id."""
        pages = self._dynamodb.get_paginator("query")
        items = (
            item
            for job in self.all_jobs
            for item in pages.paginate(
                TableName=self.outputs["executions_table_name"],
                KeyConditionExpression="job_guid = :guid AND begins_with(execution_id, :guid)",
                ExpressionAttributeValues=to_item({":guid": job.guid}),
                ConsistentRead=True,
            ).build_full_result()["Items"]
        )
        return {record["execution_id"]: record for record in map(from_item, items)}

    def record(self, execution_id: str) -> Json | None:
        """The record of one execution, read consistently from the table."""
        found = self._dynamodb.get_item(
            TableName=self.outputs["executions_table_name"],
            Key=to_item({"job_guid": guid_of_execution(execution_id), "execution_id": execution_id}),
            ConsistentRead=True,
        ).get("Item")
        return from_item(found) if found else None

    def job_items(self) -> dict[str, Json]:
        """The item of every job, read consistently from the table, by job_name."""
        items = self._dynamodb.query(
            TableName=self.outputs["jobs_table_name"],
            KeyConditionExpression="service_name = :service",
            ExpressionAttributeValues=to_item({":service": self.service_name}),
            ConsistentRead=True,
        )["Items"]
        return {item["job_name"]: item for item in map(from_item, items) if "job_key" in item}

    def limit_items(self) -> dict[str, Json]:
        """The item of every limit, read consistently from the table, by limit_name."""
        items = self._dynamodb.query(
            TableName=self.outputs["limits_table_name"],
            KeyConditionExpression="service_name = :service",
            ExpressionAttributeValues=to_item({":service": self.service_name}),
            ConsistentRead=True,
        )["Items"]
        return {item["limit_name"]: item for item in map(from_item, items)}

    def queued(self) -> list[str]:
        """The keys of all that waits for a lock or a slot, read consistently from the queues."""
        queues = [queue_of_lock(job.guid) for job in self.all_jobs]
        queues += [queue_of_slots(self.service_name, name) for name in self.limits]
        return [
            item["execution_id"]["S"]
            for queue in queues
            for item in self._dynamodb.query(
                TableName=self.outputs["executions_table_name"],
                KeyConditionExpression="job_guid = :queue AND begins_with(execution_id, :waiting)",
                ExpressionAttributeValues=to_item({":queue": queue, ":waiting": ENTRY_PREFIX}),
                ConsistentRead=True,
            )["Items"]
        ]

    def running_machines(self) -> list[str]:
        """The execution_ids of the running Step Functions executions."""
        return [name for name, status in self.machines().items() if status == "RUNNING"]

    def machines(self) -> dict[str, str]:
        """The status of each Step Functions execution of these jobs."""
        pages = self._machines.get_paginator("list_executions")
        guids = {job.guid for job in self.all_jobs}
        found = pages.paginate(stateMachineArn=self.outputs["state_machine_arn"]).build_full_result()
        return {each["name"]: each["status"] for each in found["executions"] if each["name"][:36] in guids}

    def task_timeouts_ms(self, machine_name: str) -> list[int]:
        """The times, in ms, at which Step Functions timed out a task of an execution of the machine."""
        arn = self.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
        pages = self._machines.get_paginator("get_execution_history")
        events = pages.paginate(executionArn=f"{arn}:{machine_name}").build_full_result()["events"]
        return [round(1000 * event["timestamp"].timestamp()) for event in events if _is_timeout(event)]

    def rule_of(self, schedule: str) -> list[Json]:
        """The stage's rules with this schedule."""
        pages = self._rules.get_paginator("list_rules")
        prefix = f"{self.outputs['prefix']}-schedule-"
        found = pages.paginate(NamePrefix=prefix).build_full_result()["Rules"]
        return [rule for rule in found if rule.get("ScheduleExpression") == schedule]

    def pages(self, path: str) -> list[Json]:
        """All results of a list of the API."""
        results: list[Json] = []
        query: dict[str, str | int] = {"limit": 100}
        while True:
            answer = self.api.request("GET", path, query=query)
            if answer.status != 200:
                self.wrong(f"GET {path} answered {answer.status}: {answer.body}")
                return results
            results += answer.body["results"]
            if "more" not in answer.body["paging"]:
                return results
            query["more"] = answer.body["paging"]["more"]

    # --- actions on jobs ----------------------------------------------------------------------------------

    def wrong(self, what: str, job: str | None = None) -> None:
        """Notes something that must not happen."""
        self.faults.append((what, job))

    def _on_lane(self, job: Job, act: Any, *arguments: Any) -> Future[None]:
        return job.lane.submit(self._safely, job, partial(act, job), *arguments)

    def _safely(self, job: Job | None, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except Exception:
            about = arguments[0] if arguments else ""
            self.wrong(f"{about}: {traceback.format_exc()}", None if job is None else job.name)

    def _path(self, job: Job, *more: str) -> str:
        return path_of("services", self.service_name, "jobs", job.name, *more)

    def _ask(
        self, job: Job, what: str, method: str, path: str, body: Any = None, key: str | None = None
    ) -> Asked:
        fact = self.journal.begin(Asked(job=job.name, what=what, asked=body))
        try:
            headers = {"Idempotency-Key": key} if key else None
            answer = self.api.request(method, path, body, headers)
            fact.status, fact.answer = answer.status, answer.body
        except OSError as error:
            fact.answer = str(error)
        fact.answered_ms = now_ms()
        if fact.status == 500:
            self.wrong(f"{what} was answered {fact.status}: {fact.answer}", job.name)
        return fact

    def _act_on_job(self, job: Job, action: Action) -> None:
        self.count(action.what)
        more = action.more
        actions: dict[str, Callable[[], object]] = {
            "put": lambda: self.put(job, self.body(job, more)),
            "put twice at once": lambda: self.put(
                job, *(self.body(job, more[which]) for which in ("first", "second"))
            ),
            "move at a tick": lambda: sequences.move_at_a_tick(self, job, more),
            "pause": lambda: self.pause(job, None),
            "pause for a while": lambda: self.pause(job, more["seconds"]),
            "resume": lambda: self.resume(job),
            "resume early": lambda: sequences.resume_early(self, job, more),
            "delete": lambda: self.delete(job),
            "delete between attempts": lambda: sequences.delete_between_attempts(self, job, more),
            "pause between attempts": lambda: sequences.pause_between_attempts(self, job, more),
            "run": lambda: self.run(job, dict(more) or None),
            "run twice with one key": lambda: self._run_twice(job),
            "run its parents": lambda: self._run_parents(job),
            "cancel": lambda: self._cancel(job),
            "rerun": lambda: self._rerun(job),
            "look": lambda: self._look_and_list(job),
            "stop the machine": lambda: self._stop_machine(job),
        }
        actions[action.what]()

    def body(self, job: Job, planned: Any) -> Json:
        """The body of a PUT, with the names that a planned job has on the stage."""
        body = {**planned, "schedule": self.schedules[planned["schedule"]]}
        if job.name in self.after:
            body = {name: value for name, value in body.items() if name not in _OF_SCHEDULES_ONLY}
            parents = self.after[job.name].items()
            body["after"] = [{"job": parent, "on": [*ends]} for parent, ends in parents]
        if "limit" in body:
            body["limit"] = _limit_name(body["limit"])
        if body["invocation_type"] == "http":
            body["invocation_target"] = self.service.webhook_url(job.name)
        return body

    def _minutely_body(self, job: Job, schedule: str, workflow_type: str = "standard") -> Json:
        body = {"schedule": schedule, "invocation_type": "http", "async": True, "enabled": True}
        body |= {"invocation_target": self.service.webhook_url(job.name), "test_invocation": False}
        return body | {"ttl_seconds": TTL, "payload": '{"conducts": []}', "workflow_type": workflow_type}

    def put(self, job: Job, *bodies: Json) -> None:
        """PUTs the bodies, all at once. They may be refused if a job after which this one runs is missing."""
        for parent in self.after.get(job.name, ()):
            self.planned[parent].lane.submit(bool).result()  # what was planned for it before is done
        before, sent_ms = job.timeline.now, now_ms()
        job.timeline.changes(now_ms(), *map(put, bodies))
        with ThreadPoolExecutor(len(bodies)) as at_once:
            ask = partial(self._ask, job, "put", "PUT", self._path(job))
            facts = list(at_once.map(ask, bodies))
        if all(fact.status == 400 for fact in facts) and self._may_lack_parent(job, sent_ms):
            job.timeline.answered(now_ms(), False)
            return
        done = [fact for fact in facts if fact.status in (200, 201)]
        exists = {state.definition is not None for state in before}
        if len(bodies) == 1 and done and len(exists) == 1 and (done[0].status == 200) != exists.pop():
            self.wrong(f"put was answered {done[0].status}, but the job was {before}", job.name)
        allowed = (200, 201, 503, NO_ANSWER, *((400,) if self._may_lack_parent(job, sent_ms) else ()))
        if any(fact.status not in allowed for fact in facts):
            self.wrong(f"put was answered {[(fact.status, fact.answer) for fact in facts]}", job.name)
        job.timeline.answered(now_ms(), True if len(done) == len(bodies) else None)
        if len(done) != 1 or len(bodies) != 1:
            self._look(job)

    def _may_lack_parent(self, job: Job, from_ms: int) -> bool:
        """Whether one of the jobs after which a job runs may have been missing since then."""
        parents = (self.planned[name] for name in self.after.get(job.name, ()))
        return any(NO_JOB in parent.timeline.possible(from_ms, now_ms()) for parent in parents)

    def resume(self, job: Job) -> None:
        """Resumes a job."""
        path = self._path(job, "resume")
        self._change(job, lambda state: State(state.definition), (200,), "resume", "POST", path)

    def delete(self, job: Job) -> None:
        """Deletes a job."""
        self._change(job, lambda _: State(None), (204,), "delete", "DELETE", self._path(job))

    def pause(self, job: Job, seconds: int | None) -> None:
        """Pauses a job; without ``seconds``, until it is resumed."""
        until_ms = None if seconds is None else (now_ms() // 1000 + seconds) * 1000
        body = {"reason": "life"} | ({} if until_ms is None else {"until": iso(until_ms)})
        path = self._path(job, "pause")
        self._change(job, lambda state: state.paused(until_ms), (200,), "pause", "POST", path, body, until_ms)

    def _change(
        self,
        job: Job,
        change: Any,
        done: tuple[int, ...],
        what: str,
        method: str,
        path: str,
        body: Any = None,
        valid_until_ms: int | None = None,
    ) -> None:
        """Requests a change that is only possible if the job exists, and before ``valid_until_ms``."""

        def changed(state: State) -> State:
            return state if state.definition is None else change(state)

        before = job.timeline.now
        job.timeline.changes(now_ms(), changed)
        fact = self._ask(job, what, method, path, body)
        if fact.status == 400 and valid_until_ms is not None and fact.ended() > valid_until_ms:
            job.timeline.answered(now_ms(), False)
            return
        exists = {state.definition is not None for state in before}
        is_conclusive = fact.status in (*done, 404)
        # Deleting a deleted job is 204 again.
        if is_conclusive and len(exists) == 1 and what != "delete" and (fact.status != 404) != exists.pop():
            self.wrong(f"{what} was answered {fact.status}, but the job was {before}", job.name)
        elif not is_conclusive and fact.status not in (503, NO_ANSWER):
            self.wrong(f"{what} was answered {fact.status}: {fact.answer}", job.name)
        job.timeline.answered(now_ms(), fact.status in done if is_conclusive else None)
        if not is_conclusive:
            self._look(job)

    def _look(self, job: Job) -> None:
        """Reads the job from the API. It must be in a state that is possible."""
        sent_ms = now_ms()
        fact = self._ask(job, "get", "GET", self._path(job))
        answered_ms = now_ms()
        answer = ApiResponse(fact.status, {}, fact.answer)
        before = job.timeline.now

        def is_so(state: State) -> bool:
            return is_shown_as(state, answer.status, answer.body, sent_ms, answered_ms)

        if not job.timeline.seen(sent_ms, is_so):
            self.wrong(f"the job is shown as {answer}, but can only be {before}", job.name)

    def _look_and_list(self, job: Job) -> None:
        self._look(job)
        self._history(job)

    def _history(self, job: Job, *status: str) -> list[Json]:
        """The newest executions from the API. The status of an ended one must not change."""
        fact = self._ask(job, "history", "GET", self._path(job, "executions"))
        results: list[Json] = fact.answer["results"] if fact.status == 200 else []
        with self._keep_lock:
            for found in results:
                if found["status"] in FINAL_STATUSES:
                    first = self.final_seen.setdefault(found["execution_id"], found["status"])
                    if first != found["status"]:
                        self.wrong(f"{found['execution_id']} was {first}, now {found['status']}", job.name)
        return [found for found in results if not status or found["status"] in status]

    def run(self, job: Job, body: Any, key: str | None = None) -> Asked:
        """Runs a job by hand."""
        fact = self._ask(job, "run", "POST", self._path(job, "executions"), body, key)
        if fact.status not in (201, 404, 409, 503, NO_ANSWER):
            self.wrong(f"run was answered {fact.status}: {fact.answer}", job.name)
        if fact.status == 201:
            fact.execution_id = fact.answer["execution_id"]
        return fact

    def _run_parents(self, job: Job) -> None:
        for parent in self.after[job.name]:
            self.run(self.planned[parent], None)

    def _run_twice(self, job: Job) -> None:
        key = secrets.token_hex(8)
        with ThreadPoolExecutor(2) as at_once:
            facts = list(at_once.map(lambda key: self.run(job, None, key), [key, key]))
        started = {fact.execution_id for fact in facts if fact.status == 201}
        if len(started) > 1:
            self.wrong(f"one Idempotency-Key started {started}", job.name)

    def _cancel(self, job: Job) -> None:
        for found in self._history(job, RUNNING, WAITING)[:1]:
            path = self._path(job, "executions", found["execution_id"], "cancel")
            fact = self._ask(job, "cancel", "POST", path, {"reason": "life"})
            fact.execution_id = found["execution_id"]
            if fact.status not in (200, 409, 503, NO_ANSWER):
                self.wrong(f"cancel was answered {fact.status}: {fact.answer}", job.name)

    def _rerun(self, job: Job) -> None:
        for found in self._history(job, "success", "fail", "timeout")[:1]:
            path = self._path(job, "executions", found["execution_id"], "rerun")
            fact = self._ask(job, "rerun", "POST", path)
            if fact.status == 201:
                fact.execution_id = fact.answer["execution_id"]
            elif fact.status not in (404, 409, 503, NO_ANSWER):
                self.wrong(f"rerun was answered {fact.status}: {fact.answer}", job.name)

    def _stop_machine(self, job: Job) -> None:
        """Stops the machine, as an operator may in the console."""
        for found in self._history(job, RUNNING)[:1]:
            arn = self.outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
            what, machine = "stop the machine", machine_names(cast(Execution, found))[0]
            fact = self.journal.begin(Asked(job=job.name, execution_id=found["execution_id"], what=what))
            try:
                self._machines.stop_execution(executionArn=f"{arn}:{machine}", error="Operator")
                fact.status = 200
            except self._machines.exceptions.ClientError as error:
                fact.answer = str(error)
            fact.answered_ms = now_ms()

    # --- actions on schedules -----------------------------------------------------------------------------

    def _act_on_schedule(self, action: Action) -> None:
        self.count(action.what)
        if action.limit is not None:
            self._put_limit(self.limits[_limit_name(action.limit)], dict(action.more))
            return
        if action.schedule is None:
            self._upkeep(action.what)
            return
        schedule = self.schedules[action.schedule]
        while self._quiet[schedule] > 0:
            time.sleep(0.1)
        late_ms = 1000 * action.more.get("late_seconds", 0)
        scheduled_ms = (now_ms() - late_ms) // 1000 * 1000
        match action.what:
            case "tick" | "late tick":
                self.tick(schedule, scheduled_ms)
            case "missed tick":
                self.tick(schedule, scheduled_ms, is_missed=True)
            case "tick twice at once":
                with ThreadPoolExecutor(2) as at_once:
                    list(at_once.map(lambda _: self.tick(schedule, scheduled_ms), range(2)))
            case "tick again":
                for scheduled_ms in self._ticks_of(schedule, 0, _TICK_AGAIN_WITHIN_SECONDS)[:1]:
                    self.tick(schedule, scheduled_ms)
            case "redrive an old tick":
                old = self._ticks_of(schedule, _OLD_TICK_SECONDS, self.plan.seconds)
                if old:
                    self.tick(schedule, old[int(action.more["which"] * len(old))])
                    self.count("redriven")
            case "delete the rule" | "disable the rule":
                self._hurt_rule(action.what, schedule)

    def _ticks_of(self, schedule: str, from_seconds: float, until_seconds: float) -> list[int]:
        """The times of the ticks that were sent so long ago."""
        now = now_ms()
        return [
            tick.scheduled_ms
            for tick in self.journal.all(Ticked)
            if tick.schedule == schedule and from_seconds * 1000 <= now - tick.sent_ms < until_seconds * 1000
        ]

    def tick(self, schedule: str, scheduled_ms: int, is_missed: bool = False) -> None:
        """Delivers a tick. EventBridge missed it if ``is_missed``, and the reconciler has found it."""
        tick: Json = {"schedule": schedule, "scheduled_time": iso(scheduled_ms)}
        fact = self.journal.begin(Ticked(schedule=schedule, scheduled_ms=scheduled_ms, is_missed=is_missed))
        answer = self._lambda.invoke(
            FunctionName=self.outputs["function_names"]["start_due_executions"],
            Payload=json.dumps(tick | ({"catch_up": True} if is_missed else {})),
        )
        result = answer["Payload"].read()
        if "FunctionError" in answer:
            fact.error = result.decode()
            self.wrong(f"a tick failed: {fact.error}")
        fact.answered_ms = now_ms()

    def _hurt_rule(self, what: str, schedule: str) -> None:
        fact = self.journal.begin(Asked(what=what, asked=schedule))
        for rule in self.rule_of(schedule):
            if what == "disable the rule":
                self._rules.disable_rule(Name=rule["Name"])
                continue
            targets = self._rules.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            if targets:
                self._rules.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
            self._rules.delete_rule(Name=rule["Name"])
        fact.answered_ms = now_ms()

    def _put_limit(self, limit: Limit, body: Json) -> None:
        with limit.lock:
            fact = self.journal.begin(Asked(what="put limit", asked={"limit": limit.name, **body}))
            limit.timeline.changes(now_ms(), body)
            try:
                answer = self.api.request("PUT", self._limit_path(limit), body)
                fact.status, fact.answer = answer.status, answer.body
            except OSError as error:
                fact.answer = str(error)
            fact.answered_ms = now_ms()
            if fact.status not in (200, 201, 503, NO_ANSWER):
                self.wrong(f"the PUT of a limit was answered {fact.status}: {fact.answer}")
            limit.timeline.answered(now_ms(), True if fact.status in (200, 201) else None)

    def _limit_path(self, limit: Limit) -> str:
        return path_of("services", self.service_name, "limits", limit.name)

    def _upkeep(self, what: str) -> None:
        function = {"reap": "reap_executions", "reconcile": "reconcile_schedules"}[what]
        # Tests of the reconciler expect to be alone with it. The sweep runs each minute anyway.
        with only_one("reconciler") if what == "reconcile" else nullcontext():
            fact = self.journal.begin(Asked(what=what))
            answer = self._lambda.invoke(FunctionName=self.outputs["function_names"][function], Payload=b"{}")
            fact.answer = answer["Payload"].read().decode()
        fact.status = 500 if "FunctionError" in answer else 200
        if fact.status != 200:
            self.wrong(f"{what} failed: {fact.answer}")
        fact.answered_ms = now_ms()

    def figures(self) -> str:
        """The size of the life, and how often each action was done and each answer given."""
        answers = Counter(delivered.answer for delivered in self.journal.all(Delivered))
        ticks = sum(1 for _ in self.journal.all(Ticked))
        sizes = (
            f"{len(self.plan.actions)} actions, {ticks} ticks, {len(self.records())} executions,"
            f" {answers.total()} notifications, {len(self.events)} events; {self.stalls.summary()}"
        )
        records = self.records().values()
        ends = Counter(f"{r.get('workflow_type', 'standard')} {r['status']}" for r in records)
        return "\n".join(
            [
                sizes,
                f"actions: {_listed(self.counts)}",
                f"answers: {_listed(answers)}",
                f"ends: {_listed(ends)}",
                f"turns: {_listed(Counter(turn for each in records for turn in _turns(each)))}",
            ]
        )


def _turns(record: Json) -> Iterator[str]:
    """How an execution began, beside by its tick: for the report."""
    if "parents" in record and "rerun_of" not in record:
        yield f"after {len(record['parents'])}"
    if record.get("holds_slot"):
        yield "had a slot"
    if record.get("cause", "").startswith(CANCELLED_BY_OVERLAP):
        yield "cancelled for the next"
    if "waiting_since_ms" in record:
        yield "waited, then ran" if "lock_expires_at" in record else f"waited, then was {record['status']}"
    if record["status"] == "skipped":
        yield f"skipped as {record['reason']['code']}"


def _job_name(number: int) -> str:
    return f"job-{number:02}"


def _limit_name(number: int) -> str:
    return f"limit-{number}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))


def _is_timeout(event: Json) -> bool:
    failed = event.get("taskFailedEventDetails", {}).get("error")  # the emulator's form of it
    return event["type"] == "TaskTimedOut" or failed in ("States.Timeout", "States.HeartbeatTimeout")
