import re

import pytest

from tests.unit.terraform.blocks import (
    ROOT,
    TERRAFORM,
    Block,
    blocks,
    fork_functions,
    function_modules,
    local_map,
    policy_documents,
    policy_statements,
    stage_locals,
)
from tests.unit.terraform.reach import reach_of

FUNCTIONS = function_modules()
# These functions make the same calls, so they share one policy document.
SHARED_POLICY = {
    **dict.fromkeys(("delete_job", "pause_job", "resume_job"), "change_jobs"),
    "notify_service": "run_execution",
}
SHARED_STATEMENTS = TERRAFORM / "statements.tf"
TO_EVERY_FUNCTION = {
    "STAGE",
    "PREFIX",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_LOG_LEVEL",
    "POWERTOOLS_METRICS_NAMESPACE",
    "METRICS_BY_STAGE",
    "METRICS_BY_SERVICE",
    "METRICS_BY_JOB",
    "METRICS_BY_FUNCTION",
    "MEMORY_ALARM_PCT",
}
# A function with one of these settings may use the resource, and no other function may.
RESOURCE_OF_SETTING = {
    "JOBS_TABLE": "aws_dynamodb_table.jobs.arn",
    "EXECUTIONS_TABLE": "aws_dynamodb_table.executions.arn",
    "SCHEDULES_TABLE": "aws_dynamodb_table.schedules.arn",
    "SERVICES_TABLE": "aws_dynamodb_table.services.arn",
    "LIMITS_TABLE": "aws_dynamodb_table.limits.arn",
    "EVENTS_TOPIC_ARN": "aws_sns_topic.events.arn",
    "SPREAD_QUEUE_URL": "local.spread_queue_arn",
}

each_function = pytest.mark.parametrize("module", FUNCTIONS.values(), ids=FUNCTIONS)


def environment_names(module: Block) -> set[str]:
    """The environment variables that Terraform gives the function."""
    names = set(re.findall(r"^ +([A-Z_]+) += ", module.body, re.MULTILINE)) | TO_EVERY_FUNCTION
    for shared in re.findall(r"local\.(\w+_environment)", module.body):
        names |= set(re.findall(r"([A-Z_]+) +=", local_map(shared, stage_locals())))
    return names


def test_functions_in_terraform_and_directories_of_functions_match() -> None:
    directories = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}

    assert {*FUNCTIONS, *fork_functions()} == directories
    assert not FUNCTIONS.keys() & fork_functions().keys()


@each_function
def test_a_function_has_the_same_name_everywhere(module: Block) -> None:
    name = module.labels[0]
    policy = module.argument("policy")

    assert module.argument("name") == f'"{name}"'
    assert policy in (None, f"data.aws_iam_policy_document.{SHARED_POLICY.get(name, name)}.json")


def test_the_map_of_functions_has_every_function() -> None:
    known = dict(re.findall(r"(\w+) += module\.(\w+)", local_map("functions", stage_locals())))
    # Those that a stage may have.
    known |= dict(re.findall(r'for function in module\.(\w+) : "(\w+)" => function', stage_locals()))

    assert known == {name: name for name in FUNCTIONS}


@each_function
def test_a_policy_is_in_the_file_of_its_function_except_shared_statements(module: Block) -> None:
    places = [document.file for document in policy_documents(module)]

    assert set(places[:1]) <= {module.file}
    assert set(places) <= {module.file, SHARED_STATEMENTS}


def test_at_least_two_functions_use_each_shared_document() -> None:
    users: dict[str, set[str]] = {b.labels[1]: set() for b in blocks("data") if b.file == SHARED_STATEMENTS}
    for name, module in FUNCTIONS.items():
        for document in policy_documents(module):
            users.get(document.labels[1], set()).add(name)

    assert len(users) > 20
    assert {label: names for label, names in users.items() if len(names) < 2} == {}


@each_function
def test_a_function_gets_exactly_the_settings_that_its_code_reads(module: Block) -> None:
    read = reach_of(module.labels[0]).settings

    assert read | TO_EVERY_FUNCTION == environment_names(module)


@each_function
def test_a_function_may_use_exactly_the_tables_and_the_topic_of_its_settings(
    module: Block,
) -> None:
    policy = "\n".join(policy_statements(module))

    allowed = {setting for setting, resource in RESOURCE_OF_SETTING.items() if resource in policy}
    assert allowed == RESOURCE_OF_SETTING.keys() & environment_names(module)


def test_the_settings_of_every_function_come_from_the_module() -> None:
    text = (TERRAFORM / "modules" / "function" / "main.tf").read_text()

    assert all(re.search(rf"^ +{name} += ", text, re.MULTILINE) for name in TO_EVERY_FUNCTION)


def test_api_gateway_waits_longer_for_a_function_than_the_function_may_run() -> None:
    """HTTP APIs wait at most 30 s. The integration's timeout is the function's plus one second."""
    (integration,) = (
        b for b in blocks("resource", deep=False) if b.labels[0] == "aws_apigatewayv2_integration"
    )
    answering = set(re.findall(r'function = "(\w+)"', local_map("routes", stage_locals())))

    assert "timeout * 1000 + 1000" in (integration.argument("timeout_milliseconds") or "")
    for name in answering:
        timeout = FUNCTIONS[name].argument("timeout") or "15"
        assert int(timeout.split()[0]) <= 29, name
