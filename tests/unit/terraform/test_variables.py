import json
import re

import pytest

from tests.unit.terraform.blocks import ROOT, TERRAFORM, Block, blocks

VARIABLES = blocks("variable")


def each_variable(*types: str) -> pytest.MarkDecorator:
    chosen = [v for v in VARIABLES if not types or v.argument("type") in types]
    return pytest.mark.parametrize("variable", chosen, ids=lambda v: v.name)


@each_variable()
def test_a_variable_has_a_type(variable: Block) -> None:
    assert variable.argument("type")


@each_variable()
def test_a_variable_is_described_in_sentences(variable: Block) -> None:
    description = variable.argument("description") or ""

    assert re.fullmatch(r'"[A-Z].*\."', description)


@each_variable("string", "number")
def test_a_string_or_number_is_validated_with_an_error_message(variable: Block) -> None:
    validations = variable.inner("validation")

    assert validations
    for validation in validations:
        assert re.search(r'error_message = "(The|Each) .*\."', validation)


@pytest.mark.parametrize(
    "explanation",
    ["With subnet_ids, set security_group_ids too", "With security_group_ids, set subnet_ids too"],
)
def test_an_incomplete_network_is_refused_with_an_explanation(explanation: str) -> None:
    """The runs of terraform/tests/refusals.tftest.hcl are refused by these validations."""
    (subnets,) = (v for v in VARIABLES if v.name == "variables.tf: variable subnet_ids")

    assert [each for each in subnets.inner("validation") if f'error_message = "{explanation}' in each]


@pytest.mark.parametrize("output", blocks("output"), ids=lambda o: o.name)
def test_an_output_is_described(output: Block) -> None:
    assert re.fullmatch(r'"[A-Z].*\."', output.argument("description") or "")


def test_a_job_as_code_has_the_fields_of_the_api_and_no_others() -> None:
    schemas = ROOT / "functions" / "_shared" / "jobmanager" / "api" / "schemas"
    schema = json.loads((schemas / "job.schema.json").read_text())
    retry = schema["properties"]["retry"]
    (typed,) = blocks("variable", under=TERRAFORM / "modules" / "typed_jobs")
    (named,) = blocks("locals", under=TERRAFORM / "modules" / "checked_jobs")
    fields = re.findall(r"^    (\w+) += (?!object)", typed.body, re.MULTILINE)
    (in_retry,) = re.findall(
        r"^    retry = optional\(object\(\{\n(.*?)^    \}", typed.body, re.MULTILINE | re.DOTALL
    )
    of_retry = re.findall(r"^      (\w+) += ", in_retry, re.MULTILINE)

    assert list_in(named, "required_job_fields") == schema["required"]
    assert list_in(named, "job_fields") == list(schema["properties"])
    assert list_in(named, "retry_fields") == list(retry["properties"])
    assert set(fields) == set(schema["properties"])
    assert set(of_retry) == set(retry["properties"])


def list_in(block: Block, name: str) -> list[str]:
    match = re.search(rf"^  {name} += \[(.*?)\]$", block.body, re.MULTILINE | re.DOTALL)
    assert match, f"there is no local {name}"
    return re.findall(r'"(\w+)"', match[1])


def test_the_apis_default_limits_fit_300_executions_a_second_and_every_region() -> None:
    """Step Functions starts 1,300 executions at once, then 300 a second: each with two heartbeats, a result.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    defaults = {v.labels[0]: v.argument("default") for v in blocks("variable", under=TERRAFORM, deep=False)}
    rate, burst = (int(defaults[f"api_throttling_{name}_limit"] or 0) for name in ("rate", "burst"))
    at_once, a_second, smallest_rate, smallest_burst = 1300, 300, 2500, 1250
    assert 3 * a_second <= rate <= smallest_rate
    assert at_once <= rate + burst
    assert burst <= smallest_burst
    assert defaults["callback_concurrency"] == "null"
