import json
import re

import botocore.session
import pytest

from tests.unit.terraform.blocks import ROOT, Block, blocks

MACHINES = [b for b in blocks("module", deep=False) if b.argument("source") == '"./modules/state_machine"']

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.labels[0])


def definition(machine: Block) -> str:
    path = (machine.argument("definition_file") or "").strip('"').removeprefix("${path.module}/../")
    return (ROOT / path).read_text()


@each_machine
def test_every_placeholder_is_given_and_every_function_given_is_used(machine: Block) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", definition(machine)))
    given = {f"{name}_arn" for name in re.findall(r"(\w+) += module\.\w+\.arn", machine.body)}

    assert wanted == given | {"partition"}


@each_machine
def test_a_placeholder_bears_its_functions_name(machine: Block) -> None:
    given = re.findall(r"(\w+) += module\.(\w+)\.arn", machine.body)

    assert given
    assert all(name == module for name, module in given)


@each_machine
def test_the_definition_parses_before_it_is_rendered(machine: Block) -> None:
    assert json.loads(definition(machine))["QueryLanguage"] == "JSONata"


def test_every_definition_has_its_machine() -> None:
    files = {(m.argument("definition_file") or "").strip('"').rpartition("/")[2] for m in MACHINES}

    assert files == {path.name for path in ROOT.glob("*.asl.json")}


# Step Functions' own, for what it sees of Lambda without an answer:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
OF_STEP_FUNCTIONS = {
    "AWSLambdaException",
    "ClientExecutionTimeoutException",
    "SdkClientException",
    "Unknown",
}


@each_machine
def test_an_error_of_lambda_that_is_retried_is_one_that_there_is(machine: Block) -> None:
    lambdas = botocore.session.get_session().get_service_model("lambda")
    raised = {shape.name for shape in lambdas.operation_model("Invoke").error_shapes}
    retried = set(re.findall(r'"Lambda\.(\w+)"', definition(machine)))

    assert retried - OF_STEP_FUNCTIONS
    assert retried <= raised | OF_STEP_FUNCTIONS


def test_a_notification_waits_for_a_vpc_connection_that_is_made_anew() -> None:
    """It may take a minute or two: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html."""
    machine = json.loads((ROOT / "statemachine.asl.json").read_text())
    retries = machine["States"]["NotifyService"]["Retry"]
    (retry,) = (r for r in retries if "Lambda.ResourceNotReadyException" in r["ErrorEquals"])
    waits = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** number, retry["MaxDelaySeconds"])
        for number in range(retry["MaxAttempts"])
    ]

    assert sum(waits) / 2 > 120  # full jitter halves them on average
