"""tests/grants.py compares the functions' policies with the calls that the tests made."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.grants import Decision, Grant, decisions_in, grants_of, never_used, unexpected_refusals

TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/jobs"
RULES = "arn:aws:events:us-east-1:000000000000:rule/sjm-test-schedule-*"


def statement(sid: str, action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allowed(sid: str, action: str, resource: str, role: str = "get-job") -> Decision:
    return Decision(role, sid, action, resource, allowed=True)


def test_each_action_on_each_resource_is_a_grant() -> None:
    policy = document(
        statement("ReadJobs", ["dynamodb:GetItem", "dynamodb:Query"], [TABLE, f"{TABLE}/index/a"])
    )

    assert len(set(grants_of("get-job", policy))) == 4


def test_permissions_that_only_aws_uses_are_no_grants() -> None:
    via = {"StringEquals": {"kms:ViaService": "sns.us-east-1.amazonaws.com"}}
    policy = document(
        statement("WriteItsOwnLogs", "logs:PutLogEvents", "*"),
        statement("KeepTicksThatFailed", ["sqs:SendMessage"], "*"),
        statement("EncryptEvents", ["kms:Decrypt"], "*", Condition=via),
        statement(
            "OpenSecrets", "kms:Decrypt", "*", Condition={"StringEquals": {"kms:EncryptionContext:a": "b"}}
        ),
    )

    assert [grant.statement for grant in grants_of("get-job", policy)] == ["OpenSecrets"]


@pytest.mark.parametrize(
    "seen",
    [
        [],
        [allowed("Other", "events:PutRule", RULES.replace("*", "1"))],
        [allowed("MakeRules", "events:DeleteRule", RULES.replace("*", "1"))],
        [allowed("MakeRules", "events:PutRule", "arn:aws:events:us-east-1:000000000000:rule/sjm-test-reap")],
        [allowed("MakeRules", "events:PutRule", RULES.replace("*", "1"), role="list-jobs")],
        [Decision("get-job", "MakeRules", "events:PutRule", RULES.replace("*", "1"), allowed=False)],
    ],
    ids=["nothing", "another statement", "another action", "another resource", "another role", "refused"],
)
def test_a_grant_is_unused_if_it_allowed_no_call(seen: list[Decision]) -> None:
    grant = Grant("get-job", "MakeRules", "events:PutRule", RULES)

    assert never_used([grant], seen) == [grant]
    assert never_used([grant], [*seen, allowed("MakeRules", "events:PutRule", RULES.replace("*", "1"))]) == []


def test_a_refused_call_is_reported_once_unless_a_test_expects_it() -> None:
    seen = [
        Decision("get-job", "", "dynamodb:PutItem", TABLE, allowed=False),
        Decision("get-job", "", "dynamodb:Scan", TABLE, allowed=False),
        allowed("ReadJobs", "dynamodb:GetItem", TABLE),
    ]

    assert unexpected_refusals([*seen, *seen], [("get-job", "dynamodb:PutItem")]) == [seen[1]]


def test_only_calls_of_the_functions_roles_since_the_start_count() -> None:
    note: dict[str, Any] = {
        "at": 100.0,
        "principal": "arn:aws:sts::000000000000:assumed-role/get-job/session",
        "action": "dynamodb:GetItem",
        "resource": TABLE,
        "statement": "ReadJobs",
        "allowed": True,
    }
    others: list[dict[str, Any]] = [
        {"at": 99.0},
        {"principal": "arn:aws:sts::000000000000:assumed-role/other/session"},
        {"principal": "arn:aws:iam::000000000000:user/get-job"},
    ]
    lines = [json.dumps(note | other) for other in ({}, *others)]

    assert decisions_in(lines, ["get-job"], 100) == [allowed("ReadJobs", "dynamodb:GetItem", TABLE)]


SUITE = """
def test_passes():
    pass
"""
PLUGIN = """
import tests.grants
from tests.grants import pytest_configure, pytest_sessionfinish, pytest_terminal_summary
tests.grants.complaints = lambda since: ["get-job never used dynamodb:Scan"]
"""


@pytest.mark.parametrize(("arguments", "code"), [(["-n1", "-q"], 1), (["-k", "passes"], 0), (["tests"], 0)])
def test_a_run_of_all_tests_fails_if_there_are_complaints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_suite.py").write_text(SUITE)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    monkeypatch.setenv("IAM_DECISIONS", "notes")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:schemathesis", "-p", "plugin", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "never used" in done.stdout) == (code, code == 1), done.stdout + done.stderr
