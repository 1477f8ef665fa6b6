"""A stage with the longest names stays within AWS's quotas. Each quota has a link to its page."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.terraform.rendering import Resource

# Tests in one xdist group share one rendering of the stage.
pytestmark = pytest.mark.xdist_group("rendered_stage")

API_GATEWAY = "https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"
CLOUDWATCH = "https://docs.aws.amazon.com/AmazonCloudWatch/latest"
DYNAMODB = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"
EVENTBRIDGE = "https://docs.aws.amazon.com/eventbridge/latest"
IAM = "https://docs.aws.amazon.com/IAM/latest"
KMS = "https://docs.aws.amazon.com/kms/latest"
LAMBDA = "https://docs.aws.amazon.com/lambda/latest"
LOGS = "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference"
SNS = "https://docs.aws.amazon.com/sns/latest"
SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest"
SSM = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html"
STATES = "https://docs.aws.amazon.com/step-functions/latest"


type Measure = Callable[[dict[str, Any]], int]


def length(argument: str) -> Measure:
    return lambda values: len(values[argument] or "")


def compact(argument: str) -> Measure:
    """The length of a JSON document without white space, which IAM does not count."""
    return lambda values: len(json.dumps(json.loads(values[argument]), separators=(",", ":")))


def statements(argument: str) -> Measure:
    return lambda values: len(json.loads(values[argument])["Statement"])


def size_of_environment(values: dict[str, Any]) -> int:
    variables = values["environment"][0]["variables"]
    return sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())


def widgets(values: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(values["dashboard_body"])["widgets"]
    return found


def metrics_of_widgets(values: dict[str, Any]) -> list[int]:
    return [len(widget["properties"].get("metrics", [])) for widget in widgets(values)]


def projected(values: dict[str, Any]) -> int:
    return sum(len(index["non_key_attributes"] or []) for index in values["global_secondary_index"])


# By type and page: the quota's name, its limit, and how to measure it.
QUOTAS: dict[tuple[str, str], list[tuple[str, int, Measure]]] = {
    ("aws_apigatewayv2_api", API_GATEWAY): [("name", 128, length("name"))],
    ("aws_apigatewayv2_integration", API_GATEWAY): [
        ("timeout in ms", 30000, lambda values: values["timeout_milliseconds"])
    ],
    ("aws_cloudwatch_dashboard", f"{CLOUDWATCH}/APIReference/API_PutDashboard.html"): [
        ("name", 255, length("dashboard_name"))
    ],
    ("aws_cloudwatch_dashboard", f"{CLOUDWATCH}/monitoring/cloudwatch_limits.html"): [
        ("widgets", 500, lambda values: len(widgets(values))),
        ("metrics of a widget", 500, lambda values: max(metrics_of_widgets(values))),
        ("metrics", 2500, lambda values: sum(metrics_of_widgets(values))),
    ],
    ("aws_cloudwatch_event_rule", f"{EVENTBRIDGE}/APIReference/API_PutRule.html"): [
        ("name", 64, length("name")),
        ("description", 512, length("description")),
    ],
    ("aws_cloudwatch_event_target", f"{EVENTBRIDGE}/APIReference/API_Target.html"): [
        ("id", 64, length("target_id"))
    ],
    ("aws_cloudwatch_log_group", f"{LOGS}/API_CreateLogGroup.html"): [("name", 512, length("name"))],
    ("aws_cloudwatch_metric_alarm", f"{CLOUDWATCH}/APIReference/API_PutMetricAlarm.html"): [
        ("name", 255, length("alarm_name")),
        ("description", 1024, length("alarm_description")),
    ],
    ("aws_cloudwatch_query_definition", f"{LOGS}/API_PutQueryDefinition.html"): [
        ("name", 255, length("name")),
        ("query", 10000, length("query_string")),
    ],
    ("aws_cloudwatch_query_definition", f"{LOGS}/API_StartQuery.html"): [
        ("log groups", 50, lambda values: len(values["log_group_names"]))
    ],
    ("aws_dynamodb_table", DYNAMODB): [
        ("name", 255, length("name")),
        ("global indexes", 20, lambda values: len(values["global_secondary_index"])),
        ("projected attributes of all indexes", 100, projected),
    ],
    ("aws_iam_role", f"{IAM}/APIReference/API_CreateRole.html"): [
        ("name", 64, length("name")),
        ("description", 1000, length("description")),
    ],
    ("aws_iam_role", f"{IAM}/UserGuide/reference_iam-quotas.html"): [
        ("trust policy", 2048, compact("assume_role_policy"))
    ],
    ("aws_iam_role_policy", f"{IAM}/APIReference/API_PutRolePolicy.html"): [("name", 128, length("name"))],
    ("aws_kms_alias", f"{KMS}/APIReference/API_CreateAlias.html"): [("name", 256, length("name"))],
    ("aws_kms_key", f"{KMS}/APIReference/API_CreateKey.html"): [("description", 8192, length("description"))],
    ("aws_kms_key", f"{KMS}/developerguide/resource-limits.html"): [("policy", 32768, length("policy"))],
    ("aws_lambda_function", f"{LAMBDA}/api/API_CreateFunction.html"): [
        ("name", 64, length("function_name")),
        ("description", 256, length("description")),
    ],
    ("aws_lambda_function", f"{LAMBDA}/dg/gettingstarted-limits.html"): [
        ("environment in bytes", 4096, size_of_environment),
        ("timeout in s", 900, lambda values: values["timeout"]),
    ],
    ("aws_lambda_permission", f"{LAMBDA}/api/API_AddPermission.html"): [
        ("statement id", 100, length("statement_id"))
    ],
    ("aws_s3_bucket", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"): [
        ("name", 63, length("bucket"))
    ],
    ("aws_sfn_state_machine", f"{STATES}/apireference/API_CreateStateMachine.html"): [
        ("name", 80, length("name")),
        ("definition", 1024 * 1024, length("definition")),
    ],
    ("aws_sns_topic", f"{SNS}/api/API_CreateTopic.html"): [("name", 256, length("name"))],
    ("aws_sns_topic_policy", f"{SNS}/dg/sns-access-policy-language-api-permissions-reference.html"): [
        ("bytes", 30 * 1024, length("policy")),
        ("statements", 100, statements("policy")),
    ],
    ("aws_sqs_queue", f"{SQS}/APIReference/API_CreateQueue.html"): [("name", 80, length("name"))],
    ("aws_sqs_queue_policy", f"{SQS}/SQSDeveloperGuide/quotas-policies.html"): [
        ("bytes", 8192, length("policy")),
        ("statements", 20, statements("policy")),
    ],
    ("aws_ssm_parameter", SSM): [
        ("name", 1011, length("name")),
        ("description", 1024, length("description")),
        ("value", 4096, length("value")),
    ],
}
# Resources without a name, or anything else that a quota limits.
WITHOUT_QUOTAS = {
    "aws_apigatewayv2_route",
    "aws_apigatewayv2_stage",
    "aws_lambda_event_source_mapping",
    "aws_lambda_function_event_invoke_config",
}


def exceeded_quotas(resource: Resource) -> Iterator[str]:
    """A message for each quota that a resource exceeds."""
    for (type_, page), quotas in QUOTAS.items():
        for what, most, measure in quotas if type_ == resource.type else ():
            measured = measure(resource.values)
            if measured > most:
                yield f"{resource.address}: {what} is {measured}, and may be at most {most}: {page}"


def of_type(stage: list[Resource], type_: str) -> list[Resource]:
    return [resource for resource in stage if resource.type == type_]


def test_every_type_of_a_stage_has_its_quotas(stage: list[Resource]) -> None:
    types = {resource.type for resource in stage if resource.type.startswith("aws_")}

    assert types - {type_ for type_, _ in QUOTAS} == WITHOUT_QUOTAS


def test_no_resource_exceeds_a_quota(stage: list[Resource]) -> None:
    assert len(stage) > 250
    assert [message for resource in stage for message in exceeded_quotas(resource)] == []


def test_the_policies_of_a_role_together_fit_the_quota(stage: list[Resource]) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html."""
    sizes: Counter[str] = Counter()
    for policy in of_type(stage, "aws_iam_role_policy"):
        sizes[policy.values["role"]] += compact("policy")(policy.values)

    assert set(sizes) == {role.name for role in of_type(stage, "aws_iam_role")}
    assert {role: size for role, size in sizes.items() if size > 10240} == {}


