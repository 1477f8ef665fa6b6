"""Roles: with the keys of its own role, each function is refused an action that it should not have.

All other tests show that each function may do its own work. tests/grants.py checks that it may do no more.
"""

import io
import json
import os
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.unit.terraform.blocks import function_modules

RETURNS_ITS_KEYS = """
import os
def handler(event, context):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return [os.environ[name] for name in names]
"""
REFUSALS = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
NOBODY = "0" * 8

type Json = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """An action, and how to try it on a stage with given keys. It does no harm if it succeeds."""

    action: str
    on: Callable[[boto3.Session, Json], object]


def on_table(action: str, operation: str, table: str, **parameters: Any) -> Attempt:
    return Attempt(
        f"dynamodb:{action}",
        lambda keys, stage: getattr(keys.client("dynamodb"), operation)(
            TableName=stage[f"{table}_table_name"], **parameters
        ),
    )


def of_job(name: str = "Key") -> Json:
    return {name: {"service_name": {"S": NOBODY}, "job_name": {"S": NOBODY}}}


def of_execution(name: str = "Key") -> Json:
    return {name: {"job_guid": {"S": NOBODY}, "execution_id": {"S": NOBODY}}}


def of_limit(name: str = "Key") -> Json:
    return {name: {"service_name": {"S": NOBODY}, "limit_name": {"S": NOBODY}}}


def publish(topic: str) -> Attempt:
    return Attempt(
        "sns:Publish",
        lambda keys, stage: keys.client("sns").publish(TopicArn=stage[f"{topic}_topic_arn"], Message="{}"),
    )


def start(machine: str = "state_machine") -> Attempt:
    """Starts a state machine with an input that makes it fail."""
    return Attempt(
        "states:StartExecution",
        lambda keys, stage: keys.client("stepfunctions").start_execution(
            stateMachineArn=stage[f"{machine}_arn"], input="{}"
        ),
    )


def _stop(keys: boto3.Session, stage: Json) -> object:
    arn = stage["state_machine_arn"].replace(":stateMachine:", ":execution:")
    return keys.client("stepfunctions").stop_execution(executionArn=f"{arn}:{NOBODY}")


def on_rule(action: str, operation: str, rule: str = "schedule-none", **parameters: Any) -> Attempt:
    return Attempt(
        f"events:{action}",
        lambda keys, stage: getattr(keys.client("events"), operation)(
            Name=f"{stage['prefix']}-{rule}", **parameters
        ),
    )


def on_key(action: str, purpose: str) -> Attempt:
    """Uses the key for a purpose that is not the function's, or in a direction that the function may not."""

    def use(keys: boto3.Session, stage: Json) -> object:
        kms, context = keys.client("kms"), {"purpose": purpose}
        key = f"alias/{stage['prefix']}"
        if action == "Encrypt":
            return kms.encrypt(KeyId=key, Plaintext=b"-", EncryptionContext=context)
        return kms.decrypt(KeyId=key, CiphertextBlob=b"-" * 64, EncryptionContext=context)

    return Attempt(f"kms:{action}", use)


STOP = Attempt("states:StopExecution", _stop)

