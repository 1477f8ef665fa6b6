"""After a run of all tests, compares the policies of the stage's functions with the calls that they made.

The emulator notes each decision of its IAM. Each action that a policy allows must have been used, by that
statement and on that resource. No call of a function may have been refused, except those that test_roles.py
tries. The emulator does not enforce the roles of state machines; test_state_machines.py compares these with
the functions that the machines invoke.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.exhaustive import runs_all_tests

# AWS uses these permissions itself, or checks them together with another call. The emulator does not check
# them.
USED_BY_AWS = {
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    "logs:CreateLogStream": "Lambda stores the function's logs",
    "logs:PutLogEvents": "Lambda stores the function's logs",
    # https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
    "xray:PutTelemetryRecords": "the daemon beside the function sends its segments",
    "xray:PutTraceSegments": "the daemon beside the function sends its segments",
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    "events:TagResource": "AWS checks it for PutRule with tags",
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    "sqs:SendMessage": "Lambda sends failed invocations to the dead-letter queue",
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
    "sqs:DeleteMessage": "Lambda polls the queue of the function",
    "sqs:GetQueueAttributes": "Lambda polls the queue of the function",
    "sqs:ReceiveMessage": "Lambda polls the queue of the function",
}
# A statement with this condition is used by an AWS service, which uses the key when the function calls it.
# https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
THROUGH_A_SERVICE = "kms:ViaService"


# Only executions that the version before started invoke these. The simulation runs such executions
# (tests/simulation/test_simulation.py), and no test on a stage does.
OF_THE_VERSION_BEFORE = {"begin_execution", "notify_service"}

# Jobs name their topics. IAM refuses a topic that the stage may not use, and the manager reports that.
TOPICS_OF_JOBS = {
    ("run_execution", "sns:Publish"),
    ("test_job", "sns:Publish"),
    ("test_target", "sns:GetTopicAttributes"),
}


@dataclass(frozen=True)
class Grant:
    """One action on one resource, or pattern of resources, that a statement of a role's policy allows."""

    role: str
    statement: str
    action: str
    resource: str


@dataclass(frozen=True)
class Decision:
    """IAM's decision on one call. ``statement`` is empty if no statement applies."""

    role: str
    statement: str
    action: str
    resource: str
    allowed: bool


def grants_of(role: str, document: Mapping[str, Any]) -> Iterator[Grant]:
    """The grants of a policy document, without those that only AWS itself uses."""
    for statement in document["Statement"]:
        if statement["Effect"] != "Allow" or _is_for_services(statement):
            continue
        for action in _as_list(statement["Action"]):
            for resource in _as_list(statement["Resource"]):
                if action not in USED_BY_AWS:
                    yield Grant(role, statement["Sid"], action, resource)


def _is_for_services(statement: Mapping[str, Any]) -> bool:
    return any(THROUGH_A_SERVICE in keys for keys in statement.get("Condition", {}).values())


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def never_used(grants: Iterable[Grant], decisions: Iterable[Decision]) -> list[Grant]:
    """The grants that allowed no call."""
    used: dict[tuple[str, str, str], set[str]] = {}
    for each in decisions:
        if each.allowed:
            used.setdefault((each.role, each.statement, each.action), set()).add(each.resource)
    return [
        grant
        for grant in grants
        if not any(
            _matches(grant.resource, resource)
            for resource in used.get((grant.role, grant.statement, grant.action), ())
        )
    ]


def _matches(pattern: str, resource: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource) is not None


def unexpected_refusals(decisions: Iterable[Decision], expected: Iterable[tuple[str, str]]) -> list[Decision]:
    """The refused calls, except the expected ones. ``expected`` has pairs of role and action."""
    left_out = set(expected)
    return sorted(
        {each for each in decisions if not each.allowed and (each.role, each.action) not in left_out},
        key=lambda each: (each.role, each.action, each.resource),
    )


def decisions_in(lines: Iterable[str], roles: Iterable[str], since: float) -> list[Decision]:
    """The decisions on calls of these roles, in the notes that local/aws_behaviour/iam.py writes."""
    wanted, found = set(roles), []
    for note in map(json.loads, lines):
        kind, _, rest = note["principal"].rpartition(":")[2].partition("/")
        role = rest.partition("/")[0]
        if kind == "assumed-role" and role in wanted and note["at"] >= since:
            found.append(Decision(role, note["statement"], note["action"], note["resource"], note["allowed"]))
    return found


def complaints(since: float) -> list[str]:
    """The problems of the functions' roles, a sentence each, after all tests ran."""
    import boto3

    from tests.integration.test_roles import MAY_NOT

    functions: dict[str, str] = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())["function_names"]
    with Path(os.environ["IAM_DECISIONS"]).open() as notes:
        decisions = decisions_in(notes, functions.values(), since)
    iam, grants = boto3.client("iam"), list[Grant]()
    for role in (name for key, name in functions.items() if key not in OF_THE_VERSION_BEFORE):
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            grants += grants_of(role, document)
    expected = {(name, attempt.action) for name, attempt in MAY_NOT.items()} | TOPICS_OF_JOBS
    refusals = unexpected_refusals(decisions, [(functions[name], action) for name, action in expected])
    return [
        *(
            f"{grant.role} never used {grant.action} on {grant.resource}, by {grant.statement};"
            " remove it from the policy, or test the code that needs it"
            for grant in never_used(grants, decisions)
        ),
        *(
            f"{each.role} was refused {each.action} on {each.resource}; allow it in the policy,"
            " or expect it in test_roles.py"
            for each in refusals
        ),
    ]


# --- the hooks of pytest ---------------------------------------------------------------------------------

_started = pytest.StashKey[float]()
_complaints = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Remembers when this minute began, because the emulator notes a repeated decision once a minute."""
    config.stash[_started] = time.time() // 60 * 60


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run if there are complaints. Does nothing if a test failed, whose calls may be missing."""
    is_worker = hasattr(session.config, "workerinput")
    if is_worker or session.exitstatus != pytest.ExitCode.OK or "IAM_DECISIONS" not in os.environ:
        return
    if runs_all_tests(session.config):
        session.config.stash[_complaints] = complaints(session.config.stash[_started])
        if session.config.stash[_complaints]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the complaints."""
    found = config.stash.get(_complaints, [])
    if found:
        terminalreporter.section("policies of functions that do not match the calls of all tests", red=True)
        for line in found:
            terminalreporter.line(line)