def test_the_permissions_to_invoke_a_function_together_fit_the_quota(stage: list[Resource]) -> None:
    """20 KB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""
    arns = {function.name: function.values["arn"] for function in of_type(stage, "aws_lambda_function")}
    sizes: Counter[str] = Counter()
    for permission in of_type(stage, "aws_lambda_permission"):
        values = permission.values
        statement = {
            "Sid": values["statement_id"],
            "Effect": "Allow",
            "Principal": {"Service": values["principal"]},
            "Action": values["action"],
            "Resource": arns[values["function_name"]],
            "Condition": {"ArnLike": {"AWS:SourceArn": values["source_arn"]}},
        }
        sizes[values["function_name"]] += len(json.dumps(statement))

    assert len(sizes) > 20
    assert {name: size for name, size in sizes.items() if size > 20 * 1024} == {}


@pytest.mark.parametrize("type_", ["aws_apigatewayv2_route", "aws_apigatewayv2_integration"])
def test_the_api_stays_within_the_quotas_of_routes_and_integrations(
    stage: list[Resource], type_: str
) -> None:
    """300 of each: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html."""
    assert 0 < len(of_type(stage, type_)) <= 300


def test_no_rule_exceeds_the_quota_of_targets(stage: list[Resource]) -> None:
    """5: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html."""
    targets = Counter(target.values["rule"] for target in of_type(stage, "aws_cloudwatch_event_target"))

    assert targets
    assert max(targets.values()) <= 5


def test_logs_that_aws_delivers_need_no_growing_resource_policy(stage: list[Resource]) -> None:
    """A region has at most 10 resource policies of 5,120 characters. /aws/vendedlogs/ needs only one.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
    https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
    """
    groups = {group.values["arn"]: group.name for group in of_type(stage, "aws_cloudwatch_log_group")}
    delivered_to = [
        *(
            machine.values["logging_configuration"][0]["log_destination"]
            for machine in of_type(stage, "aws_sfn_state_machine")
        ),
        *(
            api.values["access_log_settings"][0]["destination_arn"]
            for api in of_type(stage, "aws_apigatewayv2_stage")
        ),
    ]

    assert len(delivered_to) == 4
    for destination in delivered_to:
        assert groups[destination.removesuffix(":*")].startswith("/aws/vendedlogs/")


def test_arns_are_as_long_as_aws_makes_them(stage: list[Resource]) -> None:
    """Shorter ARNs would make policies seem to fit."""
    in_arns = {"aws_cloudwatch_log_group", "aws_dynamodb_table", "aws_iam_role", "aws_lambda_function"}
    in_arns |= {"aws_sfn_state_machine", "aws_sns_topic", "aws_sqs_queue"}
    named = [resource for resource in stage if resource.type in in_arns]

    assert len(named) > 100
    assert [r.address for r in named if not r.values["arn"].endswith(r.name)] == []


def test_an_exceeded_quota_is_reported_with_its_page() -> None:
    values = {"name": "n" * 65, "description": None, "assume_role_policy": '{"Statement": []}'}

    assert list(exceeded_quotas(Resource("aws_iam_role.r", "aws_iam_role", values))) == [
        f"aws_iam_role.r: name is 65, and may be at most 64: {IAM}/APIReference/API_CreateRole.html"
    ]


def test_every_queue_that_nothing_reads_has_an_alarm(stage: list[Resource]) -> None:
    """A function reads the others, and what it cannot handle goes to one of these."""
    alarms = of_type(stage, "aws_cloudwatch_metric_alarm")
    watched = {(alarm.values["dimensions"] or {}).get("QueueName") for alarm in alarms}
    queues = of_type(stage, "aws_sqs_queue")
    ends = {queue.name for queue in queues if not queue.values.get("redrive_policy")}

    assert len(ends) < len(queues)
    assert ends <= watched
