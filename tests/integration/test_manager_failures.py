"""If the manager itself fails, an execution ends, is in the history and publishes its event, as any other."""

import json

from local.sample_service import QueueListener
from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario


def test_an_execution_that_cannot_begin_fails_with_an_event_and_a_record(scenario: Scenario) -> None:
    """No event says that it started. A subscriber that counts starts and ends must expect that."""
    published: list[Json] = []
    wanted = {"service_name": [scenario.service_name]}

    def note(event: Json, _trace_header: str | None) -> None:
        published.extend([scenario.checked_event(event)] if event["event"].startswith("execution.") else [])

    with QueueListener(scenario.outputs["events_topic_arn"], wanted, note, queue_name="published"):
        scenario.put("a", exclusive=True)
        at_ms = scenario.start({"service_name": scenario.service_name, "job_name": "a"})  # without a schedule
        execution = scenario.wait_until("a", at_ms, "fail")
        poll(lambda: published, 20, "the event")
    assert execution["error"] == "Manager.ExecutionNotBegun"
    assert execution["cause"].startswith("KeyError: ")
    assert [(event["event"], event["execution_id"]) for event in published] == [
        ("execution.failed", execution["execution_id"])
    ]
    assert (published[0]["error"], published[0]["fault"]) == ("Manager.ExecutionNotBegun", "manager")
    assert [each["execution_id"] for each in scenario.history("a")] == [execution["execution_id"]]
    assert "lock_execution" not in scenario.job("a")
    machine = scenario.machine("a", at_ms)
    assert (machine["status"], machine["error"]) == ("FAILED", "Manager.ExecutionNotBegun")

    def metrics() -> list[Json]:
        lines = [line for line in _log_of(scenario, "finish_execution") if "ManagerFailed" in line]
        return [line for line in lines if line["service"] == scenario.service_name]

    poll(metrics, 60, "the metric")


def _log_of(scenario: Scenario, function: str) -> list[Json]:
    pages = scenario.aws.client("logs").get_paginator("filter_log_events")
    group = f"/aws/lambda/{scenario.outputs['function_names'][function]}"
    found = pages.paginate(logGroupName=group).build_full_result()["events"]
    return [json.loads(event["message"]) for event in found if event["message"].startswith("{")]
