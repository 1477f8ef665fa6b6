"""The stage as AWS would see it, rendered by Terraform and the provider without AWS, and without an emulator.

First a plan with a mocked provider tells every resource's name. Then an apply with the provider itself, in
which each resource is overridden: nothing is made, but ARNs are as AWS would give them out. So the policies,
which the provider renders, and all else that is made of ARNs, are as they would be there.
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

# The longest: the partition of GovCloud, but for those that nobody can sign up to.
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
    """A resource as Terraform would have it made."""

    address: str
    type: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called in AWS; empty if it has no name."""
        return next((self.values[key] for key in _NAMES if self.values.get(key)), "")


def longest(variable: str) -> str:
    """The longest value that a variable of the stage lets pass."""
    text = (TERRAFORM / "variables.tf").read_text()
    pattern = rf'regex\("\^\[a-z\]\[a-z0-9\]\{{1,(\d+)\}}\$", var\.{variable}\)'
    match = re.search(pattern, text)
    assert match, f"{variable} has no pattern of this form any more"
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
        "runtime": "python3.8",  # the newest that the local stage's provider lets pass
        "packages_dir": str(_packages(scratch)),
        "command_environment": {"PATH": str(_commands(scratch))},
    }
    (directory / "rendered.tfvars.json").write_text(json.dumps(variables))
    with terraform_provider.initialised(directory) as run:
        (directory / "tests" / "rendered.tftest.hcl").write_text(_MOCKED)
        plan = _said(run, "test_plan")["resource_changes"]
        planned = [
            Resource(change["address"], change["type"], change["change"]["after"])
            for change in plan
            if change["mode"] == "managed"
        ]
        real = _REAL.format(region=REGION) + "\n".join([*_known_data(TERRAFORM), *_overrides(planned)])
        (directory / "tests" / "rendered.tftest.hcl").write_text(real)
        return list(_resources(_said(run, "test_state")["root_module"]))


def _packages(scratch: Path) -> Path:
    """A directory with something in the place of each function's package."""
    directory = scratch / "packages"
    directory.mkdir()
    for handler in PROJECT.glob("functions/*/handler.py"):
        (directory / f"{handler.parent.name}.zip").touch()
    return directory


def _commands(scratch: Path) -> Path:
    """A directory with a python3 that does nothing, for what Terraform would run on destroy."""
    directory = scratch / "commands"
    directory.mkdir()
    (directory / "python3").write_text("#!/bin/sh\n")
    (directory / "python3").chmod(0o755)
    return directory


def _said(run: Callable[..., Any], kind: str) -> dict[str, Any]:
    """What `terraform test` tells of one kind, of its one run."""
    done = run("test", "-json", "-verbose", "-var-file=rendered.tfvars.json", check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [event["diagnostic"] for event in events if event["type"] == "diagnostic"]
    assert done.returncode == 0, json.dumps(wrong or done.stderr, indent=1)
    (event,) = (event for event in events if event["type"] == kind)
    said: dict[str, Any] = event[kind]
    return said


def _overrides(planned: list[Resource]) -> Iterator[str]:
    """An override for each resource of AWS; all instances of one have the first one's."""
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
    """An override for each place that asks AWS for the account; all else the provider knows by itself."""
    for block in read(directory):
        if block.kind == "data" and block.labels[0] == "aws_caller_identity":
            target = f"{within}data.aws_caller_identity.{block.labels[1]}"
            yield f'override_data {{\n  target = {target}\n  values = {{ account_id = "{ACCOUNT}" }}\n}}\n'
        if block.kind == "module":
            source = (directory / block.body.arguments["source"].strip('"')).resolve()
            yield from _known_data(source, f"{within}module.{block.labels[0]}.")


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    """All that a state keeps, modules and all."""
    for resource in module.get("resources", []):
        if resource["mode"] == "managed":
            yield Resource(resource["address"], resource["type"], resource["values"])
    for child in module.get("child_modules", []):
        yield from _resources(child)
