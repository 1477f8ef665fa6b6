"""Lists all resources of one stage, by type, as AWS lists them, no matter who created them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3


def _pages(service: Any, operation: str, results: str, **request: Any) -> Iterator[Any]:
    client: Any = boto3.client(service)
    if client.can_paginate(operation):
        for page in client.get_paginator(operation).paginate(**request):
            yield from page.get(results, [])
    else:
        yield from getattr(client, operation)(**request).get(results, [])


def _keys() -> Iterator[Any]:
    """The keys' descriptions, without keys that are scheduled for deletion, which takes AWS a month."""
    for key in _pages("kms", "list_keys", "Keys"):
        found = boto3.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if found["KeyState"] != "PendingDeletion":
            yield found["Description"]


# By Terraform's resource type. The product also creates some of these at run time, and some only then.
LISTS: dict[str, Callable[[], Iterator[Any]]] = {
    "aws_apigatewayv2_api": lambda: _pages("apigatewayv2", "get_apis", "Items"),
    "aws_athena_workgroup": lambda: _pages("athena", "list_work_groups", "WorkGroups"),
    "aws_cloudwatch_dashboard": lambda: _pages("cloudwatch", "list_dashboards", "DashboardEntries"),
    "aws_cloudwatch_event_rule": lambda: _pages("events", "list_rules", "Rules"),
    "aws_cloudwatch_log_group": lambda: _pages("logs", "describe_log_groups", "logGroups"),
    "aws_cloudwatch_metric_alarm": lambda: _pages("cloudwatch", "describe_alarms", "MetricAlarms"),
    "aws_dynamodb_table": lambda: _pages("dynamodb", "list_tables", "TableNames"),
    "aws_glue_catalog_database": lambda: _pages("glue", "get_databases", "DatabaseList"),
    "aws_iam_role": lambda: _pages("iam", "list_roles", "Roles"),
    "aws_iam_user": lambda: _pages("iam", "list_users", "Users"),
    "aws_kinesis_firehose_delivery_stream": lambda: _pages(
        "firehose", "list_delivery_streams", "DeliveryStreamNames"
    ),
    "aws_kms_alias": lambda: _pages("kms", "list_aliases", "Aliases"),
    "aws_kms_key": _keys,
    "aws_lambda_event_source_mapping": lambda: _pages(
        "lambda", "list_event_source_mappings", "EventSourceMappings"
    ),
    "aws_lambda_function": lambda: _pages("lambda", "list_functions", "Functions"),
    "aws_s3_bucket": lambda: _pages("s3", "list_buckets", "Buckets"),
    "aws_scheduler_schedule": lambda: _pages("scheduler", "list_schedules", "Schedules"),
    "aws_secretsmanager_secret": lambda: _pages("secretsmanager", "list_secrets", "SecretList"),
    "aws_sfn_state_machine": lambda: _pages("stepfunctions", "list_state_machines", "stateMachines"),
    "aws_sns_topic": lambda: _pages("sns", "list_topics", "Topics"),
    "aws_sns_topic_subscription": lambda: _pages("sns", "list_subscriptions", "Subscriptions"),
    "aws_sqs_queue": lambda: _pages("sqs", "list_queues", "QueueUrls"),
    "aws_ssm_parameter": lambda: _pages("ssm", "describe_parameters", "Parameters"),
}

# Types that AWS deletes with one of the above, and types that exist only in Terraform's state.
PARTS = {
    "aws_apigatewayv2_integration",
    "aws_apigatewayv2_route",
    "aws_apigatewayv2_stage",
    "aws_cloudwatch_event_target",
    "aws_iam_role_policy",
    "aws_lambda_function_event_invoke_config",
    "aws_lambda_permission",
    "aws_sns_topic_policy",
    "aws_sqs_queue_policy",
    "terraform_data",
}


def of(prefix: str) -> dict[str, list[str]]:
    """The listed resources that contain this prefix, by type, without empty types."""
    found = {
        kind: [text for text in (json.dumps(each, default=str) for each in listed()) if prefix in text]
        for kind, listed in LISTS.items()
    }
    return {kind: texts for kind, texts in found.items() if texts}
