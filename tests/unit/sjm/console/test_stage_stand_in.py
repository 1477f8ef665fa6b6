"""The stand-in of a stage is like the API: every answer fits the OpenAPI document, and it remembers."""

import time
from collections.abc import Iterator
from itertools import islice

import pytest

from sjm.client import (
    BadRequest,
    Conflict,
    ExecutionOver,
    Job,
    NotFound,
    PreconditionFailed,
    ScheduleLimitReached,
    TargetTestFailed,
    Unavailable,
)
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage

DAILY: Job = {"schedule": "cron(0 2 * * ? *)", "invocation_type": "sns"}


@pytest.fixture
def server() -> Iterator[StageServer]:
    with served(Stage(schedule_limit=2)) as server:
        yield server


def test_jobs_are_kept_with_versions_and_refused_by_the_managers_own_rules(server: StageServer) -> None:
    with server.manager() as manager:
        assert manager.put_job("billing", "nightly", DAILY)["version"] == 1
        assert manager.put_job("billing", "nightly", {**DAILY, "owner": "ann"}, if_match=1)["version"] == 2
        with pytest.raises(PreconditionFailed) as stale:
            manager.put_job("billing", "nightly", DAILY, if_match=1)
        assert stale.value.document["version"] == 2
        with pytest.raises(BadRequest) as wrong:
            manager.put_job("billing", "nightly", {**DAILY, "ttl_seconds": 1, "schedule": "cron(x)"})
        assert {each["pointer"] for each in wrong.value.errors} == {"/ttl_seconds", "/schedule"}
        server.stage.target_answers["https://billing.example/jobs"] = {"http_status": 503, "duration_ms": 9}
        webhook: Job = {
            **DAILY,
            "invocation_type": "http",
            "invocation_target": "https://billing.example/jobs",
        }
        with pytest.raises(TargetTestFailed) as untested:
            manager.put_job("billing", "hourly", webhook)
        assert untested.value.document["seen"]["http_status"] == 503
        manager.put_job(
            "billing", "hourly", {**webhook, "schedule": "rate(1 hour)", "test_invocation": False}
        )
        with pytest.raises(ScheduleLimitReached) as full:
            manager.put_job("billing", "weekly", {**DAILY, "schedule": "cron(0 3 ? * SUN *)"})
        assert full.value.document["nearest_schedules"] == ["cron(0 2 * * ? *)", "rate(1 hour)"]
        assert [each["job_count"] for each in manager.list_schedules(limit=1)] == [1, 1]
        assert [job["job_name"] for job in manager.list_jobs(owner="ann")] == ["nightly"]
        assert manager.get_job("billing", "hourly")["next_fire_times"] is None
        assert manager.pause_job("billing", "nightly", "migration")["paused"]["reason"] == "migration"
        assert manager.get_job("billing", "nightly")["next_fire_times"] == []
        assert len(manager.resume_job("billing", "nightly").get("next_fire_times") or []) == 0
        manager.delete_job("billing", "nightly")
        with pytest.raises(NotFound):
            manager.get_job("billing", "nightly")
        assert len(manager.preview_schedule("cron(0 2 * * ? *)", count=3)["fire_times"]) == 3
        assert manager.reconcile_schedules()["complete"]


def test_executions_run_retry_end_and_are_run_again(server: StageServer) -> None:
    stage = server.stage
    with server.manager() as manager:
        retry: Job = {**DAILY, "exclusive": True, "retry": {"max_attempts": 2}}
        manager.put_job("billing", "nightly", retry)
        (first,) = stage.fire(DAILY["schedule"])
        with pytest.raises(Conflict) as held:
            manager.start_execution("billing", "nightly")
        assert held.value.document["lock_execution"] == first["execution_id"]
        url = stage.callback_url("nightly")
        assert manager.call_back(url, {"status": "processing", "progress": 40})["progress"] == 40
        assert manager.call_back(url, {"status": "fail", "error": "Locked"})["status"] == "running"
        with pytest.raises(ExecutionOver):
            manager.call_back(url, {"status": "success"})
        stage.next_attempt(first["execution_id"])
        manager.call_back(stage.callback_url("nightly"), {"status": "fail", "error": {"name": "Locked"}})
        ended = manager.get_execution("billing", "nightly", first["execution_id"])
        assert [each["status"] for each in ended["attempts"]] == ["fail", "fail"]
        again = manager.rerun_execution("billing", "nightly", first["execution_id"])
        assert again["rerun_of"] == first["execution_id"]
        assert manager.cancel_execution("billing", "nightly", again["execution_id"])["status"] == "cancelled"
        with pytest.raises(Conflict):
            manager.cancel_execution("billing", "nightly", first["execution_id"])
        manager.pause_job("billing", "nightly", "migration")
        time.sleep(1)
        (skipped,) = stage.fire(DAILY["schedule"])
        assert skipped["reason"]["code"] == "job_paused"
        ids = [each["execution_id"] for each in manager.list_executions(limit=1)]
        assert ids == [skipped["execution_id"], again["execution_id"], first["execution_id"]]
        assert len(list(manager.list_executions_of_job("billing", "nightly", status="fail"))) == 1


