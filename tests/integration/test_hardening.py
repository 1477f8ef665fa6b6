"""Checks Terraform's plan for the running stage, made with the settings of a stage on AWS.

The stage exists, so the plan knows every ARN and the text of every policy. The plan turns on what the local
stage turns off: TLS is required, and the functions that reach targets run in a VPC.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.stage import state_file
from local.terraform_provider import chosen_provider, root_for
from tests.integration.conftest import required
from tests.unit.terraform.reach import reach_of

ROOT = Path(__file__).resolve().parents[2]
SUBNETS, GROUPS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"], ["sg-0123456789abcdef0"]
REACH_TARGETS = {"notify_service", "run_execution", "test_job", "test_target", "validate_job"}
AS_ON_AWS = {
    "require_tls": True,
    "subnet_ids": SUBNETS,
    "security_group_ids": GROUPS,
    "callback_concurrency": 50,
}
# One worker plans once.
pytestmark = pytest.mark.xdist_group("hardening")

type Json = dict[str, Any]


class Resources:
    """Resources by type, with their planned values."""

    def __init__(self, root: Json) -> None:
        self._all = list(self._of(root))

    def _of(self, module: Json) -> Iterator[Json]:
        yield from (r for r in module.get("resources", []) if r["mode"] == "managed")
        for inner in module.get("child_modules", []):
            yield from self._of(inner)

    def of_type(self, *kinds: str) -> dict[str, Json]:
        """The planned values of the resources of these types, by address. Fails if there are none."""
        found = {r["address"]: r["values"] for r in self._all if r["type"] in kinds}
        assert found, kinds
        return found

    def types(self) -> set[str]:
        """The types of all resources."""
        return {r["type"] for r in self._all}


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Terraform in a copy of the local environment. TF_CLI_CONFIG_FILE says where its provider is."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"}
    return subprocess.run(
        ["terraform", *arguments, "-no-color"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the local environment, with the state of the running stage."""
    directory = tmp_path_factory.mktemp("hardened")
    here = root_for(chosen_provider(), directory)
    shutil.copy(state_file(required("AWS_ENDPOINT_URL"), chosen_provider()), here / "terraform.tfstate")
    done = terraform(here, "init", "-input=false")
    assert done.returncode == 0, done.stderr
    return here


@pytest.fixture(scope="module")
def shown(copy: Path) -> Json:
    """The plan, with the settings of a stage on AWS instead of its own, as JSON."""
    (copy / "stage_override.tf.json").write_text(json.dumps({"module": {"stage": AS_ON_AWS}}))
    variables = (
        f"-var=endpoint={required('AWS_ENDPOINT_URL')}",
        f"-var=packages_dir={ROOT / 'build' / 'local'}",
    )
    options = ("-input=false", "-refresh=false", "-lock=false", "-out=hardened.plan")
    done = terraform(copy, "plan", *options, *variables)
    assert done.returncode == 0, done.stderr
    shown: Json = json.loads(terraform(copy, "show", "-json", "hardened.plan").stdout)
    return shown


@pytest.fixture(scope="module")
def planned(shown: Json) -> Resources:
    """The resources of the stage's module, without those of its environment."""
    (stage,) = shown["planned_values"]["root_module"]["child_modules"]
    return Resources(stage)


@pytest.fixture(scope="module")
def present(shown: Json) -> Resources:
    """The existing resources, with the local stage's own settings."""
    return Resources(shown["prior_state"]["values"]["root_module"])


def module_of(address: str) -> str:
    """Which function's module an address is in: module.stage.module.<function>.…"""
    return address.split(".")[3]


def statements(policy: str) -> list[Json]:
    found = json.loads(policy)["Statement"]
    return found if isinstance(found, list) else [found]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_only_functions_that_reach_or_look_up_targets_are_in_the_vpc(
    planned: Resources, present: Resources, outputs: Json
) -> None:
    functions = planned.of_type("aws_lambda_function")
    inside = {module_of(a): f["vpc_config"][0] for a, f in functions.items() if f["vpc_config"]}

    assert set(inside) == REACH_TARGETS
    assert set(inside) == {
        name for name in outputs["function_names"] if "ALLOW_PRIVATE_TARGETS" in reach_of(name).settings
    }
    for network in inside.values():
        assert (sorted(network["subnet_ids"]), network["security_group_ids"]) == (SUBNETS, GROUPS)
    assert not any(f["vpc_config"] for f in present.of_type("aws_lambda_function").values())


def test_only_lambda_manages_network_interfaces_and_only_for_functions_in_the_vpc(
    planned: Resources, present: Resources
) -> None:
    arns = {module_of(a): f["arn"] for a, f in planned.of_type("aws_lambda_function").items()}
    found: dict[str, list[Json]] = {}
    for address, policy in planned.of_type("aws_iam_role_policy").items():
        of_ec2 = [s for s in statements(policy["policy"]) if "ec2:" in json.dumps(s["Action"])]
        if of_ec2:
            found[module_of(address)] = of_ec2

    assert set(found) == REACH_TARGETS
    for name, (allowed, denied) in found.items():
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        assert (allowed["Effect"], sorted(allowed["Action"])) == (
            "Allow",
            [
                "ec2:AssignPrivateIpAddresses",
                "ec2:CreateNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSubnets",
                "ec2:UnassignPrivateIpAddresses",
            ],
        )
        assert (denied["Effect"], denied["Action"], denied["Resource"]) == ("Deny", "ec2:*", "*")
        assert as_list(denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]) == [arns[name]]
    assert not any("ec2:" in p["policy"] for p in present.of_type("aws_iam_role_policy").values())


