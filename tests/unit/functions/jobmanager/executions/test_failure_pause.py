"""A job with pause_after_failures is paused after so many failures in a row, and not after a success."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from functions.pause_failing_job.handler import handler as pause_handler
from jobmanager.aws import invocations
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions.failure_streak import count_in_streak
from jobmanager.executions.record import Execution
from jobmanager.jobs import changes, pausing
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, Pausing
from jobmanager.schedules import triggers
from tests.unit.functions.examples import NOON_MS, lambda_context, save_job
from tests.unit.functions.lambdas import Lambdas
from tests.unit.functions.published import subscribe

pytestmark = pytest.mark.usefixtures("cloud")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The schedules whose triggers were settled."""
    schedules: list[str] = []
    monkeypatch.setattr(triggers, "settle_all", schedules.extend)
    monkeypatch.setattr(triggers, "put", lambda schedule: None)
    return schedules


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What pause_failing_job was invoked with."""
    stand_in = Lambdas("pause-failing-job")
    monkeypatch.setattr(invocations, "lambdas", lambda: stand_in)
    return stand_in.asked


def run_id(name: str) -> str:
    return execution_id(job_guid("billing", "nightly"), NOON_MS, name)


def end(name: str, status: str, at_ms: int = NOON_MS) -> None:
    record = {
        "execution_id": run_id(name),
        "status": status,
        "started_at_ms": NOON_MS,
        "finished_at_ms": at_ms,
    }
    count_in_streak(jobs.find("billing", "nightly"), cast(Execution, record), at_ms)


def job() -> Job:
    return jobs.read("billing", "nightly")


def handle(events: list[dict[str, str]]) -> list[bool]:
    """Does what Lambda does with the invocations."""
    return [pause_handler(event, lambda_context())["paused"] for event in events]


def test_a_job_is_paused_after_its_last_failure_in_a_row(
    asked: list[dict[str, str]], settled: list[str]
) -> None:
    save_job(pause_after_failures=3)
    end("a", "fail")
    end("b", "timeout")
    assert asked == []
    end("c", "fail")
    assert asked == [{"service_name": "billing", "job_name": "nightly", "execution_id": run_id("c")}]
    assert handle(asked) == [True]
    paused = job()["paused"]
    assert (paused["code"], paused["paused_by"], job()["updated_by"]) == (
        "failures_in_a_row",
        "manager",
        "manager",
    )
    assert (
        paused["reason"] == f"3 failures in a row, the last one in {run_id('c')}; pause_after_failures is 3"
    )
    assert "until" not in paused
    assert "active_schedule" not in job()
    assert settled == ["rate(5 minutes)"]


def test_the_pause_is_told_as_any_pause(asked: list[dict[str, str]]) -> None:
    published = subscribe()
    save_job(pause_after_failures=1)
    end("a", "fail")
    handle(asked * 2)
    (event,) = [each for each in published() if each["event"] == "job.paused"]
    assert event["paused"]["code"] == "failures_in_a_row"
    assert event["updated_by"] == "manager"


@pytest.mark.parametrize("ends", [["fail", "success", "fail"], ["fail", "skipped", "cancelled"]])
def test_failures_that_are_not_in_a_row_pause_nothing(asked: list[dict[str, str]], ends: list[str]) -> None:
    save_job(pause_after_failures=2)
    for number, status in enumerate(ends):
        end(f"e{number}", status, NOON_MS + number)
    assert asked == []


def test_a_failure_settled_twice_counts_once_and_asks_again(asked: list[dict[str, str]]) -> None:
    save_job(pause_after_failures=2)
    end("a", "fail")
    end("a", "fail")
    assert asked == []
    end("b", "fail")
    end("b", "fail")
    assert [each["execution_id"] for each in asked] == [run_id("b")] * 2
    assert handle(asked) == [True, True]
    version = job()["version"]
    assert handle(asked) == [True, True]
    assert job()["version"] == version


def test_an_invocation_that_failed_is_repeated_with_the_settlement(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(pause_after_failures=1)

    def refuse(**request: Any) -> None:
        raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")

    with monkeypatch.context() as down:
        down.setattr(invocations, "lambdas", lambda: SimpleNamespace(invoke=refuse))
        with pytest.raises(ClientError):
            end("a", "fail")
    end("a", "fail")
    assert [each["execution_id"] for each in asked] == [run_id("a")]


def test_a_success_between_the_failure_and_the_pause_prevents_it(asked: list[dict[str, str]]) -> None:
    save_job(pause_after_failures=1)
    end("a", "fail")
    end("b", "success", NOON_MS + 1)
    assert handle(asked) == [False]
    assert "paused" not in job()


def test_a_success_at_the_very_moment_of_the_pause_prevents_it(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(pause_after_failures=1)
    end("a", "fail")
    replace = jobs.replace
    successes = iter(["b"])

    def raced(*arguments: Any) -> bool:
        for name in successes:
            end(name, "success", NOON_MS + 1)
        return replace(*arguments)

    monkeypatch.setattr(jobs, "replace", raced)
    assert handle(asked) == [False]
    assert "paused" not in job()


def test_after_a_resume_a_job_may_fail_as_often_again(asked: list[dict[str, str]]) -> None:
    save_job(pause_after_failures=2)
    end("a", "fail")
    end("b", "fail")
    assert handle(asked) == [True]
    end("by hand", "fail")
    pausing.resume_job("billing", "nightly", "ann", NOON_MS + 1000)
    assert handle(asked) == [False]
    end("c", "fail")
    assert len(asked) == 1
    end("d", "fail")
    assert handle(asked[1:]) == [True]


@pytest.mark.parametrize("how", ["paused", "paused until a time", "disabled", "deleted"])
def test_a_job_that_does_not_run_by_its_schedule_is_not_paused(asked: list[dict[str, str]], how: str) -> None:
    save_job(pause_after_failures=1)
    end("a", "fail")
    if how == "disabled":
        save_job(pause_after_failures=1, enabled=False)
    elif how == "deleted":
        changes.delete("billing", "nightly", "ann", NOON_MS)
    else:
        until = {"until": 2 * NOON_MS} if how.endswith("time") else {}
        changes.pause("billing", "nightly", cast(Pausing, {"reason": "a rest", **until}), "ann", NOON_MS)
    assert handle(asked) == [False]
    found = jobs.find("billing", "nightly")
    assert found is not None
    assert found.get("paused", {}).get("code") is None
    end("b", "fail")
    assert len(asked) == 1


def test_both_limits_of_failures_stand_side_by_side(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "jobmanager.executions.failure_streak.publish", lambda client, message: told.append(message["event"])
    )
    save_job(alert_after_failures=1, pause_after_failures=2)
    end("a", "fail")
    assert (told, asked) == (["job.failing"], [])
    end("b", "fail")
    assert len(asked) == 1
    end("c", "success", NOON_MS + 1)
    assert told == ["job.failing", "job.recovered"]


def test_without_alert_after_failures_nothing_is_told_of_the_streak(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "jobmanager.executions.failure_streak.publish", lambda client, message: told.append(message["event"])
    )
    save_job(pause_after_failures=5)
    for name in "abc":
        end(name, "fail")
    end("d", "success", NOON_MS + 1)
    assert told == []
