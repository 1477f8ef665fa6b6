"""No role of a stage may access what another stage of its account has."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.unit.terraform.rendering import ACCOUNT, PARTITION, REGION, Resource, longest

# Tests in one xdist group share one rendering of the stage.
pytestmark = pytest.mark.xdist_group("rendered_stage")

# AWS knows no resource for these.
WITHOUT_A_RESOURCE = ("xray:", "logs:", "events:ListRules", "scheduler:ListSchedules")
OTHER = "sjm-qa"


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def statements(stage: list[Resource]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The statements of all roles, each with the address of its policy."""
    for resource in stage:
        if resource.type == "aws_iam_role_policy":
            for statement in json.loads(resource.values["policy"])["Statement"]:
                yield resource.address, statement


def arns_of_another(stage: list[Resource]) -> set[str]:
    """The ARNs that another stage has, with those that its functions make at run time."""
    prefix = f"{longest('name')}-{longest('stage')}"
    known = {str(resource.values["arn"]) for resource in stage if resource.values.get("arn")}
    place = f"{REGION}:{ACCOUNT}"
    made = {
        f"arn:{PARTITION}:events:{place}:rule/{OTHER}-schedule-0123456789abcdef",
        f"arn:{PARTITION}:scheduler:{place}:schedule/default/{OTHER}-schedule-0123456789abcdef",
        f"arn:{PARTITION}:states:{place}:execution:{OTHER}-run-job:1",
    }
    return {arn.replace(prefix, OTHER) for arn in known if prefix in arn} | made


def test_no_role_may_access_another_stage(stage: list[Resource]) -> None:
    theirs = arns_of_another(stage)
    found = list(statements(stage))
    assert len(theirs) > 100
    assert len({address for address, _ in found}) > 40

    for address, statement in found:
        for pattern in as_list(statement["Resource"]):
            if pattern == "*":
                actions = as_list(statement["Action"])
                assert all(action.startswith(WITHOUT_A_RESOURCE) for action in actions), address
            else:
                reached = {arn for arn in theirs if fnmatchcase(arn, pattern)}
                assert not reached, f"{address}: {statement.get('Sid')}"
