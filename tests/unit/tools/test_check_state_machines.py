import json
from typing import Any

import pytest

from tools.check_state_machines import PROJECT, problems_in


def task(**changes: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:${partition}:states:::lambda:invoke",
        "TimeoutSeconds": 5,
        "Retry": [{"ErrorEquals": ["Lambda.Unknown"], "JitterStrategy": "FULL"}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Failed"}],
        "End": True,
    } | changes


def machine(**states: dict[str, Any]) -> str:
    return json.dumps({"QueryLanguage": "JSONata", "StartAt": "Work", "States": states})


def without(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != name}


FAILED = {"Type": "Fail"}


def test_a_correct_machine_has_no_problems() -> None:
    assert problems_in(machine(Work=task(), Failed=FAILED)) == []


@pytest.mark.parametrize(
    ("work", "problem"),
    [
        (without(task(), "TimeoutSeconds"), 'has no "TimeoutSeconds"'),
        (without(task(), "Retry"), 'has no "Retry"'),
        (task(Retry=[{"ErrorEquals": ["Lambda.Unknown"]}]), "retries Lambda.Unknown without full jitter"),
        (task(Retry=[{"ErrorEquals": ["States.ALL"], "JitterStrategy": "FULL"}]), "instead of named errors"),
        (task(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken"), "HeartbeatSeconds"),
        (task(Comment="${ANY.thing}"), "begins no placeholder"),
        (task(ResultPath="$.x"), 'Field "ResultPath" not allowed'),
    ],
)
def test_a_task_that_breaks_one_rule_has_one_problem(work: dict[str, Any], problem: str) -> None:
    found = problems_in(machine(Work=work, Failed=FAILED))

    assert len(found) == 1
    assert problem in found[0]


def test_a_task_in_a_branch_is_checked_too() -> None:
    inner = {"StartAt": "Inner", "States": {"Inner": without(task(Catch=[]), "TimeoutSeconds")}}
    found = problems_in(machine(Work={"Type": "Parallel", "Branches": [inner], "End": True}))

    assert found == ['Work[0].Inner: has no "TimeoutSeconds"', 'Work[0].Inner: has no "Catch"']


def test_a_placeholder_outside_a_string_is_reported_as_invalid_json() -> None:
    assert "not JSON" in problems_in('{"TimeoutSeconds": ${seconds}}')[0]


@pytest.mark.parametrize("file", sorted(PROJECT.glob("statemachine*.asl.json")), ids=lambda file: file.name)
def test_the_projects_machines_have_no_problems(file: Any) -> None:
    assert problems_in(file.read_text()) == []