# Each is an action that a bug in the function, or an attacker who controls it, might try.
MAY_NOT = {
    # These only read.
    "get_job": on_table("PutItem", "put_item", "jobs", **of_job("Item")),
    "get_chain": on_table("UpdateItem", "update_item", "executions", **of_execution()),
    "get_execution": on_table("UpdateItem", "update_item", "executions", **of_execution()),
    "get_limit": on_table("UpdateItem", "update_item", "limits", **of_limit()),
    "get_openapi": on_table("GetItem", "get_item", "jobs", **of_job()),
    "list_executions": on_table("DeleteItem", "delete_item", "executions", **of_execution()),
    "list_jobs": on_table("UpdateItem", "update_item", "jobs", **of_job()),
    "list_limits": on_table("PutItem", "put_item", "limits", **of_limit("Item")),
    "list_schedules": on_rule("PutRule", "put_rule", ScheduleExpression="rate(7 days)"),
    "list_webhook_secrets": on_key("Decrypt", "webhook-secret"),
    "preview_schedule": on_rule("DescribeRule", "describe_rule"),
    "test_job": on_table("UpdateItem", "update_item", "jobs", **of_job()),
    "test_target": publish("notifications"),
    "validate_job": on_table("GetItem", "get_item", "jobs", **of_job()),
    # These change jobs, and start nothing.
    "delete_job": on_table("DeleteItem", "delete_item", "jobs", **of_job()),
    "manage_job": start(),
    "pause_failing_job": start(),
    "pause_job": STOP,
    "put_job": on_table("PutItem", "put_item", "jobs", **of_job("Item")),
    "put_schedule": on_rule("DeleteRule", "delete_rule"),
    "release_schedule": on_table("UpdateItem", "update_item", "jobs", **of_job()),
    "resume_job": start(),
    "save_job": on_rule("PutRule", "put_rule", ScheduleExpression="rate(7 days)"),
    # These change limits, and no job.
    "delete_limit": on_table("UpdateItem", "update_item", "jobs", **of_job()),
    "put_limit": on_table("DeleteItem", "delete_item", "limits", **of_limit()),
    # These manage secrets that they cannot read.
    "create_webhook_secret": on_key("Decrypt", "webhook-secret"),
    "delete_webhook_secret": on_key("Encrypt", "webhook-secret"),
    # These take part in an execution.
    "backfill_job": start(),
    "begin_execution": publish("notifications"),
    "cancel_execution": start(),
    "cancel_executions": start(),
    "finish_execution": start(),
    "notify_service": start(),
    "receive_callback": publish("notifications"),
    "rerun_execution": STOP,
    "rerun_executions": STOP,
    "run_execution": start(),
    "start_children": on_table("PutItem", "put_item", "executions", **of_execution("Item")),
    "start_due_executions": on_table("PutItem", "put_item", "executions", **of_execution("Item")),
    "start_execution": STOP,
    "start_waiting_executions": on_rule("DeleteRule", "delete_rule"),
    "start_spread_executions": on_table("GetItem", "get_item", "jobs", **of_job()),
    # These maintain what belongs to jobs, and not the stage itself.
    "reap_executions": publish("notifications"),
    "reconcile_schedules": on_rule("DeleteRule", "delete_rule", rule="reap-executions"),
}


def keys_of(aws: Any, role_arn: str) -> boto3.Session:
    """The keys of a role that only Lambda can assume. A temporary function with that role returns them."""
    lambdas, name = aws.client("lambda"), f"role-{uuid.uuid4().hex[:12]}"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("handler.py", RETURNS_ITS_KEYS)
    lambdas.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="handler.handler",
        Role=role_arn,
        Code={"ZipFile": stream.getvalue()},
    )
    try:
        lambdas.get_waiter("function_active_v2").wait(FunctionName=name)
        answer = json.load(lambdas.invoke(FunctionName=name)["Payload"])
    finally:
        lambdas.delete_function(FunctionName=name)
    key_id, secret, token = answer
    return boto3.Session(
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=os.environ["AWS_DEFAULT_REGION"],
    )


@pytest.mark.parametrize("function", sorted(function_modules()))
def test_a_function_is_refused_what_it_should_not_do(aws: Any, outputs: Json, function: str) -> None:
    name = outputs["function_names"][function]
    role_arn = aws.client("lambda").get_function(FunctionName=name)["Configuration"]["Role"]
    keys = keys_of(aws, role_arn)
    attempt = MAY_NOT[function]

    with pytest.raises(ClientError) as error:
        attempt.on(keys, outputs)

    refusal = error.value.response["Error"]
    assert refusal["Code"] in REFUSALS
    assert f"/{name}/" in refusal["Message"]
    assert f"not authorized to perform: {attempt.action} " in refusal["Message"]


def test_every_function_is_listed_and_nothing_else() -> None:
    assert set(MAY_NOT) == set(function_modules())


@pytest.mark.skipif("IAM_DECISIONS" not in os.environ, reason="the emulator is not ours")
def test_the_emulator_records_the_decisions_of_its_iam(aws: Any, outputs: Json) -> None:
    """Without these records, tests/grants.py would find no unused grant and no refusal."""
    from tests.grants import Decision, decisions_in

    role = outputs["function_names"]["get_job"]
    since = time.time() // 60 * 60
    arn = aws.client("lambda").get_function(FunctionName=role)["Configuration"]["Role"]
    keys = keys_of(aws, arn)
    keys.client("dynamodb").get_item(TableName=outputs["jobs_table_name"], **of_job())
    with pytest.raises(ClientError):
        MAY_NOT["get_job"].on(keys, outputs)
    table = f"arn:aws:dynamodb:{os.environ['AWS_DEFAULT_REGION']}:{arn.split(':')[4]}:table/"
    table += outputs["jobs_table_name"]
    expected = {
        Decision(role, "ReadJobs", "dynamodb:GetItem", table, allowed=True),
        Decision(role, "", MAY_NOT["get_job"].action, table, allowed=False),
    }

    with Path(os.environ["IAM_DECISIONS"]).open() as notes:
        assert expected <= set(decisions_in(notes, [role], since))
