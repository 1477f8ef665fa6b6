"""The Python client against a stage: it finds the address, and each method gets its answer."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import Credentials

from sjm.client import (
    BadRequest,
    Conflict,
    ExecutionOver,
    Forbidden,
    Job,
    Manager,
    NotConfigured,
    NotFound,
    PreconditionFailed,
    Retries,
    TargetTestFailed,
)
from tests.integration.conftest import INVOKE_THE_API, UserWith, required
from tests.integration.polling import poll
from tests.integration.scenario import Scenario
from tests.integration.upkeep import only_one


@pytest.fixture
def manager(outputs: dict[str, Any], credentials: Credentials) -> Iterator[Manager]:
    """The client, called as a user who may only call the API."""
    with Manager(
        url=outputs["api_url"],
        credentials=credentials,
        region=required("AWS_DEFAULT_REGION"),
        timeout_seconds=90,
        retries=Retries(max_attempts=6),
    ) as manager:
        yield manager


def job_of(scenario: Scenario, **fields: Any) -> Job:
    job: Any = {"schedule": scenario.schedule, "invocation_type": "sns", **fields}
    return job  # type: ignore[no-any-return]


def test_a_stage_is_found_by_its_name_and_credentials_alone(
    outputs: dict[str, Any], user_with: UserWith
) -> None:
    name, _, stage = outputs["prefix"].partition("-")
    region = required("AWS_DEFAULT_REGION")
    parameter = f"arn:aws:ssm:{region}:*:parameter/{name}/{stage}/api-url"
    may_read = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": parameter}

    with Manager(stage, credentials=user_with(may_read, INVOKE_THE_API), region=region) as manager:
        assert manager.url == outputs["api_url"]
        assert manager.preview_schedule("rate(5 minutes)", count=1)["schedule"] == "rate(5 minutes)"
    with pytest.raises(NotConfigured, match="ssm:GetParameter"):
        _ = Manager(stage, credentials=user_with(INVOKE_THE_API), region=region).url
    reader_of_all = user_with({**may_read, "Resource": "*"})
    with pytest.raises(NotConfigured, match="does not exist"):
        _ = Manager(f"{stage}x", credentials=reader_of_all, region=region).url


def test_a_caller_without_rights_is_forbidden(outputs: dict[str, Any], user_with: UserWith) -> None:
    nothing = {"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": "*"}
    region = required("AWS_DEFAULT_REGION")
    with Manager(url=outputs["api_url"], credentials=user_with(nothing), region=region) as manager:
        with pytest.raises(Forbidden) as raised:
            manager.list_schedules().__iter__().__next__()
        assert raised.value.type == "about:blank"
        assert manager.get_openapi()["info"]["version"] == outputs["version"]


def test_a_job_is_put_read_changed_listed_and_deleted(manager: Manager, scenario: Scenario) -> None:
    service = scenario.service_name
    tags = {"team": f"{service} & co"}
    created = manager.put_job(service, "a", job_of(scenario, owner="Doe, Jane", tags=tags), only_if_new=True)
    assert (created["version"], created["schedule"], created["last_successful_execution"]) == (
        1,
        scenario.schedule,
        {},
    )
    with pytest.raises(PreconditionFailed):
        manager.put_job(service, "a", job_of(scenario), only_if_new=True)
    changed = manager.put_job(
        service, "a", job_of(scenario, owner="Doe, Jane", tags=tags, payload="7"), if_match=1
    )
    assert changed["version"] == 2
    with pytest.raises(PreconditionFailed) as stale:
        manager.put_job(service, "a", job_of(scenario), if_match=[1, 7])
    assert stale.value.document["version"] == 2
    read = manager.get_job(service, "a")
    assert (read["payload"], read["version"], len(read["next_fire_times"] or [])) == ("7", 2, 1)

    manager.put_job(service, "b", job_of(scenario))

    def names(jobs: Any) -> list[str]:
        return sorted(job["job_name"] for job in jobs if job["service_name"] == service)

    assert names(manager.list_jobs(service_name=service, limit=1)) == ["a", "b"]
    assert names(manager.list_jobs(owner=["Doe, Jane", "nobody"], tags=tags)) == ["a"]
    assert names(manager.list_jobs(job_guid=[read["job_guid"]])) == ["a"]
    assert names(manager.list_jobs_of_service(service, job_name=["a", "b"], limit=1)) == ["a", "b"]
    assert names(manager.list_jobs_of_service(service, schedule=scenario.schedule)) == ["a", "b"]
    assert names(manager.search_jobs({"service_name": [service], "tags": tags, "limit": 1})) == ["a"]
    assert names(manager.search_jobs({"service_name": service, "limit": 1})) == ["a", "b"]
    (in_use,) = (each for each in manager.list_schedules(limit=100) if each["schedule"] == scenario.schedule)
    assert (in_use["job_count"], in_use["rule"]) == (2, "in step")

    with pytest.raises(PreconditionFailed):
        manager.delete_job(service, "a", if_match=1)
    manager.delete_job(service, "a", if_match=2)
    manager.delete_job(service, "a")
    manager.delete_job(service, "b", if_match="*")
    with pytest.raises(NotFound):
        manager.get_job(service, "a")


def test_a_wrong_field_and_a_target_that_is_not_there_are_problems(
    manager: Manager, scenario: Scenario
) -> None:
    service = scenario.service_name
    with pytest.raises(BadRequest) as wrong:
        manager.put_job(service, "a", job_of(scenario, ttl_seconds=1, retries=3))
    assert {error["pointer"] for error in wrong.value.errors} == {"/ttl_seconds", "/retries"}
    target = "http://127.0.0.1:9/nobody"
    with pytest.raises(TargetTestFailed) as untested:
        manager.put_job(service, "a", job_of(scenario, invocation_type="http", invocation_target=target))
    assert "error" in untested.value.document["seen"]
    manager.put_job(
        service,
        "a",
        job_of(scenario, invocation_type="http", invocation_target=target, test_invocation=False),
    )
    with pytest.raises(TargetTestFailed):
        manager.test_job(service, "a")
    manager.put_job(service, "a", job_of(scenario))
    assert "message_id" in manager.test_job(service, "a")["seen"]


def test_a_job_is_paused_and_resumed(manager: Manager, scenario: Scenario) -> None:
    service = scenario.service_name
    manager.put_job(service, "a", job_of(scenario))
    until = datetime.now(UTC) + timedelta(days=1)
    paused = manager.pause_job(service, "a", "migration", until=until)["paused"]
    assert (paused["reason"], paused["until"][:10]) == ("migration", until.date().isoformat())
    assert "until" not in manager.pause_job(service, "a", "migration")["paused"]
    assert "paused" not in manager.resume_job(service, "a")


def test_executions_are_started_followed_listed_cancelled_and_rerun(
    manager: Manager, scenario: Scenario
) -> None:
    service = scenario.service_name
    began = datetime.now(UTC) - timedelta(minutes=5)
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as seen:
        manager.put_job(service, "a", job_of(scenario, exclusive=True, ttl_seconds=300))
        first = manager.start_execution(service, "a", payload="one", idempotency_key="once")
        again = manager.start_execution(service, "a", payload="one", idempotency_key="once")
        assert first["execution_id"] == again["execution_id"]
        seen.wait_for(lambda s: len(s.received) == 1, 60, "the first notification")
        url = seen.received[0].notification["callback_url"]
        with pytest.raises(Conflict) as held:
            manager.start_execution(service, "a")
        assert held.value.document["lock_execution"] == first["execution_id"]
        answer = manager.call_back(url, {"status": "processing", "progress": 50})
        assert (answer["status"], answer["progress"]) == ("running", 50)
        cancelled = manager.cancel_execution(service, "a", first["execution_id"], reason="wrong ledger")
        assert cancelled["status"] == "cancelled"
        assert manager.cancel_execution(service, "a", first["execution_id"])["status"] == "cancelled"
        with pytest.raises(ExecutionOver) as over:
            manager.call_back(url, {"status": "success"})
        assert over.value.document["execution_status"] == "cancelled"
        poll(lambda: "lock_execution" not in manager.get_job(service, "a"), 60, "free lock")

        second = manager.rerun_execution(service, "a", first["execution_id"])
        assert (second["rerun_of"], second["payload"]) == (first["execution_id"], "one")
        seen.wait_for(lambda s: len(s.received) == 2, 60, "the second notification")
        url = seen.received[1].notification["callback_url"]
        assert manager.call_back(url, {"status": "success", "state": "s-1"})["status"] == "success"
        poll(
            lambda: manager.get_execution(service, "a", second["execution_id"])["status"] == "success",
            60,
            "success of the second",
        )
        done = manager.get_execution(service, "a", second["execution_id"])
        assert (done["state"], done["payload"]) == ("s-1", "one")

    both = [second["execution_id"], first["execution_id"]]

    def ids(executions: Any) -> list[str]:
        return [execution["execution_id"] for execution in executions]

    assert ids(manager.list_executions_of_job(service, "a", since=began, limit=1)) == both
    assert ids(manager.list_executions_of_job(service, "a", status="cancelled")) == both[1:]
    assert ids(manager.list_executions_of_service(service, job_name="a", by="started_at", limit=1)) == both
    assert ids(manager.list_executions(service_name=service, status=["success", "fail"])) == both[:1]
    assert ids(manager.list_executions(job_guid=first["job_guid"], until=began)) == []
    assert ids(manager.list_executions_of_service(service, reason=["lock_held"])) == []
    assert ids(manager.search_executions({"service_name": [service], "limit": 1})) == both
    with pytest.raises(NotFound):
        manager.get_execution(service, "other", first["execution_id"])


def test_schedules_are_previewed_and_reconciled(manager: Manager) -> None:
    preview = manager.preview_schedule("cron(0,30 2 ? * MON-FRI *)", count=3)
    assert len(preview["fire_times"]) == 3
    assert "counted_from" in manager.preview_schedule("rate(5 minutes)")
    with only_one("reconciler"):
        report = manager.reconcile_schedules()
    assert report.keys() == {"checked", "changed", "missed", "completed", "complete"}


def test_limits_are_put_listed_and_deleted(manager: Manager, scenario: Scenario) -> None:
    service = scenario.service_name
    created = manager.put_limit(service, "db-main", {"slots": 2}, only_if_new=True)
    with pytest.raises(PreconditionFailed):
        manager.put_limit(service, "db-main", {"slots": 3}, only_if_new=True)
    changed = manager.put_limit(service, "db-main", {"per_second": 5}, if_match=created["version"])
    assert (changed["version"], "slots" in changed, changed["holders"]) == (2, False, [])
    assert manager.get_limit(service, "db-main") == changed
    assert list(manager.list_limits(service, limit=1)) == [changed]
    manager.put_job(service, "nightly", job_of(scenario, limit="db-main"))
    with pytest.raises(Conflict, match="nightly"):
        manager.delete_limit(service, "db-main")
    manager.delete_job(service, "nightly")
    manager.delete_limit(service, "db-main", if_match="*")
    with pytest.raises(NotFound):
        manager.get_limit(service, "db-main")


def test_webhook_secrets_are_created_listed_and_deleted(manager: Manager, service_name: str) -> None:
    first = manager.create_webhook_secret(service_name)
    second = manager.create_webhook_secret(service_name, overlap_seconds=3600)
    assert second["secret"].startswith("whsec_")
    assert [each["secret_id"] for each in second["others"]] == [first["secret_id"]]
    listed = list(manager.list_webhook_secrets(service_name))
    assert [each["secret_id"] for each in listed] == [second["secret_id"], first["secret_id"]]
    assert "expires_at" in listed[1]
    with pytest.raises(Conflict):
        manager.delete_webhook_secret(service_name, second["secret_id"])
    manager.delete_webhook_secret(service_name, first["secret_id"])
    manager.delete_webhook_secret(service_name, second["secret_id"], force=True)
    assert list(manager.list_webhook_secrets(service_name)) == []
    with pytest.raises(NotFound):
        manager.delete_webhook_secret(service_name, first["secret_id"])
