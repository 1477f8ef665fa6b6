"""A path names one job: names that are not valid are refused, and a record answers only under its own."""

import json
from typing import Any

import pytest

from functions.cancel_execution.handler import handler as cancel_execution
from functions.get_execution.handler import handler as get_execution
from functions.list_executions.handler import handler as list_executions
from functions.rerun_execution.handler import handler as rerun_execution
from functions.start_execution.handler import handler as start_execution
from jobmanager.core.clock import now_ms
from jobmanager.core.names import job_guid
from jobmanager.executions import by_hand
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from tests.unit.functions.examples import api_event, due, lambda_context, save_job, stored

pytestmark = pytest.mark.usefixtures("cloud")

# The names of each pair have the guid of a job of billing.
FORGED = [("billing", "-dash", "billing-", "dash"), ("billing", "a--b", "billing--a", "b")]


@pytest.mark.parametrize(("service", "job", "forged_service", "forged_job"), FORGED)
@pytest.mark.parametrize(
    ("handler", "method"),
    [
        (get_execution, "GET"),
        (cancel_execution, "POST"),
        (rerun_execution, "POST"),
        (start_execution, "POST"),
        (list_executions, "GET"),
    ],
)
def test_no_path_of_another_service_leads_to_an_execution(
    handler: Any,
    method: str,
    service: str,
    job: str,
    forged_service: str,
    forged_job: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A policy for services/billing-*/* must not reach the jobs of billing."""
    monkeypatch.setattr(by_hand, "start_machine_of", lambda record: None)
    assert job_guid(service, job) == job_guid(forged_service, forged_job)
    at_ms = now_ms()
    save_job(job, service)
    record = begin(due(job, service, at_ms), at_ms)
    path: dict[str, Any] = {"service_name": forged_service, "job_name": forged_job}
    if handler not in (start_execution, list_executions):
        path["execution_id"] = record["execution_id"]
    body = '{"payload": "x"}' if handler is start_execution else None
    event = api_event(method, body, **path)
    event["headers"]["idempotency-key"] = "k"
    answer = handler(event, lambda_context())

    assert answer["statusCode"] in (400, 404)
    assert record["execution_id"] not in json.dumps(json.loads(answer["body"]).get("results", []))
    assert stored(record)["status"] == "running"
    assert "reruns" not in stored(record)
    own = api_event("POST", service_name=service, job_name=job)
    own["headers"]["idempotency-key"] = "k"
    assert start_execution(own, lambda_context())["statusCode"] == 201


def test_a_record_is_not_read_under_the_names_of_another_job() -> None:
    """Even if a record with the guid of these names were there."""
    at_ms = now_ms()
    save_job()
    record = begin(due(at_ms=at_ms), at_ms)
    executions.update_if(
        record["execution_id"],
        "SET job_name = :other",
        "attribute_exists(job_guid)",
        {":other": "other"},
    )
    path: dict[str, Any] = {"service_name": "billing", "job_name": "nightly"}
    one = get_execution(api_event(execution_id=record["execution_id"], **path), lambda_context())
    assert one["statusCode"] == 404
    listed = list_executions(api_event(**path), lambda_context())
    assert json.loads(listed["body"])["results"] == []
