"""Step Functions: the project's state machines, as they are written, and the API that the functions use.

A standard execution has its name for good. An express one may have a name that was taken, may be started
twice or run twice, ends after five minutes, and cannot be described or stopped. By choice it dies silently.
https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html

It knows the states, fields and errors that the machines have, and refuses others.
https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from jsonata import Jsonata

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.executions.moved import AFTER_WAITING
from tests.simulation.calls import DELAYS, Calls, Ended, Invocation, delay_ms
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Lambdas
from tests.simulation.scheduler import Future, Killed, Scheduler, Task
from tests.simulation.story import Story
from tests.stand_ins.errors import Unsupported, client_error

type Json = dict[str, Any]

_PATH = re.compile(r"\{% \$states((?:\.\w+)+) %\}")
_PLACEHOLDER = re.compile(r"\$\{([a-z_]+)_arn\}")
_INVOKE, _INVOKE_AND_WAIT = "states:::lambda:invoke", "states:::lambda:invoke.waitForTaskToken"
_FIELDS = {
    "Task": {"Resource", "Arguments", "Output", "TimeoutSeconds", "HeartbeatSeconds", "Retry", "Catch"},
    "Choice": {"Choices", "Default"},
    "Wait": {"Timestamp"},
    "Succeed": {"Output"},
    "Fail": {"Error", "Cause"},
}
_ANY_STATE = {"Type", "Comment", "Next", "End"}
_FULL, _BROKEN, _UNHEARD = "finds no room for the function", "cannot invoke", "does not hear of the end"
FAILED_INVOKES = (_FULL, _BROKEN, _UNHEARD)
STOPPED_BY_HAND = "Stopped"
_RUNNING, _DEAD = "RUNNING", "DEAD"
_TWICE, _RUNS_TWICE = "starts twice", "runs twice"
_UNBEGUN, _LEAVES, _GIVES_UP = "dies unbegun", "dies while its function runs", "dies after a failure"
_HEARS_NOTHING, _NO_ROOM = "hears of no end", "finds no room to begin"
_MAY_NOT = "may not invoke its function"
_WITH_ITS_FUNCTION_MS = {f"dies with its function after {ms} ms": ms for ms in (5, 15, 25, 35, 50, 65, 80)}
_ENDS_OF_EXPRESS = (_UNBEGUN, _LEAVES, _GIVES_UP, _HEARS_NOTHING, _NO_ROOM, _MAY_NOT, *_WITH_ITS_FUNCTION_MS)
_IDLE = (_NO_ROOM, _MAY_NOT)
_EXPRESS_SECONDS = 300
_NO_LIMIT_SECONDS = 99_999_999
_ARN = "arn:aws:states:us-east-1:123456789012"


class Failed(Exception):
    """A state failed, with an error that may be retried or caught."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.cause = cause


@dataclass(frozen=True)
class Machine:
    """A state machine, checked for what is known here."""

    states: Mapping[str, Json]
    start: str
    timeout_seconds: int | None
    is_express: bool = False

    @staticmethod
    def of(text: str, is_express: bool = False) -> Machine:
        """Reads a state machine's file."""
        definition = json.loads(_PLACEHOLDER.sub(lambda match: match[1], text))
        for name, state in definition["States"].items():
            unknown = set(state) - _FIELDS.get(state["Type"], set()) - _ANY_STATE
            if state["Type"] not in _FIELDS or unknown:
                raise Unsupported(f"{name}: {state['Type']} with {sorted(unknown)}")
        seconds = definition.get("TimeoutSeconds", _EXPRESS_SECONDS if is_express else None)
        return Machine(definition["States"], definition["StartAt"], seconds, is_express)


