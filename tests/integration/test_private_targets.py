"""Creates a function with a network. The emulator stores the network's settings and runs the function.

test_hardening.py tests which functions of a stage get a network.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.terraform_provider import PROJECT, chosen_provider, provider_blocks
from tests.integration.scenario import Scenario

LOCAL = PROJECT / "terraform" / "environments" / "local"
NETWORK = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}


def root_module(prefix: str) -> dict[str, Any]:
    """A root module with one function. It uses the module of all functions, and the code of the stage."""
    return {
        "locals": {"region": "us-east-1", "access_key": "test", "secret_key": "test", "version": "test"},
        "resource": {"aws_kms_key": {"lone": {"description": prefix}}},
        "module": {
            "function": {
                "source": str(PROJECT / "terraform" / "modules" / "function"),
                "name": "validate_job",
                "description": "Looks names up from inside a VPC.",
                "network": NETWORK,
                "environment": {
                    "ALLOW_PRIVATE_TARGETS": "true",
                    "ALLOW_LOOPBACK_TARGETS": "false",
                    "ALLOW_HTTP_TARGETS": "true",
                    "DEFAULT_WORKFLOW_TYPE": "standard",
                    "NOTIFICATIONS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:notifications",
                },
                "defaults": {
                    "prefix": prefix,
                    "arn_prefix": "arn:aws:lambda:us-east-1:000000000000:function",
                    "stage": "local",
                    "packages_dir": str(PROJECT / "build" / "local"),
                    "packages_bucket": None,
                    "runtime": "python3.8",
                    "memory_size": 256,
                    "log_level": "INFO",
                    "log_retention_days": 1,
                    "kms_key_arn": "${aws_kms_key.lone.arn}",
                    "metrics_namespace": "ServerlessJobManager",
                    "metrics_by_stage": True,
                    "metrics_by_service": False,
                    "metrics_by_job": False,
                    "metrics_by_function": False,
                    "memory_alarm_pct": 90,
                },
            }
        },
    }


def terraform(directory: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"}
    done = subprocess.run(
        ["terraform", *arguments, "-no-color", "-input=false"],
        cwd=directory,
        env=environment | {"TF_VAR_endpoint": os.environ["AWS_ENDPOINT_URL"]},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture
def function_name(tmp_path: Path) -> Iterator[str]:
    prefix = f"sjm-vpc{uuid.uuid4().hex[:8]}"
    (tmp_path / "provider.tf").write_text(provider_blocks(chosen_provider()))
    (tmp_path / "variables.tf").write_text((LOCAL / "variables.tf").read_text())
    (tmp_path / "main.tf.json").write_text(json.dumps(root_module(prefix)))
    terraform(tmp_path, "init")
    try:
        terraform(tmp_path, "apply", "-auto-approve")
        yield f"{prefix}-validate-job"
    finally:
        terraform(tmp_path, "destroy", "-auto-approve", "-refresh=false")


def test_a_function_with_a_network_is_created_and_invoked(aws: Any, function_name: str) -> None:
    lambdas = aws.client("lambda")
    network = lambdas.get_function_configuration(FunctionName=function_name)["VpcConfig"]
    assert (network["SubnetIds"], network["SecurityGroupIds"]) == tuple(NETWORK.values())

    job = {"schedule": "rate(60 minutes)", "invocation_type": "http"}
    for target, words in (("http://10.20.0.10/", None), ("http://127.0.0.1/", "is a loopback address")):
        event = {"service_name": "billing", "job_name": "nightly", "job": job | {"invocation_target": target}}
        answer = lambdas.invoke(FunctionName=function_name, Payload=json.dumps(event).encode())
        result = answer["Payload"].read().decode()
        assert "FunctionError" not in answer, result
        if words is None:
            assert json.loads(result)["job"]["schedule"] == "rate(1 hour)"
        else:
            assert words in result


def test_the_local_stage_calls_loopback_addresses_and_no_other_private_ones(scenario: Scenario) -> None:
    for address in ("10.20.0.10", "192.168.0.1", "[fd00::1]"):
        refusal = scenario.put("inward", expected=(400, 422), invocation_target=f"http://{address}/").body
        assert "private address" in json.dumps(refusal)
    scenario.put("here", invocation_target="http://127.0.0.1:1/")
