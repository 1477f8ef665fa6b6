"""Two stages in one account, side by side, do not meet."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "other"
# One worker makes the second stage once; and its last test takes it down.
pytestmark = pytest.mark.xdist_group("two_stages")


class SecondStage:
    """A copy of the local environment with a state of its own."""

    def __init__(self, directory: Path) -> None:
        """Copies what Terraform reads; TF_CLI_CONFIG_FILE says where its provider comes from."""
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
        shutil.copytree(ROOT / "terraform", directory / "terraform", ignore=ignored)
        for definition in ROOT.glob("*.asl.json"):
            shutil.copy(definition, directory)
        self._here = directory / "terraform" / "environments" / "local"
        self._variables = [
            f"-var=stage={NAME}",
            f"-var=endpoint={os.environ['AWS_ENDPOINT_URL']}",
            f"-var=packages_dir={ROOT / 'build' / 'local'}",
        ]

    def apply(self) -> None:
        self._terraform("init", "-input=false")
        self._terraform("apply", "-auto-approve", "-input=false", "-parallelism=30", *self._variables)

    def destroy(self) -> None:
        self._terraform("destroy", "-auto-approve", "-input=false", "-parallelism=30", *self._variables)

    def outputs(self) -> dict[str, Any]:
        found = json.loads(self._terraform("output", "-json"))
        return {name: output["value"] for name, output in found.items()}

    def resources(self) -> list[dict[str, Any]]:
        """All that Terraform keeps of this stage, modules and all."""
        modules = [json.loads(self._terraform("show", "-json")).get("values", {}).get("root_module", {})]
        found: list[dict[str, Any]] = []
        while modules:
            module = modules.pop()
            modules += module.get("child_modules", [])
            found += [r for r in module.get("resources", []) if r["mode"] == "managed"]
        return found

    def _terraform(self, *arguments: str) -> str:
        # On destroy Terraform runs python3, which must be the one that has boto3.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"}
        done = subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self._here,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (
            f"terraform {arguments[0]}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondStage]:
    stage = SecondStage(tmp_path_factory.mktemp("second_stage"))
    try:
        stage.apply()
        yield stage
    finally:
        stage.destroy()


@pytest.fixture(scope="module")
def first_outputs() -> dict[str, Any]:
    """The outputs of the stage that was up already."""
    outputs: dict[str, Any] = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())
    return outputs


def role_policies(prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The statements of every role of a stage."""
    iam = boto3.client("iam")
    roles = [
        role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for role in (role for role in roles if role.startswith(f"{prefix}-")):
        found[role] = []
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            if isinstance(document, str):
                document = json.loads(unquote(document))
            found[role] += document["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def arns(resources: list[dict[str, Any]]) -> set[str]:
    return {r["values"]["arn"] for r in resources if r["values"].get("arn")}


def arns_of_stage(prefix: str) -> set[str]:
    """ARNs of what roles could touch, asked of AWS itself, so that it holds for a stage of any origin."""
    tables = boto3.client("dynamodb").list_tables()["TableNames"]
    functions = boto3.client("lambda").get_paginator("list_functions").paginate()
    machines = boto3.client("stepfunctions").list_state_machines()["stateMachines"]
    topics = boto3.client("sns").list_topics()["Topics"]
    account = boto3.client("sts").get_caller_identity()["Account"]
    region = boto3.session.Session().region_name
    every = [
        *(f"arn:aws:dynamodb:{region}:{account}:table/{table}" for table in tables),
        *(function["FunctionArn"] for page in functions for function in page["Functions"]),
        *(machine["stateMachineArn"] for machine in machines),
        *(topic["TopicArn"] for topic in topics),
        f"arn:aws:events:{region}:{account}:rule/{prefix}-schedule-0123456789abcdef",
    ]
    return {arn for arn in every if f"{prefix}-" in arn}


def test_every_name_of_a_stage_is_its_own(second: SecondStage) -> None:
    naming = ("name", "function_name", "bucket")
    named = [
        str(resource["values"][argument])
        for resource in second.resources()
        for argument in naming
        if resource["values"].get(argument)
    ]

    assert len(named) > 60
    assert [name for name in named if f"sjm-{NAME}" not in name and name != "$default"] == []


def test_no_output_of_one_stage_is_an_output_of_the_other(
    second: SecondStage, first_outputs: dict[str, Any]
) -> None:
    outputs = second.outputs()
    flat = {value for value in outputs.values() if isinstance(value, str)} | set(
        outputs["function_names"].values()
    )
    first = {value for value in first_outputs.values() if isinstance(value, str)} | set(
        first_outputs["function_names"].values()
    )

    assert outputs.keys() == first_outputs.keys()
    assert flat.isdisjoint(first)


def test_no_role_of_one_stage_may_touch_the_other(second: SecondStage, first_outputs: dict[str, Any]) -> None:
    prefixes = [first_outputs["prefix"], second.outputs()["prefix"]]
    without_a_resource = ("xray:", "logs:")

    for own, foreign in (prefixes, prefixes[::-1]):
        policies = role_policies(own)
        theirs = arns_of_stage(foreign)
        assert len(policies) >= len(first_outputs["function_names"])
        assert len(theirs) >= 15
        for role, statements in policies.items():
            for statement in statements:
                for pattern in as_list(statement["Resource"]):
                    if pattern == "*":
                        assert all(a.startswith(without_a_resource) for a in as_list(statement["Action"])), (
                            role
                        )
                    else:
                        reached = {arn for arn in theirs if fnmatchcase(arn, pattern)}
                        assert not reached, f"{role}: {statement.get('Sid')}"


def test_a_stage_has_a_key_of_its_own(second: SecondStage, first_outputs: dict[str, Any]) -> None:
    dynamodb = boto3.client("dynamodb")
    keys = [
        dynamodb.describe_table(TableName=outputs["jobs_table_name"])["Table"]["SSEDescription"][
            "KMSMasterKeyArn"
        ]
        for outputs in (first_outputs, second.outputs())
    ]

    assert keys[0] != keys[1]


def test_destroying_a_stage_takes_its_rules_along_and_leaves_the_other_alone(
    second: SecondStage, first_outputs: dict[str, Any]
) -> None:
    """The last test here: it takes the second stage down."""
    events = boto3.client("events")
    theirs, ours = (f"{outputs['prefix']}-schedule-testing" for outputs in (first_outputs, second.outputs()))
    target = boto3.client("lambda").get_function(FunctionName=f"sjm-{NAME}-start-due-executions")
    before = arns_of_stage(first_outputs["prefix"])
    events.put_rule(Name=theirs, ScheduleExpression="rate(7 days)")
    try:
        events.put_rule(Name=ours, ScheduleExpression="rate(7 days)")
        events.put_targets(
            Rule=ours, Targets=[{"Id": "start", "Arn": target["Configuration"]["FunctionArn"]}]
        )

        second.destroy()

        left = {rule["Name"] for rule in events.list_rules(NamePrefix="sjm-")["Rules"]}
        assert theirs in left
        assert not {name for name in left if name.startswith(f"sjm-{NAME}-")}
        assert arns_of_stage(first_outputs["prefix"]) == before
        assert arns_of_stage(f"sjm-{NAME}") == {a for a in arns_of_stage(f"sjm-{NAME}") if ":rule/" in a}
        assert role_policies(f"sjm-{NAME}") == {}
        groups = boto3.client("logs").get_paginator("describe_log_groups").paginate()
        assert not [
            g["logGroupName"]
            for page in groups
            for g in page["logGroups"]
            if f"sjm-{NAME}" in g["logGroupName"]
        ]
    finally:
        events.delete_rule(Name=theirs)
