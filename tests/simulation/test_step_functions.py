import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Function, Lambdas
from tests.simulation.scheduler import Scheduler
from tests.simulation.step_functions import Execution, Machine, StepFunctions
from tests.simulation.story import Story
from tests.stand_ins.errors import Unsupported

START_MS = 1_795_435_200_000
RETRY = {
    "IntervalSeconds": 1,
    "BackoffRate": 2,
    "MaxAttempts": 2,
    "MaxDelaySeconds": 60,
    "JitterStrategy": "FULL",
}
INVOKE = "arn:${partition}:states:::lambda:invoke"


class Stage:
    """A machine of one task, which invokes the function `work`, and what becomes of it."""

    def __init__(
        self,
        work: Callable[[Any], Any],
        is_express: bool = False,
        others: dict[str, Any] | None = None,
        **task: Any,
    ) -> None:
        self.scheduler = Scheduler(START_MS)
        self.invoked: list[tuple[int, Any]] = []
        self.choices = choices = Choices(0, {})
        story = Story()
        calls = Calls(self.scheduler, choices, story, Odds())

        def handle(event: Any, _: Any) -> Any:
            self.invoked.append((self.scheduler.now_ms - START_MS, event))
            return work(event)

        self.lambdas = lambdas = Lambdas(
            {"work": Function(handle, 15)}, self.scheduler, choices, calls, story
        )
        states = {**states_of(task), **(others or {})}
        machine = Machine.of(json.dumps({"StartAt": "Work", "States": states}), is_express)
        self.machines = StepFunctions({"machine": machine}, self.scheduler, choices, calls, lambdas, story)

    def start(self, name: str = "one", **found: Any) -> Execution:
        self.machines.start_execution("machine", name, json.dumps(found))
        return self.machines.executions[name]

    def token(self) -> str:
        return str(self.invoked[-1][1]["token"])


def states_of(task: dict[str, Any]) -> dict[str, Any]:
    waits = task.pop("waits", False)
    work = {
        "Type": "Task",
        "Resource": f"{INVOKE}.waitForTaskToken" if waits else INVOKE,
        "Arguments": {
            "FunctionName": "${work_arn}",
            "Payload": {"token": "{% $states.context.Task.Token %}"} if waits else "{% $states.input %}",
        },
        "Output": "{% $states.result %}" if waits else "{% $states.result.Payload %}",
        "TimeoutSeconds": 30,
        **({"HeartbeatSeconds": "{% $states.input.beat %}"} if waits else {}),
        "Catch": [
            {
                "ErrorEquals": ["States.ALL"],
                "Output": "{% $merge([$states.input, {'error': $states.errorOutput.Error}]) %}",
                "Next": "Which",
            }
        ],
        "End": True,
    }
    return {
        "Work": work | task,
        "Which": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input.error = 'KeyError' %}", "Next": "Fine"}],
            "Default": "Bad",
        },
        "Fine": {"Type": "Succeed"},
        "Bad": {"Type": "Fail", "Error": "{% $states.input.error %}"},
    }


def nothing(_: Any) -> None:
    """A function that returns at once."""


def fails(event: Any) -> Any:
    raise KeyError(event)


def test_a_task_gives_the_answer_of_its_function() -> None:
    stage = Stage(lambda event: {"doubled": event["number"] * 2})
    execution = stage.start(number=4)
    stage.scheduler.run()
    assert (execution.status, execution.output) == ("SUCCEEDED", {"doubled": 8})


def test_a_failure_is_retried_as_often_as_the_rule_says_and_then_caught() -> None:
    stage = Stage(fails, Retry=[{"ErrorEquals": ["KeyError"], **RETRY}])
    execution = stage.start(number=4)
    stage.scheduler.run()
    assert len(stage.invoked) == 3
    assert (execution.status, execution.output) == ("SUCCEEDED", {"number": 4, "error": "KeyError"})


