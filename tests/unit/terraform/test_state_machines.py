import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from tests.unit.terraform.blocks import ROOT, TERRAFORM, Block, blocks, local_map

MACHINES = [b for b in blocks("module", deep=False) if b.argument("source") == '"./modules/state_machine"']

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.labels[0])


def definition(machine: Block) -> str:
    path = (machine.argument("definition_file") or "").strip('"').removeprefix("${path.module}/../")
    return (ROOT / path).read_text()


def functions_of(machine: Block) -> list[tuple[str, str]]:
    """The names and the modules of the functions that the definition invokes."""
    return re.findall(r"(\w+) += module\.(\w+)\.arn", local_map("functions", machine.body))


@each_machine
def test_placeholders_and_passed_functions_match_exactly(machine: Block) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", definition(machine)))
    given = {f"{name}_arn" for name, _ in functions_of(machine)}

    assert wanted == given | {"partition"}


@each_machine
def test_a_placeholder_is_named_after_its_function(machine: Block) -> None:
    given = functions_of(machine)

    assert given
    assert all(name == module for name, module in given)


@each_machine
def test_the_definition_parses_before_it_is_rendered(machine: Block) -> None:
    assert json.loads(definition(machine))["QueryLanguage"] == "JSONata"


def test_every_definition_belongs_to_a_state_machine() -> None:
    files = {(m.argument("definition_file") or "").strip('"').rpartition("/")[2] for m in MACHINES}

    assert files == {path.name for path in ROOT.glob("*.asl.json")}


# Step Functions' own errors, for invocations of Lambda without an answer:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
OF_STEP_FUNCTIONS = {
    "AWSLambdaException",
    "ClientExecutionTimeoutException",
    "SdkClientException",
    "Unknown",
}


@each_machine
def test_every_retried_error_of_lambda_exists(machine: Block) -> None:
    lambdas = botocore.session.get_session().get_service_model("lambda")
    raised = {shape.name for shape in lambdas.operation_model("Invoke").error_shapes}
    retried = set(re.findall(r'"Lambda\.(\w+)"', definition(machine)))

    assert retried - OF_STEP_FUNCTIONS
    assert retried <= raised | OF_STEP_FUNCTIONS


def test_a_notification_waits_while_lambda_reconnects_the_function_to_its_vpc() -> None:
    """Reconnecting may take a minute or two: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html."""
    machine = json.loads((ROOT / "statemachine.asl.json").read_text())
    retries = machine["States"]["RunJob"]["Retry"]
    (retry,) = (r for r in retries if "Lambda.ResourceNotReadyException" in r["ErrorEquals"])
    waits = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** number, retry["MaxDelaySeconds"])
        for number in range(retry["MaxAttempts"])
    ]

    assert sum(waits) / 2 > 120  # full jitter halves them on average


@each_machine
def test_a_machine_only_invokes_functions_without_a_qualifier(machine: Block) -> None:
    """So its role needs no other permission. The emulator does not enforce the roles of machines."""
    states = [state for state in _states(json.loads(definition(machine))) if state["Type"] == "Task"]
    invoked = {state["Arguments"]["FunctionName"] for state in states}

    assert {state["Resource"].removesuffix(".waitForTaskToken") for state in states} == {
        "arn:${partition}:states:::lambda:invoke"
    }
    assert invoked == {f"${{{name}_arn}}" for name, _ in functions_of(machine)}
    (policy,) = (
        b
        for b in blocks("data", under=TERRAFORM / "modules" / "state_machine")
        if b.labels == ("aws_iam_policy_document", "machine")
    )
    invoking, *_ = policy.inner("statement")
    assert re.findall(r"(\w+) += (.*)", invoking) == [
        ("sid", '"InvokeItsFunctions"'),
        ("actions", '["lambda:InvokeFunction"]'),
        ("resources", "concat(values(var.functions), values(var.former_functions))"),
    ]


# Step Functions itself needs the remaining permissions, as these pages list them.
BY_STEP_FUNCTIONS = {
    # https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
    "SendTraces": "xray:",
    # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
    "DeliverItsLogs": "logs:",
}


def test_a_machines_role_otherwise_has_only_permissions_that_step_functions_needs() -> None:
    (policy,) = (
        b
        for b in blocks("data", under=TERRAFORM / "modules" / "state_machine")
        if b.labels == ("aws_iam_policy_document", "machine")
    )
    _, *rest = policy.inner("statement")
    found = {}
    for statement in rest:
        (sid,) = re.findall(r'sid += "(\w+)"', statement)
        found[sid] = {action.partition(":")[0] + ":" for action in re.findall(r'"(\w+:\w+)"', statement)}

    assert found == {sid: {service} for sid, service in BY_STEP_FUNCTIONS.items()}


def _states(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for state in machine["States"].values():
        yield state
        for inner in (
            *state.get("Branches", ()),
            *([state["ItemProcessor"]] if "ItemProcessor" in state else ()),
        ):
            yield from _states(inner)


def test_a_throttled_task_is_retried_for_at_least_ten_minutes() -> None:
    """Many jobs due at once may exceed the account's concurrency. A throttled invocation has not run."""
    states = json.loads((ROOT / "statemachine.asl.json").read_text())["States"]
    tasks = [state for state in states.values() if state["Type"] == "Task"]
    assert tasks
    for task in tasks:
        [throttled] = [
            retrier
            for retrier in task["Retry"]
            if "Lambda.TooManyRequestsException" in retrier["ErrorEquals"]
        ]
        waits = [
            min(throttled["IntervalSeconds"] * throttled["BackoffRate"] ** n, throttled["MaxDelaySeconds"])
            for n in range(throttled["MaxAttempts"])
        ]
        assert sum(waits) / 2 > 600
        assert 1500 < sum(waits) < 1800  # the pages call this half an hour