def test_a_job_runs_after_all_of_its_parents(server: StageServer) -> None:
    stage = server.stage
    with server.manager() as manager:
        for name in ("invoices", "payments"):
            manager.put_job("billing", name, DAILY)
        with pytest.raises(BadRequest):
            manager.put_job("billing", "report", {"after": {"job": "nobody"}, "invocation_type": "sns"})
        after: Job = {
            "after": [{"job": "invoices"}, {"job": "payments", "on": ["fail"]}],
            "invocation_type": "sns",
        }
        manager.put_job("billing", "report", after)
        assert manager.get_job("billing", "invoices")["children"] == ["report"]
        first = manager.start_execution("billing", "invoices")
        second = manager.start_execution("billing", "payments")
        stage.end(first["execution_id"], "success")
        assert list(manager.list_executions_of_job("billing", "report")) == []
        stage.end(second["execution_id"], "fail")
        (report,) = manager.list_executions_of_job("billing", "report")
        chain = manager.get_chain("billing", "report", report["execution_id"])
        assert chain["roots"] == [first["execution_id"], second["execution_id"]]
        assert [each["job_name"] for each in chain["executions"]] == ["invoices", "payments", "report"]
        assert [each["status"] for each in report["parents"]] == ["success", "fail"]
        manager.delete_job("billing", "invoices")
        assert manager.get_job("billing", "report")["orphaned_by"] == ["invoices"]


def test_secrets_are_kept_without_what_is_secret(server: StageServer) -> None:
    with server.manager() as manager:
        first = manager.create_webhook_secret("billing")
        second = manager.create_webhook_secret("billing", overlap_seconds=60)
        manager.delete_webhook_secret("billing", first["secret_id"])
        with pytest.raises(Conflict):
            manager.delete_webhook_secret("billing", second["secret_id"])
        assert [each.keys() for each in manager.list_webhook_secrets("billing")] == [
            {"secret_id", "created_at", "created_by"}
        ]


def test_a_failure_is_answered_once(server: StageServer) -> None:
    server.stage.fail_next("GET /jobs", 503)
    server.stage.fail_next("GET /jobs", 503)
    with server.manager() as manager:
        with pytest.raises(Unavailable):
            list(manager.list_jobs())
        assert list(manager.list_jobs()) == []


def test_a_hundred_thousand_jobs_and_a_million_executions_are_there_at_once() -> None:
    with served(Stage(jobs=100_000, executions=1_000_000)) as server, server.manager() as manager:
        began = time.monotonic()
        jobs = list(islice(manager.list_jobs(limit=100), 250))
        assert jobs[249]["job_name"] == "job-249"
        failed = list(islice(manager.list_executions(status=["fail", "timeout"], limit=100), 30))
        assert {each["status"] for each in failed} == {"fail", "timeout"}
        one = manager.get_execution(
            failed[0]["service_name"], failed[0]["job_name"], failed[0]["execution_id"]
        )
        assert one["execution_id"] == failed[0]["execution_id"]
        of_a_job = list(manager.list_executions_of_job("team-0042", "job-017"))
        assert len(of_a_job) == 10
        assert {each["job_name"] for each in of_a_job} == {"job-017"}
        assert sum(each["job_count"] for each in manager.list_schedules(limit=100)) == 100_000
        last = list(manager.list_jobs_of_service("team-0099"))
        assert (len(last), last[-1]["job_name"]) == (1000, "job-999")
        assert time.monotonic() - began < 60