@dataclass(eq=False)
class Execution:
    """One execution of a machine, with the times of its statuses.

    ``arn``: an express one has a part more, which differs for each start of a name. ``fate``: how it dies.
    """

    name: str
    arn: str
    input: str
    statuses: list[tuple[int, str]]
    task: Task | None = None
    output: Any = None
    error: str = ""
    cause: str = ""
    over: Future[None] = field(default_factory=Future)
    invoked: Counter[str] = field(default_factory=Counter)
    waiting: Waiting | None = None
    fate: str = ""

    @property
    def status(self) -> str:
        """As it is."""
        return self.statuses[-1][1]

    def status_at(self, at_ms: int) -> str | None:
        """As it was; None before it began."""
        return next((status for since_ms, status in reversed(self.statuses) if since_ms <= at_ms), None)


@dataclass(eq=False)
class Waiting:
    """A task that waits for whoever has its token."""

    ended: Future[Any]
    beat_at_ms: int


class StepFunctions:
    """The machines by their names, which are the ends of their ARNs."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        scheduler: Scheduler,
        choices: Choices,
        calls: Calls,
        lambdas: Lambdas,
        story: Story,
    ) -> None:
        self._machines = machines
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._lambdas = lambdas
        self._story = story
        self.executions: dict[str, Execution] = {}
        self._waiting: dict[str, Waiting] = {}
        self.express: dict[str, list[Execution]] = {}
        """The executions of express machines that were started by a name, by that name."""
        self.timed_out_ms: dict[str, list[int]] = {}
        """When a task of an execution was silent, or took, longer than it may, by its name."""
        self.run_twice: set[str] = set()
        """The names of which an express execution ran twice, under one ARN."""

    # --- the API ------------------------------------------------------------------------------------------

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> Json:
        """Starts an execution; one that runs with the same input is answered as if it were started.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
        """
        machine = self._machines[stateMachineArn.rpartition(":")[2]]
        if machine.is_express:
            self._start_express(stateMachineArn.rpartition(":")[2], name, input)
            return {"executionArn": name}
        known = self.executions.get(name)
        if known is not None:
            if known.status == _RUNNING and known.input == input:
                return {"executionArn": name}
            raise client_error("ExecutionAlreadyExists", f"Execution Already Exists: '{name}'")
        arn = f"{_ARN}:execution:{stateMachineArn.rpartition(':')[2]}:{name}"
        self.executions[name] = self._started(machine, name, arn, input)
        return {"executionArn": name}

    def _start_express(self, of_machine: str, name: str, text: str) -> None:
        """Starts an execution; at least once, as AWS says."""
        started = self.express.setdefault(name, [])
        odd = self._choices.deviates(f"express {name}", (_TWICE, _RUNS_TWICE), self._calls.odds.other)
        for number in range(2 if odd else 1):
            label = f"{name} {len(started) + 1}"
            is_the_same = number == 1 and odd == _RUNS_TWICE
            arn = started[-1].arn if is_the_same else _express_arn(of_machine, name, label)
            fate = self._choices.deviates(f"machine {label}", _ENDS_OF_EXPRESS, self._calls.odds.death)
            started.append(self._started(self._machines[of_machine], label, arn, text, fate))
            if is_the_same:
                self.run_twice.add(name)

    def _started(self, machine: Machine, name: str, arn: str, text: str, fate: str = "") -> Execution:
        execution = Execution(name, arn, text, [(self._scheduler.now_ms, _RUNNING)], fate=fate)
        execution.task = self._scheduler.spawn(f"machine {name}", lambda: self._run(machine, execution))
        if machine.timeout_seconds is not None:
            self._scheduler.after(machine.timeout_seconds * 1000, lambda: self._time_out(execution))
        return execution

    def stop_execution(self, executionArn: str, error: str = "", cause: str = "") -> Json:
        """Stops an execution; what its functions do goes on."""
        execution = self.executions.get(executionArn.rpartition(":")[2])
        if execution is None:
            raise client_error("ExecutionDoesNotExist", f"Execution Does Not Exist: '{executionArn}'")
        if execution.status == _RUNNING:
            self._end(execution, "ABORTED", error=error, cause=cause)
            if execution.task is not None:
                execution.task.kill()
        return {}

    def describe_execution(self, executionArn: str) -> Json:
        """Describes an execution, as it was some seconds ago by choice."""
        name = executionArn.rpartition(":")[2]
        execution = self.executions.get(name)
        late = self._choices.deviates(self._calls.lane.next("describes"), ("1", "4"), self._calls.odds.other)
        at_ms = self._scheduler.now_ms - int(late or 0) * 1000
        status = execution.status_at(at_ms) if execution else None
        if status is None:
            raise client_error("ExecutionDoesNotExist", f"Execution Does Not Exist: '{name}'")
        return {"status": status}

    def send_task_success(self, taskToken: str, output: str) -> Json:
        """Ends the task that waits with this token."""
        self._of(taskToken).ended.set(Ended(json.loads(output)))
        return {}

    def send_task_failure(self, taskToken: str, error: str = "", cause: str = "") -> Json:
        """Fails the task that waits with this token."""
        self._of(taskToken).ended.set(Ended(error=error, cause=cause))
        return {}

    def send_task_heartbeat(self, taskToken: str) -> Json:
        """Lets the silence of the task begin again."""
        self._of(taskToken).beat_at_ms = self._scheduler.now_ms
        return {}

    def _of(self, token: str) -> Waiting:
        waiting = self._waiting.get(token)
        if waiting is None:
            raise client_error("TaskDoesNotExist", "Task does not exist")
        if waiting.ended.is_done:
            raise client_error("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
        return waiting

    def begin_synchronously(self, machine_arn: str, text: str) -> Execution:
        """Starts an express machine; wait for its end."""
        name = machine_arn.rpartition(":")[2]
        machine = self._machines[name]
        if not machine.is_express:
            raise Unsupported("StartSyncExecution of a standard machine")
        label = self._calls.lane.next("sync")
        return self._started(machine, label, _express_arn(name, "sync", label), text)

    def deaths(self, execution_id: str) -> int:
        """How many machines of an execution died, or had no time left."""
        return sum(each.status in (_DEAD, "TIMED_OUT") for each in self._express_of(execution_id))

    def delays(self, execution_id: str) -> int:
        """How many machines of an execution left what they had to do to the sweep, or did it late."""
        idle = sum(each.fate in _IDLE for each in self._express_of(execution_id))
        return self.deaths(execution_id) + idle

    def cut_short(self, execution_id: str) -> bool:
        """Whether a machine of an execution was stopped, died, or had no time left."""
        if any(each.status == "ABORTED" for each in self.standard_of(execution_id)):
            return True
        return self.deaths(execution_id) > 0

    def runs_twice(self, execution_id: str) -> bool:
        """Whether an express machine of an execution ran twice, under one ARN."""
        return any(name in self.run_twice for name in _names(execution_id))

    def timeouts_ms(self, execution_id: str) -> list[int]:
        """When a task of an execution was silent, or took, longer than it may."""
        return [at_ms for name in _names(execution_id) for at_ms in self.timed_out_ms.get(name, ())]

    def standard_of(self, execution_id: str) -> list[Execution]:
        """The standard machines of an execution: of its tick, and of its turn if it waited."""
        return [self.executions[name] for name in _names(execution_id) if name in self.executions]

    def of_turn(self, execution_id: str) -> bool:
        """Whether a machine was started as the turn of an execution came that had waited."""
        name = f"{execution_id}{AFTER_WAITING}"
        return name in self.executions or name in self.express

    def _express_of(self, execution_id: str) -> list[Execution]:
        return [each for name in _names(execution_id) for each in self.express.get(name, ())]

    def _time_out(self, execution: Execution) -> None:
        if execution.status == _RUNNING and execution.task is not None:
            self._end(execution, "TIMED_OUT", error="States.Timeout")
            execution.task.kill()

    # --- the states ---------------------------------------------------------------------------------------

    def _run(self, machine: Machine, execution: Execution) -> None:
        name, found = machine.start, json.loads(execution.input)
        try:
            if execution.fate == _UNBEGUN:
                self._die(execution)
            while True:
                state = machine.states[name]
                self._story.tell(f"machine {execution.name}", f"enters {name}")
                kind = state["Type"]
                if kind == "Fail":
                    raise Failed(
                        *(str(_evaluated(state.get(each, ""), found)) for each in ("Error", "Cause"))
                    )
                if kind == "Succeed":
                    self._end(
                        execution,
                        "SUCCEEDED",
                        _evaluated(state["Output"], found) if "Output" in state else found,
                    )
                    return
                if kind == "Choice":
                    entered = {"State": {"EnteredTime": _time(self._scheduler.now_ms)}}
                    name, found = _choice(state, found, _context(execution) | entered)
                    continue
                if kind == "Wait":
                    until_ms = ms_of_iso(_evaluated(state["Timestamp"], found))
                    self._scheduler.sleep(until_ms - self._scheduler.now_ms)
                    name = state["Next"]
                    continue
                name, found = self._task(execution, name, state, found)
                if not name:
                    self._end(execution, "SUCCEEDED", found)
                    return
        except Failed as failure:
            self._end(execution, "FAILED", error=failure.error, cause=failure.cause)

    def _die(self, execution: Execution) -> None:
        """Ends it without a trace: no state follows, and nobody hears of it."""
        if execution.status == _RUNNING and execution.task is not None:
            self._end(execution, _DEAD)
            execution.task.kill()
            if self._scheduler.running is execution.task:
                raise Killed

    def _end(
        self, execution: Execution, status: str, output: Any = None, error: str = "", cause: str = ""
    ) -> None:
        execution.statuses.append((self._scheduler.now_ms, status))
        execution.output, execution.error, execution.cause = output, error, cause
        if execution.waiting is not None:
            execution.waiting.ended.set(Ended(error=status))
        self._story.tell(f"machine {execution.name}", f"ends as {status} {error}")
        execution.over.set(None)

    def _task(self, execution: Execution, name: str, state: Json, found: Any) -> tuple[str, Any]:
        """Runs a task with its retries; returns the next state, if any, and its input."""
        retried: Counter[int] = Counter()
        while True:
            try:
                result = self._try_task(execution, name, state, found)
                output = _evaluated(state["Output"], found, result=result) if "Output" in state else result
                return state.get("Next", ""), output
            except Failed as failure:
                if execution.fate == _GIVES_UP:
                    self._die(execution)
                wait_ms = self._retry_after_ms(execution, state, failure, retried)
                if wait_ms is None:
                    return _caught(state, found, failure, _context(execution))
                self._scheduler.sleep(wait_ms)

    def _retry_after_ms(
        self, execution: Execution, state: Json, failure: Failed, retried: Counter[int]
    ) -> int | None:
        for number, rule in enumerate(state.get("Retry", ())):
            if {failure.error, "States.ALL"} & set(rule["ErrorEquals"]):
                if retried[number] >= rule["MaxAttempts"]:
                    return None
                seconds = rule["IntervalSeconds"] * rule["BackoffRate"] ** retried[number]
                retried[number] += 1
                if rule["JitterStrategy"] != "FULL":
                    raise Unsupported(rule["JitterStrategy"])
                jitter = self._choices.fraction(f"{execution.name} {execution.invoked.total()} jitter")
                return int(min(seconds, rule["MaxDelaySeconds"]) * 1000 * jitter)
        return None

    def _try_task(self, execution: Execution, name: str, state: Json, found: Any) -> Any:
        resource = state["Resource"].rpartition("arn:${partition}:")[2]
        if resource not in (_INVOKE, _INVOKE_AND_WAIT):
            raise Unsupported(resource)
        execution.invoked[name] += 1
        label = f"{execution.name} {name} {execution.invoked[name]}"
        token = f"{label} token"
        context = _context(execution) | ({"Task": {"Token": token}} if resource == _INVOKE_AND_WAIT else {})
        arguments = _evaluated(state["Arguments"], found, context=context)
        timeout_ms = int(_evaluated(state.get("TimeoutSeconds", _NO_LIMIT_SECONDS), found) * 1000)
        began_ms = self._scheduler.now_ms
        if resource == _INVOKE:
            ended = self._invoked(execution, arguments, label)
            self._scheduler.wait(ended, timeout_ms)
            if not ended.is_done:
                raise Failed("States.Timeout")
            return {"Payload": _value_of(ended.value), "StatusCode": 200}
        beat_ms = int(_evaluated(state["HeartbeatSeconds"], found) * 1000)
        waiting = Waiting(Future(), began_ms)
        self._waiting[token] = execution.waiting = waiting
        invoked = self._invoked(execution, arguments, label)

        def fail() -> None:
            if invoked.value.error:
                waiting.ended.set(invoked.value)

        invoked.when_done(fail)
        while not waiting.ended.is_done:
            left_ms = began_ms + timeout_ms - self._scheduler.now_ms
            silent_ms = waiting.beat_at_ms + beat_ms - self._scheduler.now_ms
            if left_ms <= 0 or silent_ms <= 0:
                error = "States.Timeout" if left_ms <= 0 else "States.HeartbeatTimeout"
                waiting.ended.set(Ended(error=error))
                self.timed_out_ms.setdefault(execution.name, []).append(self._scheduler.now_ms)
                break
            self._scheduler.wait(waiting.ended, min(left_ms, silent_ms))
        return _value_of(waiting.ended.value)

    def _invoked(self, execution: Execution, arguments: Json, label: str) -> Future[Ended]:
        """Invokes a function; what Step Functions hears of its end may differ from what it was.

        An event is taken even if there is no room for the function, which then runs later.
        https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
        """
        heard: Future[Ended] = Future()
        odd = self._choices.deviates(f"{label} invoke", FAILED_INVOKES, self._calls.odds.fault)
        delay = self._choices.deviates(f"{label} invoke ~", DELAYS, self._calls.odds.delay)
        before_ms, after_ms = delay_ms(delay)
        is_event = arguments.get("InvocationType") == "Event"
        is_idle = execution.fate in _IDLE and len(execution.invoked) == 1
        if self._calls.is_out("lambda") or (is_idle and execution.fate == _NO_ROOM):
            odd = _FULL
        elif is_idle:
            odd = _MAY_NOT
        if is_event and odd == _FULL:
            odd = ""
        if odd:
            self._story.tell(f"machine {label}", odd)

        def begin() -> None:
            if odd == _FULL:
                heard.set(Ended(error="Lambda.TooManyRequestsException", cause="Rate Exceeded."))
            elif odd == _MAY_NOT:
                heard.set(Ended(error="Lambda.KMSAccessDeniedException", cause="Access denied."))
            elif odd == _BROKEN:
                heard.set(Ended(error="Lambda.ServiceException", cause="Service exception"))
            elif is_event:
                self._lambdas.begin_asynchronously(arguments["FunctionName"], arguments["Payload"], label)
                self._heard(heard, Ended({}), odd, after_ms)
            else:
                invocation = self._lambdas.begin(arguments["FunctionName"], arguments["Payload"], label)
                if execution.fate != _HEARS_NOTHING:
                    invocation.when_over.append(lambda ended: self._heard(heard, ended, odd, after_ms))
                self._meet_fate(execution, invocation)

        self._scheduler.after(before_ms + self._choices.between(f"{label} takes", 2, 20), begin)
        return heard

    def _meet_fate(self, execution: Execution, invocation: Invocation) -> None:
        if execution.fate == _LEAVES:
            self._die(execution)
        if (after_ms := _WITH_ITS_FUNCTION_MS.get(execution.fate)) is not None:
            self._scheduler.after(after_ms, lambda: self._die_with(execution, invocation))

    def _die_with(self, execution: Execution, invocation: Invocation) -> None:
        if execution.status == _RUNNING and not invocation.over.is_done:
            self._die(execution)
            invocation.end(Ended(error="Runtime.ExitError", cause="Runtime exited"))

    def _heard(self, heard: Future[Ended], ended: Ended, odd: str, after_ms: int) -> None:
        if odd == _UNHEARD:
            ended = Ended(error="Lambda.Unknown", cause="The cause could not be determined")
        self._scheduler.after(after_ms + 2, lambda: heard.set(ended))


def _names(execution_id: str) -> tuple[str, str]:
    """The names that machines of an execution may have."""
    return execution_id, f"{execution_id}{AFTER_WAITING}"


def _express_arn(machine: str, name: str, start: str) -> str:
    return f"{_ARN}:express:{machine}:{name}:{uuid5(NAMESPACE_URL, start)}"


def _context(execution: Execution) -> Json:
    """https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html"""
    started = _time(execution.statuses[0][0])
    return {"Execution": {"Id": execution.arn, "Input": json.loads(execution.input), "StartTime": started}}


def _time(ms: int) -> str:
    return f"{iso(ms).removesuffix('Z')}.{ms % 1000:03}Z"


def _value_of(ended: Ended) -> Any:
    if ended.error:
        raise Failed(ended.error, ended.cause)
    return ended.value


def _caught(state: Json, found: Any, failure: Failed, context: Json) -> tuple[str, Any]:
    for rule in state.get("Catch", ()):
        if {failure.error, "States.ALL"} & set(rule["ErrorEquals"]):
            told = {"Error": failure.error, "Cause": failure.cause}
            return rule["Next"], _evaluated(rule["Output"], found, error=told, context=context)
    raise failure


def _choice(state: Json, found: Any, context: Json) -> tuple[str, Any]:
    for rule in state["Choices"]:
        if _evaluated(rule["Condition"], found, context=context) is True:
            output = _evaluated(rule["Output"], found, context=context) if "Output" in rule else found
            return str(rule["Next"]), output
    return str(state["Default"]), found


def _evaluated(
    template: Any, found: Any, *, result: Any = None, error: Any = None, context: Json | None = None
) -> Any:
    """Evaluates the expressions in a template, as JSON."""
    states = {"input": found, "result": result, "errorOutput": error, "context": context or {}}
    return _filled(template, states)


def _filled(template: Any, states: Json) -> Any:
    if isinstance(template, str) and template.startswith("{%"):
        path = _path(template)
        if path is not None:
            return _at(path, states, template)
        try:
            value = _expression(template).evaluate(None, {"states": states})
        except Exception as error:
            raise Failed("States.QueryEvaluationError", str(error)) from error
        if value is None:
            raise Failed("States.QueryEvaluationError", f"no result: {template}")
        return json.loads(json.dumps(value))
    if isinstance(template, dict):
        return {name: _filled(value, states) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, states) for value in template]
    return template


def _at(path: tuple[str, ...], states: Json, template: str) -> Any:
    value: Any = states
    for step in path:
        if isinstance(value, list):
            raise Unsupported(f"a path through a list: {template}")
        value = value.get(step) if isinstance(value, dict) else None
    if value is None and path[-1] != "Payload":
        raise Failed("States.QueryEvaluationError", f"no result: {template}")
    return value


@cache
def _path(template: str) -> tuple[str, ...] | None:
    """The steps of an expression that only names a value, which needs no evaluation."""
    match = _PATH.fullmatch(template)
    return tuple(match[1].removeprefix(".").split(".")) if match else None


@cache
def _expression(template: str) -> Any:
    expression = Jsonata(template.removeprefix("{%").removesuffix("%}").strip())
    expression.register_lambda("parse", json.loads)
    return expression
