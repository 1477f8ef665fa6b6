"""statemachine.express.asl.json: what its tasks retry and catch, and that all fits into five minutes."""

import json
import re
from typing import Any

import pytest
from jsonata import Jsonata

from jobmanager.core import errors
from jobmanager.core.clock import iso
from jobmanager.delivery import machines
from jobmanager.delivery.machines import ExpressExecution, machine_of
from jobmanager.delivery.notification import ANSWER_WITHIN_SECONDS
from jobmanager.executions.record import Due
from jobmanager.executions.settle import FinishInput
from tests.unit.terraform.blocks import ROOT

STATES: dict[str, Any] = json.loads((ROOT / "statemachine.express.asl.json").read_text())["States"]
STANDARD: dict[str, Any] = json.loads((ROOT / "statemachine.asl.json").read_text())["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
ARN = "arn:aws:states:eu-central-1:123456789012:express:sjm-test-run-job-express:guid-20261123T120000Z:4f1c-9"
# https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
LONGEST_SECONDS = 300
# A try of AWS takes 3 s, and the SDK makes three.
_SECONDS_OF_A_FAILED_CALL = 10


def retried(state: dict[str, Any]) -> set[str]:
    return {error for retrier in state["Retry"] for error in retrier["ErrorEquals"]}


def evaluated(expression: str, **states: Any) -> Any:
    parsed = Jsonata(expression.removeprefix("{%").removesuffix("%}"))
    frame = parsed.create_frame()
    frame.bind("states", states)
    return parsed.evaluate(None, frame)


def caught(state: dict[str, Any], **states: Any) -> Any:
    (catcher,) = state["Catch"]
    assert catcher["ErrorEquals"] == ["States.ALL"]
    return evaluated(catcher["Output"], **states)


def test_the_tasks_are_these() -> None:
    assert set(TASKS) == {"RunJob", "SettleExecution", "SettleLater"}


@pytest.mark.parametrize(
    ("name", "then"),
    [("RunJob", "IsTimeLeft"), ("SettleExecution", "SettleLater"), ("SettleLater", "ExecutionFailed")],
)
def test_every_error_of_a_task_leads_on(name: str, then: str) -> None:
    (catcher,) = TASKS[name]["Catch"]
    assert (catcher["ErrorEquals"], catcher["Next"]) == (["States.ALL"], then)


@pytest.mark.parametrize("name", ["RunJob", "SettleExecution"])
def test_what_is_retried_in_a_standard_machine_is_retried_in_an_express_one(name: str) -> None:
    assert retried(STATES[name]) - {"States.Timeout"} == retried(STANDARD[name]) - {"States.Timeout"}


@pytest.mark.parametrize("name", TASKS)
def test_every_retried_error_of_the_project_exists(name: str) -> None:
    own = {error for error in retried(TASKS[name]) if "." not in error}
    assert all(issubclass(getattr(errors, error), errors.ManagerError) for error in own)


def test_a_failed_call_is_retried_and_an_answer_that_was_not_recorded_is_not() -> None:
    assert retried(STATES["RunJob"]) >= {"NotificationUndelivered", "AwsCallFailed", "Contended"}
    assert retried(STATES["SettleExecution"]) >= {"AwsCallFailed", "Contended"}
    assert "AnswerNotRecorded" not in retried(STATES["RunJob"])


@pytest.mark.parametrize("name", TASKS)
def test_no_error_is_retried_by_two_rules(name: str) -> None:
    listed = [error for retrier in TASKS[name]["Retry"] for error in retrier["ErrorEquals"]]
    assert len(listed) == len(set(listed))


def longest_waits(retrier: dict[str, Any]) -> float:
    """How long the waits of a retrier take in all, at most: jitter makes each shorter."""
    waits = [
        min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** number, retrier["MaxDelaySeconds"])
        for number in range(retrier["MaxAttempts"])
    ]
    return float(sum(waits))