def test_all_stored_data_is_encrypted_with_the_key_of_the_stage(planned: Resources) -> None:
    (key,) = planned.of_type("aws_kms_key").values()
    assert key["enable_key_rotation"]
    used = {
        **{a: t["server_side_encryption"][0]["kms_key_arn"] for a, t in of(planned, "aws_dynamodb_table")},
        **{a: t["kms_master_key_id"] for a, t in of(planned, "aws_sns_topic")},
        **{a: q["kms_master_key_id"] for a, q in of(planned, "aws_sqs_queue")},
        **{a: g["kms_key_id"] for a, g in of(planned, "aws_cloudwatch_log_group")},
    }
    assert len(used) > 40
    assert {a: k for a, k in used.items() if k != key["arn"]} == {}


def of(resources: Resources, kind: str) -> list[tuple[str, Json]]:
    return list(resources.of_type(kind).items())


def test_no_log_group_keeps_logs_forever(planned: Resources) -> None:
    for address, group in of(planned, "aws_cloudwatch_log_group"):
        assert group["retention_in_days"] > 0, address


def test_topics_and_queues_refuse_unencrypted_requests(planned: Resources) -> None:
    policies = {p["arn"]: p["policy"] for p in planned.of_type("aws_sns_topic_policy").values()}
    policies |= {p["queue_url"]: p["policy"] for p in planned.of_type("aws_sqs_queue_policy").values()}
    topics = {t["arn"] for t in planned.of_type("aws_sns_topic").values()}
    queues = {q["id"] for q in planned.of_type("aws_sqs_queue").values()}

    assert set(policies) == topics | queues
    for name, policy in policies.items():
        (refusal,) = (s for s in statements(policy) if s["Effect"] == "Deny")
        assert refusal["Principal"] in ("*", {"AWS": "*"}), name
        assert refusal["Action"] in ("sns:Publish", "sqs:*"), name
        assert as_list(refusal["Condition"]["Bool"]["aws:SecureTransport"]) == ["false"], name


# Statements of the key's policy without a source, because these services name none to KMS. The key is
# useful only to a service that the policy of its topic or queue allows.
# https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
WITHOUT_A_SOURCE = {"LetScheduleRulesEncryptDeadLetters", "LetAlarmsEncryptWhatTheyPublish"}
# Only services of the role's own account can use a role:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
OF_ITS_ACCOUNT = {"LetLambdaTakeTheRole"}


def test_no_policy_allows_another_account(planned: Resources) -> None:
    policies = {a: p["policy"] for a, p in of(planned, "aws_sns_topic_policy")}
    policies |= {a: p["policy"] for a, p in of(planned, "aws_sqs_queue_policy")}
    policies |= {a: k["policy"] for a, k in of(planned, "aws_kms_key")}
    policies |= {a: r["assume_role_policy"] for a, r in of(planned, "aws_iam_role")}
    account = next(iter(planned.of_type("aws_sns_topic").values()))["arn"].split(":")[4]
    for address, policy in policies.items():
        for statement in statements(policy):
            if statement["Effect"] == "Allow":
                where = f"{address} {statement['Sid']}"
                if "Service" in statement["Principal"]:
                    known = statement["Sid"] in WITHOUT_A_SOURCE | OF_ITS_ACCOUNT
                    assert known or account in json.dumps(statement["Condition"]), where
                elif statement["Principal"]["AWS"] == "*":
                    accounts = statement["Condition"]["StringEquals"]["kms:CallerAccount"]
                    assert as_list(accounts) == [account], where
                else:
                    assert f":{account}:" in statement["Principal"]["AWS"], where

    for address, permission in of(planned, "aws_lambda_permission"):
        assert permission["principal"] in ("apigateway.amazonaws.com", "events.amazonaws.com"), address
        assert f":{account}:" in permission["source_arn"], address
    assert "aws_lambda_function_url" not in planned.types()


def test_two_routes_are_open_and_every_route_is_throttled(planned: Resources) -> None:
    routes = planned.of_type("aws_apigatewayv2_route").values()
    open_to_all = {r["route_key"] for r in routes if r["authorization_type"] != "AWS_IAM"}
    (stage,) = planned.of_type("aws_apigatewayv2_stage").values()
    (limits,) = stage["default_route_settings"]

    assert open_to_all == {"POST /callback/{callback_token}", "GET /openapi.json"}
    assert 0 < limits["throttling_rate_limit"] <= limits["throttling_burst_limit"]
    assert stage["route_settings"] == []


def test_only_callbacks_can_have_reserved_concurrency(planned: Resources, present: Resources) -> None:
    reserved = {
        module_of(a): f["reserved_concurrent_executions"]
        for a, f in of(planned, "aws_lambda_function")
        if f["reserved_concurrent_executions"] != -1
    }

    assert reserved == {"receive_callback": 50}
    assert {f["reserved_concurrent_executions"] for _, f in of(present, "aws_lambda_function")} == {-1}
