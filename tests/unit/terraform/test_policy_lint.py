"""parliament finds no problem in the rendered policies except those that are explained here."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.terraform.rendering import Resource

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # parliament imports pkg_resources and leaves files open
    from parliament import analyze_policy_string

# Tests in one xdist group share one rendering of the stage.
pytestmark = pytest.mark.xdist_group("rendered_stage")

# The authorization reference lists no resource type for these actions. But AWS checks them against the state
# machine whose Lambda task issued the token: https://github.com/aws/aws-cdk/pull/8486
WITH_THE_TOKEN = {("RESOURCE_MISMATCH", "states:SendTask")}
# By the statement's id: the finding, and a word in its details.
EXPLAINED: dict[str, set[tuple[str, str]]] = {
    "AnswerWaitingExecutions": WITH_THE_TOKEN,
    "FailTasksOfWaitingExecutions": WITH_THE_TOKEN,
    # The action is also for executions of express machines, which this machine has none of. AWS allows it on
    # the others alone, too: https://docs.aws.amazon.com/step-functions/latest/dg/stepfunctions-iam.html
    "SeeWhetherAnExecutionOfTheRunJobMachineRuns": {("RESOURCE_MISMATCH", "express")},
    # As AWS writes it, with ArnLike on a key that holds an ARN as a text, and actions that never have it:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    "LetCloudwatchLogsKeepTheLogsOfThisStage": {
        ("MISMATCHED_TYPE", "ArnLike"),
        ("UNKNOWN_CONDITION_FOR_ACTION", "kms:Describe"),
    },
}


def policies(stage: list[Resource]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy of a stage: of roles, keys, topics and queues. Elsewhere, `policy` is computed."""
    for resource in stage:
        if resource.type == "aws_iam_role":
            yield f"{resource.address}, trust policy", json.loads(resource.values["assume_role_policy"])
        elif resource.type.endswith("_policy") or resource.type == "aws_kms_key":
            yield resource.address, json.loads(resource.values["policy"])


def findings(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """parliament's findings: the statement's id, the finding, and its details."""
    for statement in document["Statement"]:
        # parliament does not know trust policies, which have no Resource. Their resource is the role itself.
        alone = {"Resource": "arn:aws:iam::123456789012:role/itself"} | statement
        policy = analyze_policy_string(
            json.dumps({"Version": document["Version"], "Statement": [with_plain_booleans(alone)]})
        )
        for found in policy.findings:
            yield statement.get("Sid", ""), found.issue, json.dumps(found.detail)


def with_plain_booleans(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement with `"false"` in place of `["false"]`, which means the same but confuses parliament."""
    conditions = dict(statement.get("Condition", {}))
    if "Bool" in conditions:
        conditions["Bool"] = {
            key: value[0] if isinstance(value, list) and len(value) == 1 else value
            for key, value in conditions["Bool"].items()
        }
    return statement | ({"Condition": conditions} if conditions else {})


def is_explained(address: str, sid: str, issue: str, detail: str) -> bool:
    # In the policy of a key, the resource "*" means the key itself:
    # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    if address.startswith("aws_kms_key.") and issue == "RESOURCE_STAR":
        return True
    return any(issue == known and word in detail for known, word in EXPLAINED.get(sid, ()))


def test_every_finding_in_a_policy_is_explained(stage: list[Resource]) -> None:
    found = {(address, *finding) for address, document in policies(stage) for finding in findings(document)}

    assert sorted(finding for finding in found if not is_explained(*finding)) == []


def test_all_policies_of_a_stage_are_checked(stage: list[Resource]) -> None:
    functions = sum(resource.type == "aws_lambda_function" for resource in stage)
    machines = sum(resource.type == "aws_sfn_state_machine" for resource in stage)
    topics_and_queues = sum(resource.type in {"aws_sns_topic", "aws_sqs_queue"} for resource in stage)

    # Each function, each machine and EventBridge Scheduler has a role with its trust and its own policy.
    assert len(list(policies(stage))) == 2 * (functions + machines + 1) + topics_and_queues + 1


def test_every_explained_finding_still_exists(stage: list[Resource]) -> None:
    found = {finding for _, document in policies(stage) for finding in findings(document)}
    expected = {(sid, issue, word) for sid, known in EXPLAINED.items() for issue, word in known}

    assert {
        (sid, issue, word)
        for sid, issue, word in expected
        if not any(sid == s and issue == i and word in detail for s, i, detail in found)
    } == set()


QUEUE = "arn:aws:sqs:eu-central-1:123456789012:q"


@pytest.mark.parametrize(
    ("broken", "issue"),
    [
        ({"Action": "sqs:SendMesage", "Resource": QUEUE}, "UNKNOWN_ACTION"),
        ({"Action": "sqs:SendMessage", "Resource": "*"}, "RESOURCE_STAR"),
        ({"Action": "dynamodb:GetItem", "Resource": QUEUE}, "RESOURCE_MISMATCH"),
        (
            {"Action": "dynamodb:Query", "Resource": "arn:aws:dynamodb:eu-central-1:123456789012:tables/t"},
            "RESOURCE_MISMATCH",
        ),
        (
            {
                "Action": "sqs:SendMessage",
                "Resource": QUEUE,
                "Condition": {"StringEquals": {"sqs:Colour": "red"}},
            },
            "UNKNOWN_CONDITION_FOR_ACTION",
        ),
        (
            {
                "Action": "sqs:SendMessage",
                "Resource": QUEUE,
                "Condition": {"NumericEquals": {"aws:SourceArn": ["1"]}},
            },
            "MISMATCHED_TYPE",
        ),
    ],
)
def test_a_broken_statement_is_found(broken: dict[str, Any], issue: str) -> None:
    document = {"Version": "2012-10-17", "Statement": [{"Sid": "LetItBeFound", "Effect": "Allow"} | broken]}

    assert issue in {found for _, found, _ in findings(document)}