def longest_seconds(retrier: dict[str, Any]) -> float:
    """How long a task takes that fails in each try by an error of the retrier; the longest waits count."""
    one_try = 0.0
    if "NotificationUndelivered" in retrier["ErrorEquals"]:
        one_try = ANSWER_WITHIN_SECONDS + 5
    elif "AwsCallFailed" in retrier["ErrorEquals"]:
        one_try = _SECONDS_OF_A_FAILED_CALL
    tries: int = retrier["MaxAttempts"] + 1
    return longest_waits(retrier) + one_try * tries


def begins_again(error: str, seconds: float) -> bool:
    """Whether RunJob begins again if it has failed by an error so many seconds after its machine started."""
    (choice,) = STATES["IsTimeLeft"]["Choices"]
    began_ms = 1_795_435_200_123
    times = {"StartTime": iso_with_ms(began_ms)}, {"EnteredTime": iso_with_ms(began_ms + int(seconds * 1000))}
    context = {"Execution": times[0], "State": times[1]}
    again: bool = evaluated(choice["Condition"], input={"error": error}, context=context)
    return again


def iso_with_ms(ms: int) -> str:
    """As in https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html."""
    return f"{iso(ms).removesuffix('Z')}.{ms % 1000:03}Z"


def seconds_to_begin_again() -> int:
    return sum(begins_again("Lambda.TooManyRequestsException", second) for second in range(LONGEST_SECONDS))


OUTAGES = [retrier for retrier in STATES["RunJob"]["Retry"] if begins_again(retrier["ErrorEquals"][0], 0)]


def test_all_retries_of_one_kind_of_error_in_each_task_fit_into_five_minutes() -> None:
    longest = {name: max(map(longest_seconds, state["Retry"])) for name, state in TASKS.items()}
    longest["RunJob"] = max(
        longest_seconds(retrier) + (seconds_to_begin_again() if retrier in OUTAGES else 0)
        for retrier in STATES["RunJob"]["Retry"]
    )
    assert sum(longest.values()) < LONGEST_SECONDS, longest


def test_an_outage_of_nearly_three_minutes_loses_no_start() -> None:
    assert seconds_to_begin_again() >= 170


def test_a_run_that_begins_with_the_last_retry_still_has_the_time_of_its_function() -> None:
    latest = seconds_to_begin_again() + max(map(longest_waits, OUTAGES))
    assert latest + seconds_of_the_function() < LONGEST_SECONDS


def test_what_begins_again_is_what_an_outage_of_aws_causes() -> None:
    all_of = {error: begins_again(error, 0) for error in retried(STATES["RunJob"]) | {"KeyError"}}
    listed = {error for retrier in OUTAGES for error in retrier["ErrorEquals"]}
    assert {error for error, again in all_of.items() if again} == listed
    assert {error for error, again in all_of.items() if not again} == {
        "NotificationUndelivered",  # has its own number of tries
        "Sandbox.Timedout",
        "States.Timeout",
        "Contended",
        "Lambda.ClientExecutionTimeoutException",  # these may be the function's own fault
        "Lambda.Unknown",
        "Runtime.ExitError",
        "KeyError",
    }
    assert not any(begins_again(error, LONGEST_SECONDS) for error in all_of)


def test_what_begins_again_has_the_input_of_the_machine() -> None:
    state = STATES["IsTimeLeft"]
    (choice,) = state["Choices"]
    assert (choice["Next"], state["Default"]) == ("RunJob", "SettleExecution")
    context = {"Execution": {"Input": {"execution_id": "e", "takes_over": "4f1c-8"}}}
    failed = {**context["Execution"]["Input"], "status": "fail", "error": "AwsCallFailed"}
    assert evaluated(choice["Output"], input=failed, context=context) == context["Execution"]["Input"]


def test_a_function_that_hangs_twice_leaves_time_to_settle_the_execution() -> None:
    left = LONGEST_SECONDS - 2 * STATES["RunJob"]["TimeoutSeconds"]
    assert left > 2 * STATES["SettleExecution"]["TimeoutSeconds"] + STATES["SettleLater"]["TimeoutSeconds"]


