"""Neither the logs nor Step Functions' history hold callback secrets, payloads or results."""

import json
from typing import Any

from tests.integration.polling import poll
from tests.integration.scenario import Scenario


def all_log_lines(aws: Any, prefix: str) -> list[str]:
    """Every log line of the stage's functions and state machines."""
    logs = aws.client("logs")
    groups = logs.get_paginator("describe_log_groups").paginate().build_full_result()["logGroups"]
    lines: list[str] = []
    for group in groups:
        if prefix in group["logGroupName"]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            lines += [event["message"] for page in pages for event in page["events"]]
    return lines


def logs_with(scenario: Scenario, *expected: tuple[str, ...]) -> str:
    """All log lines, as soon as each of the expected texts stand in one line. Lambda writes late."""

    def look() -> str | None:
        lines = all_log_lines(scenario.aws, scenario.outputs["prefix"])
        are_there = (any(all(text in line for text in texts) for line in lines) for texts in expected)
        return "\n".join(lines) if all(are_there) else None

    return poll(look, 60, f"{expected} in the functions' logs")


def test_secrets_stay_out_of_logs_and_results_out_of_step_functions(scenario: Scenario) -> None:
    payload = json.dumps(
        {"do": "succeed", "state": "state-7f3a", "seconds": 1, "heartbeats": 1, "note": "pay-91c2"}
    )
    with scenario.service(over_sns=True) as service:
        scenario.put("a", payload=payload)
        scenario.put("b", payload='{"do": "fail", "error": "Oops", "note": "pay-91c2"}')
        first = scenario.tick()
        for at_ms in (first, scenario.tick(first + 1000)):
            scenario.wait_until("a", at_ms, "success")
            scenario.wait_until("b", at_ms, "fail")
            scenario.machine("a", at_ms)
            scenario.machine("b", at_ms)
        secrets = [received.notification["callback_url"].rpartition(".")[2] for received in service.received]
    history = json.dumps(
        [scenario.machine_events(name, at_ms) for name in ("a", "b") for at_ms in (first, first + 1000)],
        default=str,
    )
    assert len(secrets) == 4
    for secret in (*secrets, "state-7f3a", "pay-91c2", "callback_url"):
        assert secret not in history
    task_tokens = {
        details["task_token"]
        for details in _dicts(json.loads(history))
        if isinstance(details.get("task_token"), str)
    }
    ends = [scenario.execution_id(name, at_ms) for name in ("a", "b") for at_ms in (first, first + 1000)]
    logs = logs_with(scenario, *(("execution finished", each) for each in ends))
    for secret in (*secrets, *task_tokens, "state-7f3a", "pay-91c2"):
        assert secret not in logs


def test_of_a_failure_step_functions_shows_error_and_summary_and_logs_show_the_errors_name(
    scenario: Scenario,
) -> None:
    """As docs/threat-model.md says, under the risks that remain."""
    error = {"name": "Bill.Locked", "detail": "detail-55aa"}
    behaviours = {
        "object": {"do": "fail", "error": error, "summary": "summary-2c7d"},
        "text": {"do": "fail", "error": "Bill.Missing", "summary": "summary-9e01"},
        "success": {"do": "succeed", "summary": "summary-b3f6"},
    }
    with scenario.service(over_sns=True):
        for name, behaviour in behaviours.items():
            scenario.put(name, payload=json.dumps(behaviour))
        at_ms = scenario.tick()
        for name in behaviours:
            scenario.wait_until(name, at_ms, "success" if name == "success" else "fail")
            scenario.machine(name, at_ms)
    history = {name: json.dumps(scenario.machine_events(name, at_ms), default=str) for name in behaviours}
    for shown in ("Bill.Locked", "detail-55aa", "summary-2c7d"):
        assert shown in history["object"]
    for shown in ("Bill.Missing", "summary-9e01"):
        assert shown in history["text"]
    assert "summary-b3f6" not in history["success"]
    ends = [("execution finished", scenario.execution_id(name, at_ms)) for name in behaviours]
    logs = logs_with(scenario, *ends, ("Bill.Locked",), ("Bill.Missing",))
    for hidden in ("detail-55aa", "summary-2c7d", "summary-9e01", "summary-b3f6"):
        assert hidden not in logs


def _dicts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for inner in value.values() for found in _dicts(inner))]
    if isinstance(value, list):
        return [found for inner in value for found in _dicts(inner)]
    return []