def test_a_choice_may_depend_on_the_time_and_go_back_with_the_input_of_the_execution() -> None:
    times = ("State.EnteredTime", "Execution.StartTime")
    entered, began = (f"$toMillis($states.context.{time})" for time in times)
    again = {
        "Condition": f"{{% {entered} - {began} < 5000 %}}",
        "Output": "{% $states.context.Execution.Input %}",
        "Next": "Work",
    }
    stage = Stage(
        fails,
        others={"Which": {"Type": "Choice", "Choices": [again], "Default": "Bad"}},
        Retry=[{"ErrorEquals": ["KeyError"], **RETRY}],
    )
    execution = stage.start(number=4)
    stage.scheduler.run()
    assert execution.error == "KeyError"
    assert all(event == {"number": 4} for _, event in stage.invoked)
    began_ms = [at_ms for at_ms, _ in stage.invoked[::3]]
    assert began_ms[-1] < 5000 + 1000
    assert stage.scheduler.now_ms - START_MS >= 5000


def test_an_error_that_no_rule_names_is_not_retried() -> None:
    stage = Stage(fails, Retry=[{"ErrorEquals": ["Contended"], **RETRY}], Catch=[])
    execution = stage.start()
    stage.scheduler.run()
    assert len(stage.invoked) == 1
    assert (execution.status, execution.error) == ("FAILED", "KeyError")


def test_a_start_is_idempotent_only_while_the_execution_runs_and_for_the_same_input() -> None:
    stage = Stage(nothing)
    stage.start(number=1)
    stage.start(number=1)
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        stage.start(number=2)
    stage.scheduler.run()
    assert len(stage.invoked) == 1
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        stage.start(number=1)


def test_silence_fails_a_task_that_waits_and_each_heartbeat_delays_that() -> None:
    stage = Stage(nothing, waits=True)
    execution = stage.start(beat=5)
    for after_ms in (4000, 8000):
        stage.scheduler.after(
            after_ms, lambda: stage.machines.send_task_heartbeat(taskToken=stage.token()) and None
        )
    stage.scheduler.run()
    (ended_ms, _) = execution.statuses[-1]
    assert (execution.status, execution.error) == ("FAILED", "States.HeartbeatTimeout")
    assert 13_000 <= ended_ms - START_MS < 13_100


def test_the_whole_time_of_a_task_is_limited_whatever_beats() -> None:
    stage = Stage(nothing, waits=True)
    execution = stage.start(beat=20)
    stage.scheduler.after(
        15_000, lambda: stage.machines.send_task_heartbeat(taskToken=stage.token()) and None
    )
    stage.scheduler.run()
    (ended_ms, _) = execution.statuses[-1]
    assert execution.error == "States.Timeout"
    assert 30_000 <= ended_ms - START_MS < 30_100


def test_whoever_has_the_token_ends_the_task_once() -> None:
    stage = Stage(nothing, waits=True)
    execution = stage.start(beat=20)
    stage.scheduler.run(START_MS + 1000)
    stage.machines.send_task_success(taskToken=stage.token(), output='"done"')
    stage.scheduler.run()
    assert (execution.status, execution.output) == ("SUCCEEDED", "done")
    with pytest.raises(ClientError, match="TaskTimedOut"):
        stage.machines.send_task_failure(taskToken=stage.token(), error="late")
    with pytest.raises(ClientError, match="TaskDoesNotExist"):
        stage.machines.send_task_heartbeat(taskToken="another")


def test_an_error_of_the_function_fails_a_task_that_waits_at_once() -> None:
    stage = Stage(fails, waits=True)
    execution = stage.start(beat=20)
    stage.scheduler.run()
    (ended_ms, _) = execution.statuses[-1]
    assert execution.status == "SUCCEEDED"
    assert ended_ms - START_MS < 1000


def test_what_a_stopped_execution_has_invoked_goes_on() -> None:
    seen = list[str]()

    def work(_: Any) -> None:
        stage.scheduler.sleep(2000)
        seen.append("worked")

    stage = Stage(work)
    execution = stage.start()
    stage.scheduler.after(1000, lambda: stage.machines.stop_execution("x:one", "Stopped"))
    stage.scheduler.run()
    assert (execution.status, execution.error, seen) == ("ABORTED", "Stopped", ["worked"])


