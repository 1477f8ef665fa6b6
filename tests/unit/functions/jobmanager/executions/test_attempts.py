"""Retries: an attempt ends once, and another follows if the job allows it, even if a function dies."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from functions.receive_callback.handler import handler as callback_handler
from jobmanager.core.errors import NotificationUndelivered
from jobmanager.delivery.machines import StandardTask
from jobmanager.delivery.notify import notify
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.cancel import cancel
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.history import list_executions
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.reap import reap
from jobmanager.executions.record import Execution
from jobmanager.executions.settle import machine_output
from jobmanager.executions.view import execution_view
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.validation import definition, job_errors
from tests.unit.functions.examples import NOON_MS, api_event, due, finish, lambda_context, save_job
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud", "machines")
NOON = NOON_MS // 1000
TTL = 100
RETRY = {"max_attempts": 3, "interval_seconds": 60, "backoff_rate": 2, "on": ["fail", "timeout"]}
SILENCE = {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "no heartbeat"}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of callbacks and of answers, in seconds after noon."""

    def set_clock(seconds: int) -> None:
        for module in ("functions.receive_callback.handler", "jobmanager.delivery.notify"):
            monkeypatch.setattr(f"{module}.now_ms", lambda: NOON_MS + seconds * 1000)

    set_clock(10)
    return set_clock


def begun(target: Target, **fields: Any) -> dict[str, Any]:
    """Begins an execution at noon. Returns its input in the state machine."""
    job = {"exclusive": True, "ttl_seconds": TTL, "retry": RETRY, "invocation_target": target.url}
    save_job(**{**job, **fields})
    return machine_input(begin(due(), NOON_MS))


def stored() -> Execution:
    record = executions.find(due()["execution_id"])
    assert record is not None
    return record


