"""Puts faults into the functions' processes and Express executions, and shortens waits before retries."""

import copy
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ministack.services import stepfunctions

from local import worker_script
from local.aws_behaviour import express
from local.aws_behaviour.step_functions import JsonObject, Stopped, running_execution
from local.aws_behaviour.wrapping import around
from local.faults import worker
from local.faults.plans import AGAIN, DIES_AFTER, DIES_BEFORE, RUN, SETTING, TWICE

WAIT_FACTOR = 0.05
SCHEDULED, ENDED = "TaskScheduled", ("TaskSucceeded", "TaskFailed")


def apply() -> None:
    """Call this before the emulator serves."""
    Path(os.environ[SETTING]).mkdir(parents=True, exist_ok=True)
    install_in_workers()
    shorten_waits()
    let_time_pass_as_fast_as_waits()
    run_express_executions_twice()
    let_express_executions_die()


def install_in_workers() -> None:
    """Records each call of a function in its process, and may make it fail."""
    module = worker_script.install(worker)
    worker_script.call_before_each_invocation(f'{module}.begin(init["function_name"], event)')


def shorten_waits() -> None:
    """An execution with a planned fault retries as often as usual, but waits less.

    Otherwise a permanent fault would take minutes. Nothing depends on the length of these waits.
    """

    @around(stepfunctions, "_scaled_sleep")
    def scaled_sleep(original: Callable[[float], None], seconds: float) -> None:
        original(seconds * WAIT_FACTOR if runs_with_a_fault() else seconds)


def let_time_pass_as_fast_as_waits() -> None:
    """A choice of an execution with a planned fault sees as much time pass as its waits would have taken."""

    @around(stepfunctions, "_execute_choice")
    def execute_choice(
        original: Callable[..., Any], state: JsonObject, given: Any, context: JsonObject
    ) -> Any:
        if not runs_with_a_fault():
            return original(state, given, context)
        started = datetime.fromisoformat(context["Execution"]["StartTime"])
        passed = (datetime.fromisoformat(context["State"]["EnteredTime"]) - started) / WAIT_FACTOR
        entered = (started + passed).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return original(state, given, {**context, "State": {**context["State"], "EnteredTime": entered}})


def runs_with_a_fault() -> bool:
    """Whether a fault is planned for the execution that runs here."""
    running = running_execution.get()
    given = running.record().get("input", "{}") if running else "{}"
    return worker.planned(Path(os.environ[SETTING]), json.loads(given)) is not None


def run_express_executions_twice() -> None:
    """Runs an Express execution with such a fault twice, from its start."""

    @around(express, "run")
    def run(original: Callable[..., None], machine: JsonObject, record: JsonObject) -> None:
        again = copy.deepcopy(record)
        if is_hit(record, RUN, TWICE):
            express.in_background(lambda: original(machine, again))
        original(machine, record)
        if is_hit(record, RUN, AGAIN):
            original(machine, again)


def let_express_executions_die() -> None:
    """Ends an Express execution with such a fault before or after an attempt of a task, without an event."""

    @around(stepfunctions, "_add_event")
    def add_event(original: Callable[..., Any], execution: JsonObject, name: str, *details: Any) -> Any:
        if express.is_express(execution) and name in (SCHEDULED, *ENDED):
            call, kind = task_of(execution, name), DIES_BEFORE if name == SCHEDULED else DIES_AFTER
            if is_hit(execution, call, kind):
                raise Stopped
        return original(execution, name, *details)


def task_of(execution: JsonObject, event: str) -> str:
    """The task that an execution is in, with the number of its attempt. ``event``: the next one."""
    attempt, state = int(event == SCHEDULED), ""
    for earlier in reversed(execution["events"]):
        if earlier["type"] == "TaskStateEntered":
            state = earlier["stateEnteredEventDetails"]["name"]
            break
        attempt += earlier["type"] == SCHEDULED
    return f"{state}#{attempt}"


def is_hit(execution: JsonObject, call: str, kind: str) -> bool:
    """Whether a planned fault of this kind hits an Express execution now."""
    directory = Path(os.environ[SETTING])
    _, faults = worker.planned(directory, json.loads(execution["input"])) or ("", [])
    machine = execution["stateMachineArn"].rpartition(":")[2]
    wanted = {"step": machine, "call": call, "about": "", "kind": kind}
    return any(worker.is_due(directory, fault, wanted) for fault in faults)