def test_no_token_of_a_stopped_execution_is_taken() -> None:
    stage = Stage(nothing, waits=True)
    stage.start(beat=20)
    stage.scheduler.run(START_MS + 1000)
    stage.machines.stop_execution("x:one")
    with pytest.raises(ClientError, match="TaskTimedOut"):
        stage.machines.send_task_success(taskToken=stage.token(), output='"done"')


def test_an_express_execution_may_have_a_name_that_was_taken_and_ends_after_five_minutes() -> None:
    stage = Stage(nothing, is_express=True, waits=True, TimeoutSeconds=1000)
    for _ in range(2):
        stage.machines.start_execution("machine", "one", '{"beat": 1000}')
    stage.scheduler.run(START_MS + 1000)
    assert len(stage.invoked) == 2
    assert stage.machines.executions == {}
    first = stage.invoked[0][1]["token"]
    stage.scheduler.run(START_MS + 299_000)
    stage.machines.send_task_heartbeat(taskToken=first)
    stage.scheduler.run(START_MS + 301_000)
    with pytest.raises(ClientError, match="TaskTimedOut"):
        stage.machines.send_task_success(taskToken=first, output='"done"')


class Express(Stage):
    """An Express machine that tells its function which execution it is."""

    def __init__(
        self, odd: str = "", label: str = "", work: Callable[[Any], Any] = nothing, **arguments: Any
    ) -> None:
        payload = {
            "whole": "{% $states.context.Execution.Id %}",
            "part": "{% $split($states.context.Execution.Id, ':')[-1] %}",
        }
        asked = {"FunctionName": "${work_arn}", "Payload": payload, **arguments}
        super().__init__(work, is_express=True, Arguments=asked, Catch=[])
        if odd:
            self.choices._given = {label: odd}

    def starts(self) -> list[tuple[str, str]]:
        """The statuses and the ARNs of the executions of a start."""
        self.machines.start_execution("x:machine", "one", "{}")
        self.scheduler.run()
        return [(each.status, each.arn) for each in self.machines.express["one"]]


def test_each_start_of_an_express_execution_has_an_arn_of_its_own() -> None:
    stage = Express()
    stage.starts()
    (_, first), (_, second) = stage.starts()
    assert first.startswith("arn:aws:states:us-east-1:123456789012:express:machine:one:")
    assert first != second
    assert [event["whole"] for _, event in stage.invoked] == [first, second]
    assert [event["part"] for _, event in stage.invoked] == [first.split(":")[8], second.split(":")[8]]


@pytest.mark.parametrize(("odd", "arns"), [("starts twice", 2), ("runs twice", 1)])
def test_an_express_execution_may_come_twice_under_two_arns_or_under_one(odd: str, arns: int) -> None:
    stage = Express(odd, "express one")
    assert len({arn for _, arn in stage.starts()}) == arns
    assert len(stage.invoked) == 2


@pytest.mark.parametrize(
    ("odd", "status", "invoked"),
    [
        ("dies unbegun", "DEAD", 0),
        ("dies while its function runs", "DEAD", 1),
        ("dies with its function after 5 ms", "SUCCEEDED", 1),  # the function is faster
        ("hears of no end", "FAILED", 1),
    ],
)
def test_an_express_execution_may_die_silently(odd: str, status: str, invoked: int) -> None:
    stage = Express(odd, "machine one 1")
    assert [status for status, _ in stage.starts()] == [status]
    assert len(stage.invoked) == invoked


def test_an_event_is_taken_and_its_function_runs_later() -> None:
    stage = Express(work=fails, InvocationType="Event")
    assert [status for status, _ in stage.starts()] == ["SUCCEEDED"]
    assert len(stage.lambdas.dead_letters) == 1


@pytest.mark.parametrize("state", [{"Type": "Map"}, {"Type": "Wait", "Seconds": 3}])
def test_a_state_that_the_stand_in_does_not_know_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        Machine.of(json.dumps({"StartAt": "One", "States": {"One": state}}))
