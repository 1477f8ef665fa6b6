"""One run: a stage of stand-ins with the real functions, and those who act on it, until all is quiet."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from jobmanager.core.errors import ManagerError
from jobmanager.schedules.trigger_kind import TriggerType
from tests.clock_model import Fires
from tests.integration.invariants import broken_invariants
from tests.simulation import actors
from tests.simulation.api import Api
from tests.simulation.calls import Calls, Client, Invocation, Lane, Odds, Outage
from tests.simulation.chain_promises import STARTS_CHILDREN, Chains
from tests.simulation.checks import broken_checks
from tests.simulation.choices import Choices
from tests.simulation.event_scheduler import EventScheduler
from tests.simulation.kms import Keys
from tests.simulation.lambdas import Function, Lambdas
from tests.simulation.plan import (
    BY_HAND,
    BY_HAND_ON_TRIGGERS,
    SERVICE,
    STARTING_DEADLINE_SECONDS,
    Action,
)
from tests.simulation.promises import Sweeps
from tests.simulation.rules import EventBridge
from tests.simulation.scheduler import Scheduler, Task
from tests.simulation.seams import FUNCTIONS
from tests.simulation.service import Service
from tests.simulation.sns import Topics
from tests.simulation.sqs import Queue
from tests.simulation.step_functions import Machine, StepFunctions
from tests.simulation.story import Story
from tests.simulation.ticks import Ticks
from tests.simulation.timings import TICKS_LAST_MS, start_of
from tests.simulation.turns import Turns
from tests.simulation.view import SimulatedStage
from tests.stand_ins import stage_tables
from tests.stand_ins.dynamodb import Tables
from tests.stand_ins.errors import ByName, Unsupported

_ALL_IS_DONE_AFTER_MS = 300_000
_CALM_FROM_MS = 1_320_000
_SWEEPS_LAST_MS = 2_100_000
"""Long enough for jobs that are spread over 20 minutes."""
_REAP_EVERY_MS, _RECONCILE_EVERY_MS = 60_000, 900_000
_LAST_PASSES = 6
_COMPLETED_AFTER_MS = 4_501_000
"""Long enough for jobs whose last tick was missed."""
_TOLD_OF_AN_UPDATE = 100

_TIMEOUTS = {
    "start_due_executions": 900,
    "start_spread_executions": 60,
    "start_waiting_executions": 60,
    "run_execution": 90,
    "notify_service": 90,
    "reap_executions": 300,
    "reconcile_schedules": 29,
    "put_job": 29,
}
_DEFAULT_TIMEOUT = 15
"""As terraform/functions_*.tf have them."""

_OUTAGES = tuple(
    f"{service} for {seconds} s"
    for service in ("dynamodb", "sns", "stepfunctions", "events", "scheduler", "sqs", "lambda")
    for seconds in (5, 40, 200)
)
_OUTAGE_LIKELIHOOD = 0.3
_GRACE_SECONDS, _SHORT_GRACE, _SHORT_GRACE_LIKELIHOOD = 60, "5 s", 0.4
_MISSED_GRACE_SECONDS, _HURRIED = 300, "reconciles each minute"
_HURRIED_GRACE_SECONDS, _HURRIED_LIKELIHOOD = 60, 0.25
"""The shortest that terraform/variables.tf allows, so that jobs are completed while others are put."""
_INDEX_LATE_MS = {"50 ms": 50, "400 ms": 400, "1900 ms": 1900}

_DYNAMODB = {
    "get_item": "GetItem",
    "batch_get_item": "BatchGetItem",
    "put_item": "PutItem",
    "update_item": "UpdateItem",
    "delete_item": "DeleteItem",
    "transact_write_items": "TransactWriteItems",
    "query": "Query",
}
_STEP_FUNCTIONS = {
    "start_execution": "StartExecution",
    "stop_execution": "StopExecution",
    "describe_execution": "DescribeExecution",
    "send_task_success": "SendTaskSuccess",
    "send_task_failure": "SendTaskFailure",
    "send_task_heartbeat": "SendTaskHeartbeat",
}
_SQS = {"send_message_batch": "SendMessageBatch", "send_message": "SendMessage"}
_EVENTS = {
    "put_rule": "PutRule",
    "put_targets": "PutTargets",
    "remove_targets": "RemoveTargets",
    "delete_rule": "DeleteRule",
    "describe_rule": "DescribeRule",
    "list_rules": "ListRules",
    "list_targets_by_rule": "ListTargetsByRule",
}
_SCHEDULER = {
    "create_schedule": "CreateSchedule",
    "update_schedule": "UpdateSchedule",
    "get_schedule": "GetSchedule",
    "delete_schedule": "DeleteSchedule",
    "list_schedules": "ListSchedules",
}


def _outage(choices: Choices) -> Outage | None:
    """In some runs a service of AWS is out, for seconds or minutes."""
    what = choices.deviates("outage", _OUTAGES, _OUTAGE_LIKELIHOOD)
    if not what:
        return None
    service, _, seconds = what.partition(" for ")
    from_ms = start_of(choices) + choices.between("outage from", 5000, TICKS_LAST_MS)
    return Outage(service, from_ms, from_ms + int(seconds.removesuffix(" s")) * 1000)


@cache
def _machine(name: str, is_express: bool = False) -> Machine:
    return Machine.of((FUNCTIONS.parent / name).read_text(), is_express)


@dataclass(frozen=True)
class Chances:
    """How likely calls have faults and delays, and how likely the service is odd."""

    odds: Odds
    service: float

    @staticmethod
    def of(choices: Choices) -> Chances:
        """By the seed: from a calm day to a bad one."""
        fault = choices.one_of("odds of faults", (0.0, 0.004, 0.02, 0.06))
        delay = choices.one_of("odds of delays", (0.0, 0.01, 0.05, 0.2) if fault else (0.01, 0.05, 0.2))
        other = choices.one_of("odds of others", (0.0, 0.05, 0.2))
        death = choices.one_of("odds of deaths", (0.0, 0.1, 0.4))
        return Chances(
            Odds(fault, delay, other, death), choices.one_of("odds of the service", (0.1, 0.4, 0.9))
        )


class World:
    """All of one run."""

    def __init__(
        self,
        choices: Choices,
        chances: Chances,
        handlers: Mapping[str, Callable[[Any, Any], Any]],
        story: Story,
    ) -> None:
        self.choices = choices
        self.story = story
        self.start_ms = start_of(choices)
        self.scheduler = Scheduler(self.start_ms)
        story.now_ms = lambda: self.scheduler.now_ms
        self.calls = Calls(self.scheduler, choices, story, chances.odds)
        functions = {
            name: Function(handler, _TIMEOUTS.get(name, _DEFAULT_TIMEOUT))
            for name, handler in handlers.items()
        }
        self.lambdas = Lambdas(functions, self.scheduler, choices, self.calls, story)
        self.machines = StepFunctions(
            {
                "run-job": _machine("statemachine.asl.json"),
                "run-job-express": _machine("statemachine.express.asl.json", is_express=True),
                "update-job": _machine("statemachine.update-job.asl.json", is_express=True),
            },
            self.scheduler,
            choices,
            self.calls,
            self.lambdas,
            story,
        )
        self.ticks = Ticks(self.scheduler, choices, self.calls, story, self.lambdas.begin_asynchronously)
        self.rules = EventBridge(self.scheduler, self.ticks)
        self.schedules = EventScheduler(self.scheduler, self.ticks)
        self.trigger_type: TriggerType = choices.one_of("type of triggers", ("rule", "scheduler"))
        self.queue = Queue(self.scheduler, choices, self.calls, self.lambdas, story)
        self.api = Api(self.scheduler, choices, self.calls, self.lambdas, story)
        self.service = Service(
            self.scheduler,
            choices,
            self.calls,
            self.api,
            story,
            chances.service,
            self._has_secret,
            self.machines.runs_twice,
        )
        self.topics = Topics(self.service.notified_by_sns)
        self.tables = Tables(
            stage_tables.tables(),
            lambda: self.scheduler.now_ms,
            self._index_late_ms,
            self._is_answered_in_part,
        )
        self.view = SimulatedStage(self)
        self.turns = Turns(self)
        self.tables.observers.append(self.turns.written)
        self.lambdas.observers["start_waiting_executions"] = self.turns.looked
        self.chains = Chains(self)
        self.tables.observers.append(self.chains.written)
        self.lambdas.observers[STARTS_CHILDREN] = self.chains.asked
        self.unexpected: list[str] = []
        self.broken: list[str] = []
        """What is wrong when all is quiet."""
        # Without faults, delays alone must not leave anything for the reconciler to mend.
        self._is_faultless = not chances.odds.fault
        short = choices.deviates("grace of the sweep", (_SHORT_GRACE,), _SHORT_GRACE_LIKELIHOOD)
        self.grace_seconds = int(short.removesuffix(" s") or _GRACE_SECONDS)
        self._is_hurried = bool(choices.deviates("upkeep", (_HURRIED,), _HURRIED_LIKELIHOOD))
        self.missed_grace_seconds = _HURRIED_GRACE_SECONDS if self._is_hurried else _MISSED_GRACE_SECONDS
        self.calls.outage = None if self._is_faultless else _outage(choices)
        self._are_triggers_changed = False
        self._acting: list[Task] = []
        self._is_over = False
        """Whether there was nothing to do when the last sweep was due."""
        self._sweeps = Sweeps(self)
        self.lambdas.observers["reap_executions"] = self._sweeps.ended
        self.starts = _StepFunctionsClient(self.calls, self.machines, self.scheduler, self.chains.started)
        self._clients: dict[str, Any] = {
            "dynamodb": Client("dynamodb", self.calls, self.tables, _DYNAMODB, _about_dynamodb),
            "sns": Client("sns", self.calls, self.topics, {"publish": "Publish"}, _about_sns),
            "stepfunctions": self.starts,
            "events": Client("events", self.calls, self.rules, _EVENTS, _about_rules),
            "scheduler": Client("scheduler", self.calls, self.schedules, _SCHEDULER, _about_rules),
            "sqs": Client("sqs", self.calls, self.queue, _SQS, _nothing),
            "kms": Client("kms", self.calls, Keys(), {"encrypt": "Encrypt", "decrypt": "Decrypt"}, _nothing),
            "lambda": Client("lambda", self.calls, self.lambdas, {"invoke": "Invoke"}, str),
        }

    # --- what the seams ask for ---------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """The client of a service of AWS."""
        if service not in self._clients:
            raise Unsupported(f"a client of {service}")
        return self._clients[service]

    def uniform(self, low: float, high: float) -> float:
        """A number by chance."""
        return low + (high - low) * self.choices.fraction(self.calls.lane.next("chance"))

    def shuffled(self, population: Iterable[Any], k: int) -> list[Any]:
        """A sample in an order by chance."""
        label = self.calls.lane.next("sample")
        return sorted(population, key=lambda each: self.choices.fraction(f"{label} {each}"))[:k]

    def token(self, size: int) -> str:
        """What looks like random text: hexadecimal, twice as long as the number of bytes."""
        label = self.calls.lane.next("token")
        return "".join(f"{int(self.choices.fraction(f'{label} {n}') * 256):02x}" for n in range(size))

    def begin_task(self, body: Callable[[], None]) -> Task:
        """A further task of the function that runs now."""
        lane = self.calls.lane
        label = lane.next("thread")
        task = self.scheduler.spawn(label, body, Lane(lane.invocation, label))
        lane.invocation.tasks.append(task)
        return task

    def log(self, level: str, message: str, extra: Mapping[str, Any], error: BaseException | None) -> None:
        """Tells what a function logs, and notes an error that no function should have."""
        if error is not None and not isinstance(error, ClientError | BotoCoreError | ManagerError):
            self.unexpected.append(f"{self.calls.lane.label} fails with {error!r}")
        facts = " ".join(f"{name}={value}" for name, value in extra.items() if value is not None)
        self.story.tell(self.calls.lane.label, f"logs: {message} {facts}".rstrip())

    def _is_answered_in_part(self) -> bool:
        return bool(self.choices.deviates(self.calls.lane.next("part"), ("some",), self.calls.odds.other))

    def _index_late_ms(self) -> int:
        label = self.calls.lane.next("index")
        late = self.choices.deviates(label, tuple(_INDEX_LATE_MS), self.calls.odds.other)
        if late:
            self.story.tell(self.calls.lane.label, f"reads what was {late} ago")
        return _INDEX_LATE_MS.get(late, 0)

    def _has_secret(self) -> bool:
        """Whether the service has a secret, so that its webhooks must be signed."""
        return self.tables.tables["services"].now((SERVICE,)) is not None

    # --- the run ------------------------------------------------------------------------------------------

    def run(self, actions: Sequence[Action]) -> None:
        """Runs until nothing is on its way, and the upkeep has found nothing more to do."""
        try:
            self.rules.start_clock(self.start_ms + TICKS_LAST_MS)
            self.schedules.start_clock(self.start_ms + TICKS_LAST_MS)
            for action in actions:
                self.scheduler.after(action.at_ms, partial(self._begin, action))
            sweep_ms = self.choices.between("sweep", 0, 59_999)
            self._keep_up(self._sweep, _REAP_EVERY_MS, sweep_ms, _SWEEPS_LAST_MS)
            reconcile = partial(self.lambdas.begin_asynchronously, "reconcile_schedules", {})
            if not self._is_faultless:
                self._keep_up(reconcile, _RECONCILE_EVERY_MS, 0)
            if self._is_hurried:
                hurried_ms = self.choices.between("reconcile", 0, 59_999)
                self._keep_up(reconcile, 60_000, hurried_ms, TICKS_LAST_MS, "upkeep of minute")
            self.scheduler.run(self.start_ms + _CALM_FROM_MS)
            self.choices.is_calm = True
            self.scheduler.run()
            is_meddled_with = any(action.kind in BY_HAND for action in actions)
            self._are_triggers_changed = any(action.kind in BY_HAND_ON_TRIGGERS for action in actions)
            if self.is_undisturbed and not is_meddled_with:
                self.broken = self._broken("before the upkeep, ")
            self._look_after_itself()
            self.chains.look()
            self.broken += self._broken()
            self.broken += broken_checks(self, tuple(actions))
            self.broken += self._sweeps.broken()
            self.broken += self.turns.broken()
            self.broken += self.chains.broken()
        finally:
            self.scheduler.end()

    @property
    def grace_ms(self) -> int:
        """How long the sweep leaves what is overdue."""
        return self.grace_seconds * 1000

    @property
    def missed_grace_ms(self) -> int:
        """After how long a tick that does not come counts as missed."""
        return self.missed_grace_seconds * 1000

    @property
    def shortest_deadline_ms(self) -> int:
        """The shortest ``starting_deadline_seconds`` of a plan."""
        return STARTING_DEADLINE_SECONDS * 1000

    @property
    def is_undisturbed(self) -> bool:
        """Whether nothing but delays, deaths of machines and the service made trouble."""
        return self._is_faultless and not self.lambdas.timed_out

    def _begin(self, action: Action) -> None:
        self.story.tell(action.label, f"{action.kind} {action.job_name}")
        self._acting.append(self.scheduler.spawn(action.label, lambda: actors.act(self, action)))

    def _keep_up(
        self,
        upkeep: Callable[[str], None],
        every_ms: int,
        offset_ms: int,
        until_ms: int = _CALM_FROM_MS,
        label: str = "upkeep",
    ) -> None:
        for number in range(until_ms // every_ms + 1):
            self.scheduler.after(number * every_ms + offset_ms, partial(upkeep, f"{label} {number}"))

    def _sweep(self, label: str) -> None:
        """Sweeps, unless there is nothing to look at, as there was none when the last sweep was due."""
        was_over, self._is_over = self._is_over, self._has_nothing_to_sweep()
        if not (was_over and self._is_over):
            self.lambdas.begin_asynchronously("reap_executions", {}, label)

    def _has_nothing_to_sweep(self) -> bool:
        return (
            self.scheduler.now_ms > self.start_ms + _ALL_IS_DONE_AFTER_MS
            and not self.scheduler.tasks
            and not any("sweep_shard" in record or "open_shard" in record for record in self.view.records())
            and not any("untold_since" in job for job in self.view.jobs())
        )

    def _look_after_itself(self) -> None:
        """Lets the upkeep run while executions are open, and once more.

        Jobs that never fire again are completed at most an hour and a quarter after the reconciler has first
        seen that, and those that are spread as much later.
        """
        for number in range(_LAST_PASSES):
            is_last = not any("sweep_shard" in record for record in self.view.records())
            has_ended = self._has_ended_job()
            wait_ms = _COMPLETED_AFTER_MS if has_ended and number else _REAP_EVERY_MS
            self.scheduler.run(self.scheduler.now_ms + wait_ms)
            for function in ("reap_executions", "reconcile_schedules"):
                self.lambdas.begin_asynchronously(function, {}, f"last pass {number + 1}")
                self.scheduler.run()
            # A job may have fired for the last time meanwhile.
            if is_last and not has_ended and not self._has_ended_job():
                return

    def _has_ended_job(self) -> bool:
        """Whether a job that never fires again is still on its schedule."""
        now_ms = self.scheduler.now_ms
        jobs = [job for job in self.view.jobs() if "active_schedule" in job]
        return any(not Fires.of(job).fires_after(now_ms) for job in jobs)

    def _broken(self, when: str = "") -> list[str]:
        wrong = [f"{task.name} failed: {task.error!r}" for task in self._acting if task.error]
        wrong += broken_invariants(
            self.view,
            [SERVICE],
            received=self.service.received,
            excused=self.service.excused,
            acknowledged=self.service.acknowledged,
            schedules=self.view.triggered(),
            are_ticks_by_hand=self._are_triggers_changed,
            notified_at_ms={
                name: calls[0].at_ms for (name, _), calls in reversed(self.service.calls.items())
            },
        )
        return [f"{when}{sentence}" for sentence in wrong]


class _StepFunctionsClient(Client):
    """As other clients, but for StartSyncExecution, which takes as long as the machine."""

    def __init__(
        self,
        calls: Calls,
        machines: StepFunctions,
        scheduler: Scheduler,
        started: Callable[[Invocation, Any], None],
    ) -> None:
        super().__init__("stepfunctions", calls, machines, _STEP_FUNCTIONS, _about_step_functions)
        self.exceptions = ByName()
        self._machines = machines
        self._scheduler = scheduler
        self._started = started
        self.restarts: dict[tuple[str, int], dict[str, int]] = {}
        """When the sweeps began that started a machine of an attempt, by which of their tasks did it."""
        self.caught_up: dict[tuple[str, str], list[str]] = {}
        """The times for which a job was started to catch up, by its guid and what was missed."""

    def start_execution(self, **request: str) -> Any:
        """Starts an execution, and notes if a sweep does it."""

        def start() -> Any:
            lane = self._calls.lane
            if lane.invocation.function == "reap_executions":
                passed = json.loads(request["input"])
                attempt = passed["execution_id"], int(passed["attempt"])
                self.restarts.setdefault(attempt, {})[lane.label] = lane.invocation.began_ms
            started = self._machines.start_execution(**request)
            due = json.loads(request["input"])
            self._note_caught_up(lane.invocation.event, due)
            self._started(lane.invocation, due)
            return started

        about = partial(_about_step_functions, request)
        return self._calls.make("StartExecution", start, about, "stepfunctions")

    def _note_caught_up(self, tick: Any, due: Any) -> None:
        """Notes for which time a job is started to catch up."""
        if "found_ms" in tick:
            found = f"{tick['found_ms']} {tick['missed_after_ms']} {tick['scheduled_time']}"
            times = self.caught_up.setdefault((due["job_guid"], found), [])
            if due["scheduled_time"] not in times:
                times.append(due["scheduled_time"])

    def start_sync_execution(self, stateMachineArn: str, input: str) -> dict[str, Any]:
        """Runs the express machine to its end, and waits no longer than the client does."""
        execution = self._calls.make(
            "StartSyncExecution",
            lambda: self._machines.begin_synchronously(stateMachineArn, input),
            str,
            "stepfunctions",
        )
        if not self._scheduler.wait(execution.over, 26_000):
            raise ReadTimeoutError(endpoint_url="states")
        answer = {"status": execution.status, "error": execution.error, "cause": execution.cause}
        if execution.status == "SUCCEEDED":
            return {"status": execution.status, "output": json.dumps(execution.output)}
        return answer


def _about_dynamodb(request: dict[str, Any]) -> str:
    if "TransactItems" in request:
        return " and ".join(
            _about_dynamodb(each) for item in request["TransactItems"] for each in item.values()
        )
    if "RequestItems" in request:
        return " ".join(request["RequestItems"])
    key = request.get("Key") or {}
    named = " ".join(str(value) for each in key.values() for value in each.values())
    update = textwrap.shorten(request.get("UpdateExpression", ""), _TOLD_OF_AN_UPDATE)
    return " ".join(filter(None, (request["TableName"], request.get("IndexName", ""), named, update)))


def _nothing(request: dict[str, Any]) -> str:
    return ""


def _about_rules(request: dict[str, Any]) -> str:
    return str(request.get("Name") or request.get("Rule", ""))


def _about_sns(request: dict[str, Any]) -> str:
    message = json.loads(request["Message"])
    return f"{message.get('event', 'notification')} {message.get('execution_id', '')}"


def _about_step_functions(request: dict[str, Any]) -> str:
    told = (request.get(name, "") for name in ("name", "executionArn", "taskToken", "error"))
    return " ".join(str(each).rpartition(":")[2] for each in told if each)
