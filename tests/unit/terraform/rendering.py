"""Renders the stage as AWS would see it, with Terraform and the provider, but without AWS or an emulator.

First, a plan with a mocked provider gives every resource's name. Then an apply runs with the real provider,
but overrides each resource, so nothing is created. The overrides have ARNs like AWS's. So the policies, which
the provider renders, and everything else that contains ARNs are as they would be on AWS.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import terraform_provider
from tools.terraform_configuration import PROJECT, TERRAFORM, read

# The longest partition that customers can sign up to is GovCloud's.
PARTITION, REGION, ACCOUNT = "aws-us-gov", "us-gov-west-1", "123456789012"
_PLACE = f"{REGION}:{ACCOUNT}"

_ARNS = {
    "aws_apigatewayv2_api": f"apigateway:{REGION}::/apis/abcdefghij",
    "aws_cloudwatch_event_rule": f"events:{_PLACE}:rule/{{}}",
    "aws_cloudwatch_log_group": f"logs:{_PLACE}:log-group:{{}}",
    "aws_cloudwatch_metric_alarm": f"cloudwatch:{_PLACE}:alarm:{{}}",
    "aws_dynamodb_table": f"dynamodb:{_PLACE}:table/{{}}",
    "aws_iam_role": f"iam::{ACCOUNT}:role/{{}}",
    "aws_kms_key": f"kms:{_PLACE}:key/01234567-89ab-cdef-0123-456789abcdef",
    "aws_lambda_function": f"lambda:{_PLACE}:function:{{}}",
    "aws_sfn_state_machine": f"states:{_PLACE}:stateMachine:{{}}",
    "aws_sns_topic": f"sns:{_PLACE}:{{}}",
    "aws_sqs_queue": f"sqs:{_PLACE}:{{}}",
}
_NAMES = ("name", "function_name", "alarm_name", "bucket")

_MOCKED = """\
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "rendered" {
  command = plan

  assert {
    condition     = local.prefix != ""
    error_message = "There must be a prefix."
  }
}
"""
_REAL = """\
provider "aws" {{
  region                      = "{region}"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_get_ec2_platforms      = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}}

run "rendered" {{
  assert {{
    condition     = local.prefix != ""
    error_message = "There must be a prefix."
  }}
}}

"""


@dataclass(frozen=True)
class Resource:
    """A resource with the values that Terraform gives it."""

    address: str
    type: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """The resource's name in AWS, or an empty text."""
        return next((self.values[key] for key in _NAMES if self.values.get(key)), "")


def longest(variable: str) -> str:
    """The longest value that a variable of the stage accepts."""
    text = (TERRAFORM / "variables.tf").read_text()
    pattern = rf'regex\("\^\[a-z\]\[a-z0-9\]\{{1,(\d+)\}}\$", var\.{variable}\)'
    match = re.search(pattern, text)
    assert match, f"variables.tf no longer validates {variable} with a pattern of this form"
    return ("abcdefghij" * int(match[1]))[: int(match[1]) + 1]


def rendered_stage(scratch: Path) -> list[Resource]:
    """Every resource of a stage with the longest names, set up as on AWS."""
    project = terraform_provider.LOCAL / "terraform-rendered"
    directory = project / "terraform"
    shutil.rmtree(project, ignore_errors=True)
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tftest.hcl")
    shutil.copytree(TERRAFORM, directory, ignore=ignored)
    for definition in PROJECT.glob("*.asl.json"):
        shutil.copy(definition, project)
    variables = {
        "name": longest("name"),
        "stage": longest("stage"),
        "runtime": "python3.8",  # the newest that the local stage's provider accepts
        "packages_dir": str(_packages(scratch)),
        "command_environment": {"PATH": str(_commands(scratch))},
    }
    (directory / "rendered.tfvars.json").write_text(json.dumps(variables))
    with terraform_provider.initialised(directory) as run:
        (directory / "tests" / "rendered.tftest.hcl").write_text(_MOCKED)
        plan = _event_of_test(run, "test_plan")["resource_changes"]
        planned = [
            Resource(change["address"], change["type"], change["change"]["after"])
            for change in plan
            if change["mode"] == "managed"
        ]
        real = _REAL.format(region=REGION) + "\n".join([*_known_data(TERRAFORM), *_overrides(planned)])
        (directory / "tests" / "rendered.tftest.hcl").write_text(real)
        return list(_resources(_event_of_test(run, "test_state")["root_module"]))


def _packages(scratch: Path) -> Path:
    """A directory with an empty file for each function's package."""
    directory = scratch / "packages"
    directory.mkdir()
    for handler in PROJECT.glob("functions/*/handler.py"):
        (directory / f"{handler.parent.name}.zip").touch()
    return directory


def _commands(scratch: Path) -> Path:
    """A directory with a python3 that does nothing, because Terraform runs python3 on destroy."""
    directory = scratch / "commands"
    directory.mkdir()
    (directory / "python3").write_text("#!/bin/sh\n")
    (directory / "python3").chmod(0o755)
    return directory


def _event_of_test(run: Callable[..., Any], kind: str) -> dict[str, Any]:
    """Runs `terraform test`, and returns the content of its one event of this kind."""
    done = run("test", "-json", "-verbose", "-var-file=rendered.tfvars.json", check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [event["diagnostic"] for event in events if event["type"] == "diagnostic"]
    assert done.returncode == 0, json.dumps(errors or done.stderr, indent=1)
    (event,) = (event for event in events if event["type"] == kind)
    content: dict[str, Any] = event[kind]
    return content


def _overrides(planned: list[Resource]) -> Iterator[str]:
    """An override for each AWS resource. All instances of a resource share the first one's values."""
    seen = set()
    for resource in planned:
        target = re.sub(r'\["[^"]*"\]$', "", resource.address)
        if target in seen or not resource.type.startswith("aws_"):
            continue
        seen.add(target)
        values = {}
        if resource.type in _ARNS:
            values["arn"] = f"arn:{PARTITION}:{_ARNS[resource.type].format(resource.name)}"
        if resource.type == "aws_iam_role":
            values["id"] = resource.name
        if resource.type == "aws_apigatewayv2_api":
            values["id"] = "abcdefghij"
            values["execution_arn"] = f"arn:{PARTITION}:execute-api:{_PLACE}:abcdefghij"
            values["api_endpoint"] = f"https://abcdefghij.execute-api.{REGION}.amazonaws.com"
        yield f"override_resource {{\n  target = {target}\n  values = {json.dumps(values)}\n}}\n"


def _known_data(directory: Path, within: str = "") -> Iterator[str]:
    """An override for each aws_caller_identity. The provider knows the other data sources without AWS."""
    for block in read(directory):
        if block.kind == "data" and block.labels[0] == "aws_caller_identity":
            target = f"{within}data.aws_caller_identity.{block.labels[1]}"
            yield f'override_data {{\n  target = {target}\n  values = {{ account_id = "{ACCOUNT}" }}\n}}\n'
        if block.kind == "module":
            source = (directory / block.body.arguments["source"].strip('"')).resolve()
            yield from _known_data(source, f"{within}module.{block.labels[0]}.")


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    """All managed resources in a state, including those of modules."""
    for resource in module.get("resources", []):
        if resource["mode"] == "managed":
            yield Resource(resource["address"], resource["type"], resource["values"])
    for child in module.get("child_modules", []):
        yield from _resources(child)
