"""What the roles of the stage's functions may do, held against what the whole suite saw them do.

After a run of every test, on an emulator that notes what its IAM decides: each action that a policy allows
must have been used, by that statement and on that resource, and no function may have been refused anything
but what test_roles.py tries. The emulator does not enforce the roles of state machines; these are compared
with what they invoke in test_state_machines.py.
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

# What AWS itself does in a function's name, or checks beside a call; the emulator asks no policy of it.
BY_AWS = {
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    "logs:CreateLogStream": "Lambda keeps what the function writes",
    "logs:PutLogEvents": "Lambda keeps what the function writes",
    # https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
    "xray:PutTelemetryRecords": "the daemon beside the function sends its segments",
    "xray:PutTraceSegments": "the daemon beside the function sends its segments",
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    "events:TagResource": "PutRule with tags is checked for it too",
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    "sqs:SendMessage": "Lambda sends what was tried in vain to the dead-letter queue",
}
# A statement with this condition is for a service that uses the key on the function's way to it.
# https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
THROUGH_A_SERVICE = "kms:ViaService"


# Topics are the jobs' choice; one that the stage may not use is refused, which the service is told.
TOPICS_OF_JOBS = {
    ("notify_service", "sns:Publish"),
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
    """What IAM decided of one call; ``statement`` is empty if none spoke of it."""

    role: str
    statement: str
    action: str
    resource: str
    allowed: bool


def grants_of(role: str, document: Mapping[str, Any]) -> Iterator[Grant]:
    """What a policy document allows, without what only AWS itself does by it."""
    for statement in document["Statement"]:
        if statement["Effect"] != "Allow" or _is_for_services(statement):
            continue
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                if action not in BY_AWS:
                    yield Grant(role, statement["Sid"], action, resource)


def _is_for_services(statement: Mapping[str, Any]) -> bool:
    return any(THROUGH_A_SERVICE in keys for keys in statement.get("Condition", {}).values())


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def never_used(grants: Iterable[Grant], decisions: Iterable[Decision]) -> list[Grant]:
    """The grants by which nothing was ever allowed."""
    used: dict[tuple[str, str, str], set[str]] = {}
    for each in decisions:
        if each.allowed:
            used.setdefault((each.role, each.statement, each.action), set()).add(each.resource)
    return [
        grant
        for grant in grants
        if not any(
            _fits(grant.resource, resource)
            for resource in used.get((grant.role, grant.statement, grant.action), ())
        )
    ]


def _fits(pattern: str, resource: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource) is not None


def refused(decisions: Iterable[Decision], tried: Iterable[tuple[str, str]]) -> list[Decision]:
    """What was refused, except these actions of these roles."""
    expected = set(tried)
    return sorted(
        {each for each in decisions if not each.allowed and (each.role, each.action) not in expected},
        key=lambda each: (each.role, each.action, each.resource),
    )


def noted(lines: Iterable[str], roles: Iterable[str], since: float) -> list[Decision]:
    """The decisions on calls of these roles, as local/aws_behaviour/iam.py notes them."""
    wanted, found = set(roles), []
    for note in map(json.loads, lines):
        kind, _, rest = note["principal"].rpartition(":")[2].partition("/")
        role = rest.partition("/")[0]
        if kind == "assumed-role" and role in wanted and note["at"] >= since:
            found.append(Decision(role, note["statement"], note["action"], note["resource"], note["allowed"]))
    return found


def complaints(since: float) -> list[str]:
    """What is wrong with the stage's roles, a sentence each, after all tests ran."""
    import boto3

    from tests.integration.test_roles import MAY_NOT

    functions: dict[str, str] = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())["function_names"]
    with Path(os.environ["IAM_DECISIONS"]).open() as notes:
        decisions = noted(notes, functions.values(), since)
    iam, grants = boto3.client("iam"), list[Grant]()
    for role in functions.values():
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            grants += grants_of(role, document)
    on_purpose = {(name, attempt.action) for name, attempt in MAY_NOT.items()} | TOPICS_OF_JOBS
    tried = [(functions[name], action) for name, action in on_purpose]
    return [
        *(
            f"{grant.role} never used {grant.action} on {grant.resource}, by {grant.statement}"
            for grant in never_used(grants, decisions)
        ),
        *(f"{each.role} was refused {each.action} on {each.resource}" for each in refused(decisions, tried)),
    ]


# --- when it is done -------------------------------------------------------------------------------------

_started = pytest.StashKey[float]()
_said = pytest.StashKey[list[str]]()


def is_of_everything(config: pytest.Config) -> bool:
    """Whether no test was left out by the command line."""
    option = config.option
    chosen = (option.keyword, option.markexpr, option.lf, option.stepwise, option.collectonly)
    left_out = (option.deselect, option.ignore, option.ignore_glob)
    return config.args_source is config.ArgsSource.TESTPATHS and not any((*chosen, *left_out))


def pytest_configure(config: pytest.Config) -> None:
    """The same decision is noted once a minute at most, so this minute's count from its beginning."""
    config.stash[_started] = time.time() // 60 * 60


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Finds what is to be said, and fails the run for it; a test that failed is no witness."""
    is_worker = hasattr(session.config, "workerinput")
    if is_worker or session.exitstatus != pytest.ExitCode.OK or "IAM_DECISIONS" not in os.environ:
        return
    if is_of_everything(session.config):
        session.config.stash[_said] = complaints(session.config.stash[_started])
        if session.config.stash[_said]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says it."""
    said = config.stash.get(_said, [])
    if said:
        terminalreporter.section("roles of functions, against what all tests did", red=True)
        for line in said:
            terminalreporter.line(line)
