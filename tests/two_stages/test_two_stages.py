"""Creates a second stage, as users do. The two share nothing, and a destroyed stage leaves nothing behind.

`make two-stages` runs these tests, in this order: the last one destroys the second stage.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.api_client import ManagerApi
from local.terraform_provider import chosen_provider, provider_file
from tests.two_stages import inventory

ROOT = Path(__file__).resolve().parents[2]
NAME = "qa"


class SecondStage:
    """A checkout in a path with a space, with a copy of the folder of prod that is named qa.

    An override with parts of the local environment makes it work in the emulator.
    """

    def __init__(self, checkout: Path, first_prefix: str) -> None:
        """Copies all files that Terraform reads. TF_CLI_CONFIG_FILE must say where its provider is."""
        self._checkout, self._is_gone = checkout, False
        for directory in ("terraform", "tools"):
            ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "backend.hcl", "__pycache__")
            shutil.copytree(ROOT / directory, checkout / directory, symlinks=True, ignore=ignored)
        for definition in ROOT.glob("*.asl.json"):
            shutil.copy(definition, checkout)
        (checkout / "build").mkdir()
        (checkout / "build" / "lambda").symlink_to(ROOT / "build" / "local")
        environments = checkout / "terraform" / "environments"
        subprocess.run(["cp", "-R", "prod", NAME], cwd=environments, check=True)
        self._here = environments / NAME
        (self._here / "protection_by_aws.tf").unlink()  # its resource does not exist in provider 3.39
        provider = provider_file(chosen_provider()).read_text()
        self._override_for_the_emulator(
            provider + (environments / "local" / "main.tf").read_text(), first_prefix
        )

    def _override_for_the_emulator(self, local_stage: str, first_prefix: str) -> None:
        def block(header: str) -> str:
            found = re.search(rf"^{header} \{{\n.*?^\}}\n", local_stage, re.MULTILINE | re.DOTALL)
            assert found, header
            return found[0]

        stages_own = re.findall(r"^  (\w+) += ", (self._here / "main.tf").read_text(), re.MULTILINE)
        provider = re.sub(r"(?ms)^  (region += .*?$|default_tags \{.*?^  \})\n", "", block('provider "aws"'))
        stage = re.sub(
            rf"(?m)^  ({'|'.join(stages_own)}|source|packages_bucket|notification_topic_arns) +=.*\n",
            "",
            block('module "stage"'),
        )
        bucket = f'  packages_bucket = "{first_prefix}-packages"\n}}\n'
        runtime = re.search(r"(?m)^  runtime +=.*\n", local_stage)
        assert runtime
        override = block("terraform") + provider + stage.removesuffix("}\n") + bucket
        (self._here / "emulator_override.tf").write_text(override)
        (self._here / "emulator.tf").write_text(
            f'variable "endpoint" {{\n  default = "{os.environ["AWS_ENDPOINT_URL"]}"\n}}\n'
            f'locals {{\n  access_key = "{os.environ["AWS_ACCESS_KEY_ID"]}"\n'
            f'  secret_key = "{os.environ["AWS_SECRET_ACCESS_KEY"]}"\n{runtime[0]}}}\n'
        )

    def bootstrap(self) -> str:
        """Creates the bucket of the state. Returns what was printed."""
        printed = self._run([sys.executable, "-m", "tools.bootstrap", NAME])
        self.terraform("output", "-json")  # locks the provider, as a plan would
        return printed

    def apply(self, jobs: dict[str, Any] | None = None, succeeds: bool = True) -> str:
        """Applies the stage with these jobs as code. Returns what Terraform printed.

        Nothing else changes the stage, so Terraform does not refresh its state each time.
        """
        (self._here / "jobs.tf").unlink(missing_ok=True)
        (self._here / "jobs.tf.json").write_text(json.dumps({"locals": {"jobs": jobs or {}}}))
        return self.terraform(
            "apply", "-auto-approve", "-refresh=false", "-parallelism=50", succeeds=succeeds
        )

    def destroy(self) -> None:
        """Destroys the stage, unless that has been done."""
        if self._is_gone:
            return
        (self._here / "protection.tf").unlink(missing_ok=True)
        self.terraform("destroy", "-auto-approve", "-refresh=false", "-parallelism=50")
        self._is_gone = True

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """Terraform's outputs. They do not change after the first apply."""
        found = json.loads(self.terraform("output", "-json"))
        return {name: output["value"] for name, output in found.items()}

    def resources(self) -> list[dict[str, Any]]:
        """All resources in Terraform's state of this stage, including those in modules."""
        modules = [json.loads(self.terraform("show", "-json")).get("values", {}).get("root_module", {})]
        found: list[dict[str, Any]] = []
        while modules:
            module = modules.pop()
            modules += module.get("child_modules", [])
            found += [r for r in module.get("resources", []) if r["mode"] == "managed"]
        return found

    def changes(self) -> list[dict[str, Any]]:
        """What another apply would change."""
        plan = self._checkout / "again.tfplan"
        self.terraform("plan", f"-out={plan}", "-parallelism=50")
        shown: dict[str, Any] = json.loads(self.terraform("show", "-json", str(plan)))
        return [r for r in shown["resource_changes"] if r["change"]["actions"] not in (["no-op"], ["read"])]

    def terraform(self, action: str, *arguments: str, succeeds: bool = True) -> str:
        """Runs the script behind `make plan STAGE=qa` and similar commands."""
        return self._run(["tools/terraform_stage", action, NAME, *arguments], succeeds)

    def _run(self, command: list[str], succeeds: bool = True) -> str:
        # For jobs and on destroy, Terraform runs python3, which must have boto3.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"}
        # Bucket names do not resolve as host names here.
        terraform = {"TF_CLI_ARGS": "-no-color", "TF_CLI_ARGS_init": "-backend-config=use_path_style=true"}
        done = subprocess.run(
            command,
            cwd=self._checkout,
            env={**environment, **terraform, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, (
            f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout if succeeds else done.stdout + done.stderr


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, first_outputs: dict[str, Any]) -> Iterator[SecondStage]:
    assert inventory.of(f"sjm-{NAME}") == {}
    stage = SecondStage(tmp_path_factory.mktemp("second stage"), first_outputs["prefix"])
    stage.bootstrap()
    try:
        stage.apply()
        yield stage
    finally:
        stage.destroy()
        forget_state()


def state_bucket() -> str:
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"serverless-job-manager-state-{account}-{boto3.session.Session().region_name}"


def forget_state() -> None:
    s3, bucket = boto3.client("s3"), state_bucket()
    found = s3.list_object_versions(Bucket=bucket, Prefix=f"serverless-job-manager/{NAME}.")
    for version in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    with suppress(ClientError):  # another stage's state is there too
        s3.delete_bucket(Bucket=bucket)


@pytest.fixture(scope="module")
def resources(second: SecondStage) -> list[dict[str, Any]]:
    """The stage's resources, before it has jobs."""
    return second.resources()


@pytest.fixture(scope="module")
def first_outputs() -> dict[str, Any]:
    """The outputs of the stage that was running before."""
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
    """ARNs of what roles could access. AWS lists them, so this works for every stage."""
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


def test_the_state_is_encrypted_versioned_and_locked(second: SecondStage) -> None:
    s3, bucket, key = boto3.client("s3"), state_bucket(), f"serverless-job-manager/{NAME}.tfstate"
    assert "already exists" in second.bootstrap()

    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert s3.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "AES256"
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}

    lock = {"ID": "0", "Operation": "OperationTypeApply", "Who": "a-colleague", "Path": f"{bucket}/{key}"}
    s3.put_object(Bucket=bucket, Key=f"{key}.tflock", Body=json.dumps(lock).encode())
    try:
        refused = second.terraform("plan", "-refresh=false", succeeds=False)
    finally:
        s3.delete_object(Bucket=bucket, Key=f"{key}.tflock")
    assert "Error acquiring the state lock" in refused
    assert "a-colleague" in refused


# The emulator does not store these arguments, so provider 3.39 would set them again with each apply.
FORGOTTEN_BY_THE_EMULATOR = {
    "aws_cloudwatch_metric_alarm": {
        "actions_enabled",
        "alarm_actions",
        "alarm_description",
        "dimensions",
        "ok_actions",
        "period",
        "statistic",
        "treat_missing_data",
    },
}


def test_a_stage_that_was_applied_needs_no_change(second: SecondStage) -> None:
    for resource in second.changes():
        before, after = resource["change"]["before"], resource["change"]["after"]
        assert resource["change"]["actions"] == ["update"], resource["address"]
        differing = {name for name in after if after[name] != before[name]}
        assert differing <= FORGOTTEN_BY_THE_EMULATOR.get(resource["type"], set()), resource["address"]


def test_every_taggable_resource_is_tagged(resources: list[dict[str, Any]]) -> None:
    wanted = {"project": "serverless-job-manager", "stage": NAME}
    taggable = [r for r in resources if "tags_all" in r["values"]]

    assert len(taggable) > 100
    assert {r["address"] for r in taggable if not wanted.items() <= r["values"]["tags_all"].items()} == set()


def test_every_name_contains_the_name_of_its_stage(resources: list[dict[str, Any]]) -> None:
    naming = ("name", "function_name", "bucket")
    named = [
        str(resource["values"][argument])
        for resource in resources
        for argument in naming
        if resource["values"].get(argument)
    ]

    assert len(named) > 60
    others = {"$default", f"/sjm/{NAME}/api-url"}
    assert [name for name in named if f"sjm-{NAME}" not in name and name not in others] == []


def test_no_output_of_one_stage_is_an_output_of_the_other(
    second: SecondStage, first_outputs: dict[str, Any]
) -> None:
    """Except the version: both stages are of this one."""

    def flat(outputs: dict[str, Any]) -> set[str]:
        own = {name: value for name, value in outputs.items() if name != "version"}
        return {value for value in own.values() if isinstance(value, str)} | set(
            own["function_names"].values()
        )

    outputs = second.outputs

    assert outputs.keys() == first_outputs.keys()
    assert outputs["version"] == first_outputs["version"]
    assert flat(outputs).isdisjoint(flat(first_outputs))


def test_no_role_of_one_stage_may_access_the_other(
    second: SecondStage, first_outputs: dict[str, Any]
) -> None:
    prefixes = [first_outputs["prefix"], second.outputs["prefix"]]
    without_a_resource = ("xray:", "logs:", "events:ListRules", "scheduler:ListSchedules")

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


def test_a_stage_has_its_own_key(second: SecondStage, first_outputs: dict[str, Any]) -> None:
    dynamodb = boto3.client("dynamodb")
    keys = [
        dynamodb.describe_table(TableName=outputs["jobs_table_name"])["Table"]["SSEDescription"][
            "KMSMasterKeyArn"
        ]
        for outputs in (first_outputs, second.outputs)
    ]

    assert keys[0] != keys[1]


SCHEDULE, OTHER_SCHEDULE = "cron(0 3 1 1 ? 2190)", "cron(0 4 1 1 ? 2190)"
HERE = f"terraform/environments/{NAME}/jobs.tf"


def job_as_code(**fields: Any) -> dict[str, Any]:
    return {"schedule": SCHEDULE, "invocation_type": "sns", **fields}


@pytest.fixture
def second_api(second: SecondStage, credentials: Credentials) -> ManagerApi:
    return ManagerApi(second.outputs["api_url"], credentials, os.environ["AWS_DEFAULT_REGION"])


def jobs_of(api: ManagerApi) -> dict[str, Any]:
    """The service's jobs from the API, by name."""
    listed = api.request("GET", "/services/as-code/jobs")
    assert listed.status == 200, listed
    names = [job["job_name"] for job in listed.body["results"]]
    return {name: api.request("GET", f"/services/as-code/jobs/{name}").body for name in names}


def rule_schedules() -> set[str]:
    rules = boto3.client("events").list_rules(NamePrefix=f"sjm-{NAME}-schedule-")["Rules"]
    return {rule["ScheduleExpression"] for rule in rules}


def test_terraform_saves_jobs_that_the_api_cannot_put_or_delete(
    second: SecondStage, second_api: ManagerApi
) -> None:
    large = json.dumps({"text": '<&>"' * 4000})  # in Terraform's JSON over 64 KiB
    wanted = {
        "as-code/a": job_as_code(payload=large, owner="ledger", tags={"team": "it's"}, ttl_seconds=60),
        "as-code/b": job_as_code(enabled=True),
    }
    second.apply(wanted)
    made = jobs_of(second_api)
    assert made.keys() == {"a", "b"}
    assert (made["a"]["payload"], made["a"]["tags"], made["a"]["ttl_seconds"]) == (
        large,
        {"team": "it's"},
        60,
    )
    assert {(job["managed_by"], job["version"]) for job in made.values()} == {(HERE, 1)}
    assert rule_schedules() == {SCHEDULE}

    path = "/services/as-code/jobs/a"
    for answer in (
        second_api.request("PUT", path, {"schedule": SCHEDULE, "invocation_type": "sns"}),
        second_api.request("DELETE", path),
    ):
        assert (answer.status, answer.body["managed_by"]) == (409, HERE)
        assert answer.body["type"] == "/problems/managed-elsewhere"
    assert second_api.request("POST", f"{path}/pause", {"reason": "at night"}).status == 200
    assert second_api.request("POST", f"{path}/resume").status == 200

    wanted["as-code/a"]["payload"] = "new"
    second.apply(wanted)
    changed = jobs_of(second_api)
    assert (changed["a"]["payload"], changed["a"]["version"]) == ("new", 4)
    assert changed["a"]["created_at"] == made["a"]["created_at"]
    assert changed["b"] == made["b"]


def test_an_invalid_job_fails_with_the_apis_message_and_does_not_stop_the_others(
    second: SecondStage, second_api: ManagerApi
) -> None:
    good = {"as-code/a": job_as_code(payload="new"), "as-code/b": job_as_code(payload="newer")}
    bad = {"schedule": "rate(5 minute)", "invocation_type": "sns", "heartbeat_interval_seconds": 301}
    printed = second.apply({**good, "as-code/bad": bad}, succeeds=False)
    by_api = second_api.request("PUT", "/services/as-code/jobs/worse", bad)
    assert by_api.status == 400
    assert {error["pointer"] for error in by_api.body["errors"]} == {
        "/schedule",
        "/heartbeat_interval_seconds",
    }
    for error in by_api.body["errors"]:
        assert f"{error['pointer']}: {error['detail']}" in printed
    jobs = jobs_of(second_api)
    assert {name: job["payload"] for name, job in jobs.items()} == {"a": "new", "b": "newer"}


def test_errors_that_terraform_finds_itself_fail_before_anything_is_changed(
    second: SecondStage, second_api: ManagerApi
) -> None:
    before = jobs_of(second_api)
    wrong: dict[str, dict[str, Any]] = {
        "a b/c": {},
        "d/e": {"invocation_type": "mail"},
        "f/g": {"invocation_type": "http"},
    }
    wrong |= {"h/i": {"ttl_seconds": 9}, "j/k": {"ttl_seconds": 43201}, "l-/m": {}}
    wrong |= {"n/o": {"excluisve": True}, "p/q": {"retry": {"max_attempts": 2, "backof_rate": 3}}}
    printed = second.apply({key: job_as_code(**fields) for key, fields in wrong.items()}, succeeds=False)
    for words in (
        "a b/c: expected 1 to 64 characters of A-Z a-z 0-9 _ . -",
        'd/e: /invocation_type: expected one of "http", "sns"',
        "f/g: /invocation_target: this field is required if invocation_type is http",
        "h/i: /ttl_seconds: expected at least 10",
        "j/k: /ttl_seconds: expected at most 43200",
        "l-/m: /service_name: expected no -- in it and no - at its end",
        "n/o: /excluisve: unknown field: expected one of schedule, time_zone, start_at, ",
        "p/q: /retry/backof_rate: unknown field: expected one of max_attempts, interval_seconds, ",
    ):
        assert words in " ".join(printed.replace("│", " ").split()), words
    assert jobs_of(second_api) == before


def test_deleting_a_job_keeps_a_rule_that_another_job_uses(
    second: SecondStage, second_api: ManagerApi
) -> None:
    second.apply({"as-code/b": job_as_code(payload="newer")})
    assert jobs_of(second_api).keys() == {"b"}
    assert rule_schedules() == {SCHEDULE}
    # One job stays, so that the last test destroys a stage with a job.
    second.apply({"as-code/c": job_as_code(schedule=OTHER_SCHEDULE)})
    assert jobs_of(second_api).keys() == {"c"}
    assert rule_schedules() == {OTHER_SCHEDULE}
    assert second_api.request("PUT", "/services/as-code/jobs/a", job_as_code()).status == 201


@pytest.mark.parametrize("change", ["-destroy", "-replace=module.stage.aws_dynamodb_table.jobs"])
def test_no_plan_may_destroy_a_table_of_a_protected_stage(second: SecondStage, change: str) -> None:
    refused = second.terraform("plan", "-refresh=false", change, succeeds=False)

    assert "To give this stage up, first delete the files protection*.tf in its folder." in refused
    assert 'module.protection.terraform_data.table["jobs"]' in refused


def test_a_destroyed_stage_leaves_nothing_behind_and_the_other_stage_unchanged(
    second: SecondStage, resources: list[dict[str, Any]], first_outputs: dict[str, Any]
) -> None:
    """Destroys the second stage, so it must be the last test here."""
    events = boto3.client("events")
    theirs, ours = (f"{outputs['prefix']}-schedule-testing" for outputs in (first_outputs, second.outputs))
    target = boto3.client("lambda").get_function(FunctionName=f"sjm-{NAME}-start-due-executions")
    before = arns_of_stage(first_outputs["prefix"])
    made = {resource["type"] for resource in resources}
    assert made <= inventory.LISTS.keys() | inventory.PARTS, "add to inventory.py how to list it"
    assert inventory.of(f"sjm-{NAME}").keys() == made & inventory.LISTS.keys()
    events.put_rule(Name=theirs, ScheduleExpression="rate(7 days)")
    try:
        events.put_rule(Name=ours, ScheduleExpression="rate(7 days)")
        events.put_targets(
            Rule=ours, Targets=[{"Id": "start", "Arn": target["Configuration"]["FunctionArn"]}]
        )

        second.destroy()

        assert inventory.of(f"sjm-{NAME}") == {}
        assert second.resources() == []
        pages = events.get_paginator("list_rules").paginate(NamePrefix="sjm-")
        assert theirs in {rule["Name"] for page in pages for rule in page["Rules"]}
        assert arns_of_stage(first_outputs["prefix"]) == before
    finally:
        events.delete_rule(Name=theirs)