def test_the_state_waits_for_its_function_until_lambda_ends_it() -> None:
    assert STATES["RunJob"]["TimeoutSeconds"] > seconds_of_the_function()


def seconds_of_the_function() -> int:
    text = (ROOT / "terraform" / "functions_run_job.tf").read_text()
    (timeout,) = re.findall(r'name += "run_execution".*?timeout += (\d+)', text, re.DOTALL)
    return int(timeout)


def test_between_two_tries_of_a_notification_the_sweep_takes_no_execution_for_dead() -> None:
    """It looks a minute after a try began, and each try moves that."""
    assert ANSWER_WITHIN_SECONDS + 5 + undelivered()["MaxDelaySeconds"] < 60


def undelivered() -> dict[str, Any]:
    (found,) = (r for r in STATES["RunJob"]["Retry"] if "NotificationUndelivered" in r["ErrorEquals"])
    return dict(found)


def test_the_function_knows_how_long_the_machine_has_and_waits_between_two_tries() -> None:
    assert machines.LONGEST_SECONDS == LONGEST_SECONDS
    assert undelivered()["MaxDelaySeconds"] == machines.LONGEST_WAIT_SECONDS


def test_the_function_learns_which_execution_of_the_machine_runs_it() -> None:
    payload = STATES["RunJob"]["Arguments"]["Payload"]
    context = {"Execution": {"Id": ARN, "StartTime": iso_with_ms(1_795_435_200_123)}}
    states = {"input": {"execution_id": "e", "takes_over": "4f1c-8"}, "context": context}
    event = {name: evaluated(expression, **states) for name, expression in payload.items()}
    assert machine_of(event) == ExpressExecution("4f1c-9", "4f1c-8", 1_795_435_200_123)


def test_a_failure_passes_on_what_finish_execution_takes() -> None:
    due: dict[str, Any] = dict.fromkeys(Due.__annotations__, "x")
    failure = {"Error": "NotificationUndelivered", "Cause": '{"errorMessage": "HTTP 503"}'}
    output = caught(
        STATES["RunJob"],
        input={**due, "attempt": 2},
        errorOutput=failure,
        context={"Execution": {"Id": ARN}},
    )
    assert output == {
        **due,
        "attempt": 2,
        "status": "fail",
        "error": failure["Error"],
        "cause": failure["Cause"],
        "machine_execution": "4f1c-9",
    }
    assert output.keys() <= FinishInput.__annotations__.keys()
    assert caught(STATES["SettleExecution"], input=output, errorOutput=failure) == output
    for name in ("SettleExecution", "SettleLater"):
        assert evaluated(STATES[name]["Arguments"]["Payload"], input=output) == output


def test_a_failure_that_is_settled_later_is_left_in_the_queue_of_the_function() -> None:
    assert STATES["SettleLater"]["Arguments"]["InvocationType"] == "Event"
    assert STATES["SettleLater"]["Next"] == "ExecutionFailed"
    shown = evaluated(STATES["SettleLater"]["Output"], input={"error": "E", "cause": "C", "status": "fail"})
    assert shown == {"error": "E", "cause": "C"}


@pytest.mark.parametrize(
    ("status", "then"),
    [
        ("success", "ExecutionSucceeded"),
        ("skipped", "ExecutionSucceeded"),
        ("running", "ExecutionSucceeded"),
        ("fail", "ExecutionFailed"),
        ("timeout", "ExecutionFailed"),
        ("cancelled", "ExecutionFailed"),
    ],
)
def test_the_machine_fails_if_its_execution_did(status: str, then: str) -> None:
    """If another attempt follows, or if another machine execution runs the attempt, nothing has failed."""
    how = STATES["HowDidItEnd"]
    (choice,) = how["Choices"]
    is_chosen = evaluated(choice["Condition"], input={"status": status})
    assert (choice["Next"] if is_chosen else how["Default"]) == then


def test_a_failure_without_a_cause_is_shown_too() -> None:
    cause = STATES["ExecutionFailed"]["Cause"]
    assert [evaluated(cause, input=shown) for shown in ({"cause": "C"}, {"error": "E"})] == ["C", ""]