def call(target: Target, body: dict[str, Any], notification: int = -1) -> tuple[int, dict[str, Any]]:
    """Calls back with the URL of a notification."""
    token = target.bodies[notification]["callback_url"].rpartition("/")[2]
    answer = callback_handler(api_event("POST", json.dumps(body), callback_token=token), lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


FAIL = {"status": "fail", "error": "LedgerBusy", "summary": "busy"}


@pytest.fixture
def failed(target: Target, at: Callable[[int], None]) -> dict[str, Any]:
    """Fails the first attempt ten seconds after noon. Returns the execution's input in the state machine."""
    execution = begun(target)
    notify(execution, StandardTask("task-1"), NOON_MS)
    assert call(target, FAIL)[0] == 200
    return execution


def test_a_failure_with_attempts_left_is_recorded_and_the_execution_continues(
    failed: dict[str, Any], machines: Machines
) -> None:
    record = stored()
    assert (record["status"], "error" in record, "finished_at_ms" in record) == ("running", False, False)
    assert record["attempts"] == [
        {
            "attempt": 1,
            "status": "fail",
            "service_invoked_at_ms": NOON_MS,
            "error": '"LedgerBusy"',
            "summary": "busy",
            "finished_at_ms": NOON_MS + 10_000,
            "next_attempt_at": NOON + 70,
        }
    ]
    assert machines.signals == [("task-1", "AttemptEnded")]
    goes_on = json.loads(machines.causes[0])
    assert goes_on == failed | {
        "attempt": 2,
        "next_attempt_at": "2026-11-23T12:01:10Z",
        "timeout_seconds": failed["max_duration_seconds"] - 70,
    }


def test_the_lock_is_kept_until_the_next_attempt_begins(failed: dict[str, Any], target: Target) -> None:
    job = jobs.read("billing", "nightly")
    # The lock outlasts the deadline by one minute, in which the retry of a timeout is decided.
    assert (stored()["lock_expires_at"], job["lock_expires_at"]) == (NOON + 70 + TTL, NOON + 70 + TTL + 60)
    other = begin(due(at_ms=NOON_MS + 69_000), NOON_MS + 69_000)
    assert other["status"] == "skipped"
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    assert stored()["lock_expires_at"] == NOON + 71 + TTL
    assert jobs.read("billing", "nightly")["fencing_token"] == target.bodies[1]["fencing_token"] == 1


def test_the_lock_outlasts_the_deadline_only_if_timeouts_are_retried(target: Target) -> None:
    begun(target)
    assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON + TTL + 60
    save_job("other", exclusive=True, ttl_seconds=TTL, retry={**RETRY, "on": ["fail"]})
    begin(due("other"), NOON_MS)
    assert jobs.read("billing", "other")["lock_expires_at"] == NOON + TTL


def test_the_second_attempt_has_its_own_number_id_and_callback_url(
    failed: dict[str, Any], target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    first, second = target.bodies
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert (first["execution_id"], first["invocation_latency_ms"]) == (
        second["execution_id"],
        second["invocation_latency_ms"],
    )
    identifier = failed["execution_id"]
    assert [h["webhook-id"] for h, _ in target.requests] == [identifier, f"{identifier}-2"]
    at(80)
    assert call(target, {"status": "success", "state": "s"})[0] == 200
    assert machines.signals[-1] == ("task-2", "success")
    view = execution_view(stored())
    assert (view["status"], view["attempt"], view["duration_ms"]) == ("success", 2, 9000)
    assert [(a["attempt"], a["status"], a.get("error")) for a in view["attempts"]] == [
        (1, "fail", "LedgerBusy"),
        (2, "success", None),
    ]
    assert "attempts" not in execution_view(stored(), whole=False)


def test_a_repeated_failure_is_200_and_signals_only_its_own_task(
    failed: dict[str, Any], target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    status, answer = call(target, FAIL)
    assert (status, answer["status"], answer["next_attempt_at"]) == (200, "running", "2026-11-23T12:01:10Z")
    assert machines.signals == [("task-1", "AttemptEnded")] * 2, "the first signal may have been lost"
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    assert call(target, FAIL, notification=0)[0] == 200
    assert len(machines.signals) == 2, "a callback of the first attempt does not signal the second task"
    record_outcome(stored(), "success", {}, NOON_MS + 80_000)
    finish(machine_input(stored()), NOON_MS + 80_000)
    assert call(target, FAIL, notification=0)[0] == 200


def test_a_long_failure_is_stored_shortened_and_its_repetition_is_recognized(
    target: Target, at: Callable[[int], None]
) -> None:
    execution = begun(target)
    notify(execution, StandardTask("task-1"), NOON_MS)
    large = {"status": "fail", "error": {"name": "x", "rows": ["ü" * 100] * 100}, "summary": "s" * 1024}
    assert [call(target, large)[0] for _ in range(2)] == [200, 200]
    ended = stored()["attempts"][0]
    assert len(json.loads(ended["error"])) == 1025
    assert call(target, {**large, "summary": "other"})[0] == 410


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("body", [{"status": "processing"}, {"status": "success"}, {"status": "fail"}])
def test_other_callbacks_of_an_earlier_attempt_are_410(
    failed: dict[str, Any],
    target: Target,
    machines: Machines,
    at: Callable[[int], None],
    body: dict[str, Any],
    begins: bool,
) -> None:
    if begins:
        notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    before = stored()
    at(90)
    status, answer = call(target, body, notification=0)
    assert (status, answer["execution_status"]) == (410, "running")
    assert answer["detail"] == "Attempt 1 has ended as fail, and another follows: stop working on this one."
    assert (stored(), len(machines.signals)) == (before, 1)


def test_a_token_of_one_attempt_cannot_be_changed_into_that_of_another(
    failed: dict[str, Any], target: Target
) -> None:
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    tokens = [body["callback_url"].rpartition("/")[2] for body in target.bodies]
    identifier = failed["execution_id"]
    forged = tokens[0].replace(f"{identifier}.", f"{identifier}.2."), tokens[1].replace(".2.", ".")
    for token in forged:
        event = api_event("POST", '{"status": "success"}', callback_token=token)
        assert callback_handler(event, lambda_context())["statusCode"] == 403


def test_a_heartbeat_timeout_that_the_machine_reports_is_retried(target: Target, machines: Machines) -> None:
    execution = begun(target)
    notify(execution, StandardTask("task-1"), NOON_MS)
    for _ in range(2):
        answer = machine_output(finish({**execution, **SILENCE}, NOON_MS + TTL * 1000))
        assert (answer["status"], answer["attempt"]) == ("running", 2)
        assert answer["next_attempt_at"] == "2026-11-23T12:02:40Z"
    assert [(a["status"], a["cause"]) for a in stored()["attempts"]] == [("timeout", "no heartbeat")]
    assert "settled_at_ms" not in stored()
    assert jobs.read("billing", "nightly")["lock_execution"] == execution["execution_id"]


def test_a_recorded_failure_wins_over_a_heartbeat_timeout_of_the_machine(
    failed: dict[str, Any],
) -> None:
    answer = machine_output(finish({**failed, **SILENCE}, NOON_MS + TTL * 1000))
    assert (answer["status"], answer["next_attempt_at"]) == ("running", "2026-11-23T12:01:10Z")
    assert [a["status"] for a in stored()["attempts"]] == ["fail"]


def test_the_first_of_two_ends_of_an_attempt_wins(target: Target) -> None:
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    record = stored()
    assert end_attempt(record, "fail", {}, NOON_MS + 1000) is not None
    assert end_attempt(record, "timeout", {}, NOON_MS + 1000) is None
    assert end_attempt(record, "success", {}, NOON_MS + 1000) is None
    assert (stored()["status"], [a["status"] for a in stored()["attempts"]]) == ("running", ["fail"])


def test_the_last_attempt_ends_the_execution_and_counts_once(
    target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    execution = begun(target, alert_after_failures=2)
    for number, seconds in enumerate((0, 100, 300), start=1):
        notify(execution, StandardTask(f"task-{number}"), NOON_MS + seconds * 1000)
        at(seconds + 1)
        assert call(target, FAIL)[0] == 200
        if number < 3:
            execution = machine_input(stored())
    assert machines.signals[-1] == ("task-3", "LedgerBusy")
    record = finish(
        {**execution, "status": "fail", "error": "LedgerBusy", "cause": "busy"}, NOON_MS + 302_000
    )
    assert (record["status"], len(record["attempts"]), "settled_at_ms" in record) == ("fail", 2, True)
    assert [a["attempt"] for a in execution_view(record)["attempts"]] == [1, 2, 3]
    assert jobs.read("billing", "nightly")["streak"]["failures"] == 1


def test_a_stale_invocation_for_an_earlier_attempt_sends_no_notification(
    failed: dict[str, Any], target: Target, machines: Machines
) -> None:
    notify(failed, StandardTask("task-1b"), NOON_MS + 11_000)
    assert len(target.bodies) == 1
    assert machines.signals[-1] == ("task-1b", "AttemptEnded")
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    notify(failed, StandardTask("task-1c"), NOON_MS + 72_000)
    assert (len(target.bodies), machines.signals[-1]) == (2, ("task-1b", "AttemptEnded"))


def test_an_attempt_that_finds_its_lock_taken_fails_and_is_not_skipped(
    failed: dict[str, Any], target: Target, machines: Machines
) -> None:
    late = 70 + TTL + 61
    assert begin(due(at_ms=NOON_MS + late * 1000), NOON_MS + late * 1000)["status"] == "running"
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + late * 1000)
    assert len(target.bodies) == 1
    assert (stored()["status"], json.loads(stored()["error"])) == ("fail", "Manager.LockLost")


def test_an_execution_without_its_lock_gets_no_further_attempt(target: Target) -> None:
    execution = begun(target)
    notify(execution, StandardTask("task-1"), NOON_MS)
    begin(due(at_ms=NOON_MS + 161_000), NOON_MS + 161_000)
    assert finish({**execution, **SILENCE}, NOON_MS + 161_000)["status"] == "timeout"
    assert "attempts" not in stored()


@pytest.mark.parametrize(
    "failure",
    [
        {},
        {"status": "fail", "error": "States.Runtime", "cause": ""},
        {"status": "fail", "error": "Manager.ExecutionNotBegun", "cause": ""},
    ],
)
def test_an_internal_failure_is_not_retried(target: Target, failure: dict[str, str]) -> None:
    assert finish({**begun(target), **failure}, NOON_MS)["status"] == "fail"


def test_a_machine_that_finishes_without_an_outcome_fails_the_execution(failed: dict[str, Any]) -> None:
    record = finish({**failed, "status": "running"}, NOON_MS + 20_000)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Manager.NoOutcome")


def test_a_rejected_notification_is_retried_like_any_failure(
    target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    target.script = [404]
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    (ended,) = stored()["attempts"]
    assert (ended["status"], json.loads(ended["error"])) == ("fail", "Job.NotificationRejected")
    assert machines.signals == [("task-1", "AttemptEnded")]


def test_a_failed_sync_job_is_called_again(
    target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    target.script = [404]
    execution = begun(target, **{"async": False, "ttl_seconds": 20})
    notify(execution, StandardTask("task-1"), NOON_MS)
    again = machine_input(stored())
    assert again["timeout_seconds"] == 86_400 - 70
    notify(again, StandardTask("task-2"), NOON_MS + 71_000)
    assert [body["attempt"] for body in target.bodies] == [1, 2]
    assert (stored()["status"], machines.signals[-1]) == ("success", ("task-2", "success"))


def test_progress_belongs_to_its_attempt(target: Target, at: Callable[[int], None]) -> None:
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    call(target, {"status": "processing", "progress": 40})
    call(target, FAIL)
    assert ("progress" in stored(), stored()["attempts"][0]["progress"]) == (False, 40)


def test_a_retry_is_counted_once_and_not_as_a_failure(
    target: Target, at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    for _ in range(2):
        assert call(target, FAIL)[0] == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    metrics = [line for line in lines if "_aws" in line]
    assert [line["service"] for line in metrics if "Retried" in line] == ["billing"]
    assert not [line for line in metrics if "Failed" in line]


def test_a_manager_failure_of_an_attempt_counts_even_if_another_follows(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = begun(target)
    notify(execution, StandardTask("task-1"), NOON_MS)
    finish({**execution, "status": "fail", "error": "KeyError", "cause": "'x'"}, NOON_MS + 1000)
    assert [a["fault"] for a in execution_view(stored())["attempts"] if "fault" in a] == ["manager"]
    assert ("fault" in stored(), "ManagerFailed" in capsys.readouterr().out) == (False, True)


def test_an_execution_cancelled_between_attempts_ends_at_once(
    failed: dict[str, Any], target: Target, machines: Machines
) -> None:
    for _ in range(2):
        ended = cancel(stored(), "by ann", NOON_MS + 20_000)
        assert (ended["status"], ended["settled_at_ms"]) == ("cancelled", NOON_MS + 20_000)
    assert machines.stopped_names == [failed["execution_id"]]
    assert "lock_execution" not in jobs.read("billing", "nightly")
    assert "sweep_shard" not in stored()
    view = execution_view(stored())
    assert (view["attempt"], len(view["attempts"]), "next_attempt_at" in view) == (1, 1, False)
    assert call(target, {"status": "success"})[0] == 410


def deleted(seconds: int) -> None:
    changes.delete("billing", "nightly", "ann", NOON_MS + seconds * 1000)


@pytest.mark.parametrize(
    "created_again_ms", [None, 30_000, 500], ids=["never", "later", "in the second of its creation"]
)
def test_after_its_job_was_deleted_no_further_attempt_begins_and_the_lock_is_free(
    failed: dict[str, Any], target: Target, machines: Machines, created_again_ms: int | None
) -> None:
    deleted(20)
    if created_again_ms is not None:
        save_job(at_ms=NOON_MS + created_again_ms, exclusive=True)
    waiting = machine_input(stored())
    notify(waiting, StandardTask("task-2"), NOON_MS + 71_000)
    assert (len(target.bodies), machines.signals[-1]) == (1, ("task-2", "Job.Cancelled"))
    record = finish({**waiting, "status": "fail", "error": "Job.Cancelled", "cause": ""}, NOON_MS + 72_000)
    detail = "the job was deleted before attempt 2 began"
    assert (record["status"], record["reason"]) == ("cancelled", {"code": "job_deleted", "detail": detail})
    found = list_executions({"reason": "job_deleted"}, NOON_MS + 72_000)["results"]
    assert [each["reason"]["detail"] for each in found] == [detail]
    assert (record["cause"], [a["attempt"] for a in execution_view(record)["attempts"]]) == (detail, [1])
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert "lock_execution" not in job


def test_a_running_attempt_continues_after_its_job_was_deleted(
    failed: dict[str, Any], target: Target, at: Callable[[int], None]
) -> None:
    waiting = machine_input(stored())
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        notify(waiting, StandardTask("task-2"), NOON_MS + 71_000)
    deleted(72)
    notify(waiting, StandardTask("task-2b"), NOON_MS + 73_000)
    at(74)
    assert call(target, {"status": "success"})[0] == 200
    assert stored()["status"] == "success"


def test_a_delayed_first_attempt_does_not_begin_after_its_job_was_deleted(
    target: Target, machines: Machines
) -> None:
    execution = begun(target)
    deleted(20)
    notify(execution, StandardTask("task-1"), NOON_MS + 600_000)
    assert (target.bodies, stored()["status"], stored()["reason"]["code"]) == ([], "cancelled", "job_deleted")


def test_a_pause_lets_a_running_execution_finish_its_attempts(
    failed: dict[str, Any], target: Target, at: Callable[[int], None]
) -> None:
    changes.pause("billing", "nightly", {"reason": "audit"}, "ann", NOON_MS + 20_000)
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    at(72)
    assert [body["attempt"] for body in target.bodies] == [1, 2]
    assert call(target, {"status": "success"})[0] == 200
    assert stored()["status"] == "success"


def test_no_first_notification_is_sent_after_the_max_duration(target: Target, machines: Machines) -> None:
    execution = begun(target, max_duration_seconds=600)
    notify(execution, StandardTask("task-1"), NOON_MS + 600_000)
    assert (target.bodies, stored()["status"], stored()["fault"]) == ([], "fail", "manager")
    assert stored()["cause"] == (
        "the service was not notified of attempt 1: max_duration_seconds, 600, had passed"
    )
    assert machines.signals == [("task-1", "Manager.NotNotified")]


def test_cancelling_a_running_attempt_signals_its_task(failed: dict[str, Any], machines: Machines) -> None:
    notify(machine_input(stored()), StandardTask("task-2"), NOON_MS + 71_000)
    cancel(stored(), "by ann", NOON_MS + 80_000)
    assert (machines.stopped_names, machines.signals[-1]) == ([], ("task-2", "Job.Cancelled"))


def test_an_execution_cancelled_just_before_its_next_attempt_is_not_notified(
    failed: dict[str, Any], target: Target, machines: Machines
) -> None:
    waiting = machine_input(stored())
    record_outcome(stored(), "cancelled", {"cause": "by ann"}, NOON_MS + 70_000)
    notify(waiting, StandardTask("task-2"), NOON_MS + 71_000)
    assert (len(target.bodies), machines.signals[-1]) == (1, ("task-2", "Job.Cancelled"))


def reaped(seconds: int) -> dict[str, int]:
    return reap(NOON_MS + seconds * 1000, lambda: 300_000)


def test_the_reaper_leaves_an_execution_that_waits_for_its_next_attempt(failed: dict[str, Any]) -> None:
    assert reaped(70 + TTL + 60) == {"reaped": 0, "retried": 0, "closed": 0, "restarted": 0}


def test_the_reaper_ends_an_execution_whose_next_attempt_never_began(
    failed: dict[str, Any], machines: Machines
) -> None:
    assert reaped(70 + TTL + 61) == {"reaped": 1, "retried": 0, "closed": 0, "restarted": 0}
    record = stored()
    assert (record["status"], json.loads(record["error"])) == ("fail", "Manager.NotNotified")
    assert record["cause"].startswith("the service was not notified of attempt 2: ")
    assert machines.stopped_names == [failed["execution_id"]]
    assert "lock_execution" not in jobs.read("billing", "nightly")


def test_the_reaper_lets_the_machine_continue_after_a_shorter_deadline(
    target: Target, at: Callable[[int], None], machines: Machines
) -> None:
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    call(target, {"status": "processing", "extend_seconds": 5})
    assert reaped(76) == {"reaped": 0, "retried": 1, "closed": 0, "restarted": 0}
    assert (machines.signals, machines.stopped_names) == ([("task-1", "AttemptEnded")], [])
    assert stored()["attempts"][0]["status"] == "timeout"


def test_the_reaper_ends_an_execution_that_was_never_notified_without_a_retry(target: Target) -> None:
    begun(target)
    assert reaped(TTL + 61) == {"reaped": 1, "retried": 0, "closed": 0, "restarted": 0}
    assert "attempts" not in stored()


def test_the_reaper_ends_an_execution_whose_machine_is_gone_at_the_second_deadline(
    target: Target, machines: Machines
) -> None:
    notify(begun(target), StandardTask("task-1"), NOON_MS)
    machines.is_over = True
    assert reaped(TTL + 61)["retried"] == 1
    assert reaped(TTL + 61 + 60 + TTL + 61 + 1)["reaped"] == 1
    assert ([a["status"] for a in stored()["attempts"]], stored()["status"]) == (["timeout"], "fail")


def record_of_attempt(attempt: int = 1, **fields: Any) -> Execution:
    record = {
        "retry": RETRY,
        "started_at_ms": NOON_MS,
        "ttl_seconds": TTL,
        "max_duration_seconds": 10_000,
        "attempts": [{}] * (attempt - 1),
    }
    return cast(Execution, {**record, **fields})


@pytest.mark.parametrize(
    ("record", "status", "after"),
    [
        (record_of_attempt(), "fail", 60),
        (record_of_attempt(2), "fail", 120),
        (record_of_attempt(3), "fail", None),
        (record_of_attempt(), "timeout", 60),
        (record_of_attempt(), "success", None),
        (record_of_attempt(), "cancelled", None),
        (record_of_attempt(), "skipped", None),
        (record_of_attempt(retry={**RETRY, "on": ["fail"]}), "timeout", None),
        (record_of_attempt(retry={**RETRY, "on": ["timeout"]}), "fail", None),
        (record_of_attempt(retry={**RETRY, "max_attempts": 1}), "fail", None),
        (record_of_attempt(retry={**RETRY, "interval_seconds": 3600, "backoff_rate": 10}), "fail", 3600),
        (record_of_attempt(2, retry={**RETRY, "interval_seconds": 3600, "backoff_rate": 10}), "fail", 3600),
        (record_of_attempt(2, retry={**RETRY, "interval_seconds": 1, "backoff_rate": 1.5}), "fail", 2),
        (record_of_attempt(max_duration_seconds=161), "fail", 60),
        (record_of_attempt(max_duration_seconds=160), "fail", None),
        ({**record_of_attempt(), "retry": None}, "fail", None),
    ],
)
def test_another_attempt_follows_if_the_job_allows_it_and_time_remains(
    record: Execution, status: str, after: int | None
) -> None:
    assert attempts.next_begins_at(record, status, NOON_MS) == (None if after is None else NOON + after)


def body(**fields: Any) -> dict[str, Any]:
    return {"schedule": "rate(5 minutes)", "invocation_type": "sns", **fields}


def test_a_retry_has_defaults() -> None:
    assert definition(body(retry={"max_attempts": 3}), "topic")["retry"] == {
        "max_attempts": 3,
        "interval_seconds": 60,
        "backoff_rate": 2,
        "on": ["fail"],
    }
    assert "retry" not in definition(body(), "topic")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"retry": 3}, "/retry"),
        ({"retry": {}}, "/retry/max_attempts"),
        ({"retry": {"max_attempts": 0}}, "/retry/max_attempts"),
        ({"retry": {"max_attempts": 11}}, "/retry/max_attempts"),
        ({"retry": {"max_attempts": 2, "interval_seconds": 0}}, "/retry/interval_seconds"),
        ({"retry": {"max_attempts": 2, "interval_seconds": 3601}}, "/retry/interval_seconds"),
        ({"retry": {"max_attempts": 2, "backoff_rate": 0.5}}, "/retry/backoff_rate"),
        ({"retry": {"max_attempts": 2, "backoff_rate": 11}}, "/retry/backoff_rate"),
        ({"retry": {"max_attempts": 2, "on": []}}, "/retry/on"),
        ({"retry": {"max_attempts": 2, "on": ["fail", "fail"]}}, "/retry/on"),
        ({"retry": {"max_attempts": 2, "on": ["skipped"]}}, "/retry/on/0"),
        ({"retry": {"max_attempts": 2, "delay": 1}}, "/retry/delay"),
        ({"retry": {"max_attempts": 2}, "max_duration_seconds": 360}, "/retry/interval_seconds"),
    ],
)
def test_an_invalid_retry_is_refused_by_name(fields: dict[str, Any], pointer: str) -> None:
    assert [error["pointer"] for error in job_errors(body(**fields))] == [pointer]


def test_a_retry_at_its_limits_is_accepted() -> None:
    widest = {"max_attempts": 10, "interval_seconds": 3600, "backoff_rate": 10, "on": ["timeout", "fail"]}
    assert job_errors(body(retry=widest)) == []
    assert job_errors(body(retry={"max_attempts": 2}, max_duration_seconds=361)) == []
