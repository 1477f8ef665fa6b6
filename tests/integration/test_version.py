"""A stage tells its version: as a tag of each resource, in its OpenAPI document, and as an output."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from local.stage import state_file
from local.terraform_provider import chosen_provider
from tests.integration.conftest import required

VERSION = (Path(__file__).resolve().parents[2] / "terraform" / "version.txt").read_text().strip()
# The types of resources of a stage on AWS that take tags. The local stage also has a bucket.
TAGGED = {
    "aws_apigatewayv2_api",
    "aws_apigatewayv2_stage",
    "aws_cloudwatch_event_rule",
    "aws_cloudwatch_log_group",
    "aws_cloudwatch_metric_alarm",
    "aws_dynamodb_table",
    "aws_iam_role",
    "aws_kms_key",
    "aws_lambda_function",
    "aws_sfn_state_machine",
    "aws_sns_topic",
    "aws_sqs_queue",
    "aws_ssm_parameter",
}


@pytest.fixture
def taggable() -> dict[str, Any]:
    """The attributes of each resource in Terraform's state that takes tags, by type and name."""

    def found() -> Iterator[tuple[str, Any]]:
        path = state_file(required("AWS_ENDPOINT_URL"), chosen_provider())
        for resource in json.loads(path.read_text())["resources"]:
            for instance in resource["instances"]:
                if resource["mode"] == "managed" and "tags" in instance["attributes"]:
                    key = instance.get("index_key", "")
                    name = f"{resource.get('module', '')} {resource['type']} {resource['name']} {key}"
                    yield name, instance["attributes"]

    return dict(found())


def test_each_resource_that_takes_tags_has_the_version(taggable: dict[str, Any]) -> None:
    tags = {name: attributes.get("tags_all", {}) for name, attributes in taggable.items()}
    assert {part for name in tags for part in name.split() if part.startswith("aws_")} >= TAGGED
    assert [name for name, found in tags.items() if found.get("version") != VERSION] == []


def test_aws_has_the_tags(aws: Any, outputs: dict[str, Any]) -> None:
    functions = aws.client("lambda")
    configuration = functions.get_function_configuration(FunctionName=outputs["function_names"]["get_job"])
    of_a_function = functions.list_tags(Resource=configuration["FunctionArn"])["Tags"]
    listed = aws.client("dynamodb").list_tags_of_resource(ResourceArn=outputs["table_arns"]["jobs"])["Tags"]
    of_a_table = {tag["Key"]: tag["Value"] for tag in listed}
    assert of_a_function["version"] == of_a_table["version"] == VERSION


def test_the_openapi_document_and_the_output_tell_the_version(outputs: dict[str, Any]) -> None:
    with urlopen(f"{outputs['api_url']}/openapi.json", timeout=30) as answer:
        document = json.load(answer)
    assert document["info"]["version"] == outputs["version"] == VERSION
