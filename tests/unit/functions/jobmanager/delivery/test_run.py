"""run_execution: it begins an execution, notifies its service, and ends what has nothing to wait for."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.core import errors
from jobmanager.core.errors import NotificationUndelivered
from jobmanager.delivery.machines import ExpressExecution, Machine, StandardTask
from jobmanager.delivery.notification import send
from jobmanager.delivery.notify import run
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.reap import reap
from jobmanager.executions.record import Execution
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import LastExecution
from jobmanager.jobs.last_execution import record_last_execution
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import NOON_MS, due, finish, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")
SUCCESS: LastExecution = {
    "execution_id": due(at_ms=NOON_MS - 60_000)["execution_id"],
    "scheduled_time": "2026-11-23T11:59:00Z",
    "scheduled_time_ms": NOON_MS - 60_000,
    "service_invoked_at_ms": NOON_MS - 60_000,
    "finished_at_ms": NOON_MS,
    "status": "success",
    "state": "7",
}


def started(**fields: Any) -> dict[str, Any]:
    """What a tick gives to the state machine."""
    return {**due(), **task_limits(save_job(**fields))}


def test_a_run_is_inserted_with_all_that_a_callback_needs_and_written_no_more(
    target: Target, machines: Machines, writes: list[str], published: list[str]
) -> None:
    execution = started(invocation_target=target.url)
    writes.clear()
    run(execution, StandardTask("token-1"), NOON_MS)
    assert writes == ["put_item"]
    assert published == ["running"]
    record = stored(execution)
    assert (record["task_token"], record["service_invoked_at_ms"]) == ("token-1", NOON_MS)
    assert call_back(target, status="success", state="s") == 200
    assert writes == ["put_item", "update_item", "update_item", "update_item"]
    assert published == ["running", "success"]
    assert machines.signals == [("token-1", "success")]


def test_a_skipped_execution_is_settled_and_ends_its_task(
    machines: Machines, writes: list[str], published: list[str]
) -> None:
    execution = started(enabled=False)
    writes.clear()
    run(execution, StandardTask("token-1"), NOON_MS)
    assert writes == ["put_item"]
    assert published == ["skipped"]
    assert machines.signals == [("token-1", "success")]
    assert json.loads(machines.outputs[0])["reason"]["code"] == "job_disabled"
    assert "sweep_shard" not in stored(execution)


def test_a_retry_of_an_express_machine_publishes_the_skip_that_the_first_try_did_not(
    published: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = started(enabled=False)
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.executions.skip.publish_event", _die)
        with pytest.raises(KeyboardInterrupt):
            run(execution, ExpressExecution("one"), NOON_MS)
    run(execution, ExpressExecution("one"), NOON_MS + 1000)
    assert published == ["skipped"]


def test_a_standard_machine_leaves_what_an_express_one_runs(target: Target, machines: Machines) -> None:
    """A tick came twice, and its job changed its type in between."""
    execution = started(invocation_target=target.url)
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        run(execution, ExpressExecution("one"), NOON_MS)
    record = stored(execution)
    for token, again in (("token-1", execution), ("token-2", machine_input(record))):
        run(again, StandardTask(token), NOON_MS + 1000)
    assert stored(execution) == record
    assert len(target.bodies) == 1
    assert machines.signals == [("token-1", "success"), ("token-2", "success")]
    assert json.loads(machines.outputs[0])["status"] == "running"


def test_a_sweep_leaves_what_another_one_has_just_restarted(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is late, so both find the execution there."""
    execution = started(invocation_target=target.url)
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        run(execution, ExpressExecution("one"), NOON_MS)
    monkeypatch.setattr(executions, "due_for_sweep", lambda _: [execution["execution_id"]])
    record = stored(execution)
    assert reap(NOON_MS + 59_000, lambda: 300_000)["restarted"] == 0
    assert stored(execution) == record


def test_an_express_execution_keeps_its_lock_while_its_service_waits_for_the_sweep(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url, exclusive=True, ttl_seconds=20)
    machine = ExpressExecution("one")
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        run(execution, machine, NOON_MS)
    machine.postpone(execution, stored(execution), NOON_MS // 1000 + 10, 10)
    record = stored(execution)
    expires_at = NOON_MS // 1000 + 10 + attempts.seconds_to_sweep() + 20
    assert (record["sweep_at"], record["lock_expires_at"]) == (NOON_MS // 1000 + 10, expires_at)
    assert jobs.read("billing", "nightly")["lock_expires_at"] >= expires_at


def test_an_express_machine_leaves_what_a_standard_one_runs(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    record = stored(execution)
    run(execution, ExpressExecution("one"), NOON_MS + 1000)
    assert (stored(execution), len(target.bodies)) == (record, 1)


@pytest.mark.parametrize(
    ("runs", "fails"),
    [
        (ExpressExecution("one"), {}),
        (ExpressExecution("one"), {"machine_execution": "other"}),
        (StandardTask("token-1"), {"machine_execution": "other"}),
    ],
)
def test_the_failure_of_a_machine_does_not_end_what_another_one_runs(
    target: Target, machines: Machines, runs: Machine, fails: dict[str, str]
) -> None:
    execution = started(invocation_target=target.url)
    run(execution, runs, NOON_MS)
    record = stored(execution)
    finish({**execution, "status": "fail", "error": "Lambda.Unknown", "cause": "?", **fails}, NOON_MS + 1000)
    assert stored(execution) == record


def test_a_sync_job_is_settled_by_its_answer(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url, **{"async": False, "ttl_seconds": 60})
    run(execution, StandardTask("token-1"), NOON_MS)
    record = stored(execution)
    assert (record["status"], machines.signals) == ("success", [("token-1", "success")])
    assert "settled_at_ms" in record


def test_a_rejected_notification_fails_the_execution_with_its_error(
    target: Target, machines: Machines
) -> None:
    target.script = [404]
    execution = started(invocation_target=target.url, exclusive=True)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert machines.signals == [("token-1", "Job.NotificationRejected")]
    assert machines.causes == ["the target answered HTTP 404"]
    assert "lock_execution" not in jobs.read("billing", "nightly")
    assert "settled_at_ms" in stored(execution)


def test_a_callback_may_come_before_the_notification_is_answered(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered_late(record: Execution, body: dict[str, Any]) -> Any:
        answer = send(record, body)
        assert call_back(target, status="success") == 200
        return answer

    monkeypatch.setattr("jobmanager.delivery.notify.send", answered_late)
    execution = started(invocation_target=target.url, exclusive=True)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert (stored(execution)["status"], machines.signals) == ("success", [("token-1", "success")])


def test_a_second_invocation_with_the_same_token_sends_a_callback_url_that_is_valid(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url, exclusive=True)
    run(execution, StandardTask("token-1"), NOON_MS)
    run(execution, StandardTask("token-1"), NOON_MS + 1000)
    assert len(target.bodies) == 2
    assert call_back(target, status="success") == 200
    assert machines.signals == [("token-1", "success")]


def test_a_retry_of_the_state_notifies_with_its_own_token_and_secret(
    target: Target, machines: Machines, published: list[str]
) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url, exclusive=True)
    with pytest.raises(NotificationUndelivered):
        run(execution, StandardTask("token-1"), NOON_MS)
    run(execution, StandardTask("token-2"), NOON_MS + 2000)
    run(execution, StandardTask("token-3"), NOON_MS + 3000)
    record = stored(execution)
    assert (record["task_token"], len(record["callback_hashes"])) == ("token-3", 3)
    assert record["fencing_token"] == 1
    assert {body["attempt"] for body in target.bodies} == {1}
    # The first try may have died before it published, so the second publishes once more; no later one does.
    assert published == ["running", "running"]


def test_a_retry_of_an_execution_that_has_ended_settles_it_and_signals_the_new_task(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function that recorded the outcome died."""
    execution = started(invocation_target=target.url)
    with monkeypatch.context() as dying:
        dying.setattr("jobmanager.executions.end_task.settle", _die)
        dying.setattr("jobmanager.executions.end_task.not_settled", _die)
        target.script = [404]
        with pytest.raises(KeyboardInterrupt):
            run(execution, StandardTask("token-1"), NOON_MS)
    assert "settled_at_ms" not in stored(execution)
    run(execution, StandardTask("token-2"), NOON_MS + 1000)
    assert machines.signals == [("token-2", "Job.NotificationRejected")]
    assert "settled_at_ms" in stored(execution)
    assert len(target.bodies) == 1


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_function_whose_task_is_over_neither_notifies_nor_takes_the_execution(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    machines.is_over = True
    run(execution, StandardTask("token-2"), NOON_MS + 1000)
    assert (stored(execution)["task_token"], len(target.bodies)) == ("token-1", 1)


def test_an_insert_whose_answer_was_lost_is_recognized(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = executions.insert
    monkeypatch.setattr(executions, "insert", lambda *arguments: insert(*arguments) and False)
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert len(stored(execution)["callback_hashes"]) == len(target.bodies) == 1


@pytest.mark.parametrize("changed", [{"ttl_seconds": 40}, {"max_duration_seconds": 7000}, {"async": False}])
def test_limits_that_changed_since_the_tick_are_corrected_before_the_service_is_notified(
    target: Target, machines: Machines, changed: dict[str, Any]
) -> None:
    execution = started(invocation_target=target.url)
    save_job(invocation_target=target.url, **changed)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert target.bodies == []
    assert machines.signals == [("token-1", "AttemptEnded")]
    again = json.loads(machines.causes[0])
    assert again["next_attempt_at"] == "2026-11-23T12:00:00Z"
    assert task_limits(jobs.read("billing", "nightly")).items() <= again.items()
    run(again, StandardTask("token-2"), NOON_MS + 100)
    assert len(target.bodies) == 1
    assert len(stored(execution)["callback_hashes"]) == 2


def test_a_tick_of_the_version_before_passes_no_limits(target: Target, machines: Machines) -> None:
    save_job(invocation_target=target.url)
    run(due(), StandardTask("token-1"), NOON_MS)
    assert machines.signals == [("token-1", "AttemptEnded")]


def test_a_run_by_hand_is_taken_over_from_its_record(
    target: Target, machines: Machines, published: list[str]
) -> None:
    save_job(invocation_target=target.url, exclusive=True)
    record = begin_by_hand(due(), {"started_by": "ann", "payload": "p"}, NOON_MS)
    run(machine_input(record), StandardTask("token-1"), NOON_MS + 500)
    assert [body["payload"] for body in target.bodies] == ["p"]
    assert published == ["running"]
    assert call_back(target, status="success") == 200
    assert machines.signals == [("token-1", "success")]


def test_every_attempt_is_told_the_last_success_as_it_is_now(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    record_last_execution("billing", "nightly", SUCCESS, False)
    run(execution, StandardTask("token-2"), NOON_MS + 1000)
    told = [body["last_successful_execution"].get("state") for body in target.bodies]
    assert told == [None, "7"]
    assert "last_successful_execution" not in stored(execution)


def test_what_cannot_be_settled_fails_the_task_by_a_name_of_its_own_and_is_settled_later(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = started(invocation_target=target.url, exclusive=True)
    run(execution, StandardTask("token-1"), NOON_MS)
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "Publish")
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.executions.settle.publish_event", _raise(throttled))
        assert call_back(target, status="fail", error="LedgerUnbalanced") == 200
    assert machines.signals == [("token-1", "NotSettled")]
    record = stored(execution)
    assert (record["status"], "sweep_shard" in record) == ("fail", True)
    reported = {**execution, "status": "fail", "error": "NotSettled", "cause": machines.causes[0]}
    ended = finish(reported, NOON_MS + 5000)
    assert (ended["status"], ended["error"]) == ("fail", '"LedgerUnbalanced"')
    assert "settled_at_ms" in ended


def test_a_callback_that_is_neither_settled_nor_passed_on_fails_and_may_be_repeated(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "SendTaskSuccess")
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.executions.end_task.signal", _raise(throttled))
        failing.setattr("jobmanager.executions.end_task.not_settled", _raise(throttled))
        assert call_back(target, status="success") == 500
    assert stored(execution)["status"] == "success"
    assert call_back(target, status="success") == 200
    assert machines.signals == [("token-1", "success")]
    assert "settled_at_ms" in stored(execution)


def _raise(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


def test_a_service_with_little_time_is_not_notified_if_the_task_is_over(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url, heartbeat_interval_seconds=10)
    machines.is_over = True
    run(execution, StandardTask("token-1"), NOON_MS)
    assert (target.bodies, machines.signals) == ([], [])
    machines.is_over = False
    run(execution, StandardTask("token-2"), NOON_MS + 1000)
    assert len(target.bodies) == 1


def test_a_task_that_would_wait_for_an_attempt_that_ends_just_now_ends_too(
    target: Target, machines: Machines
) -> None:
    class Late(StandardTask):
        def wait(self, execution_id: str, attempt: int) -> bool:
            assert call_back(target, status="success") == 200
            return super().wait(execution_id, attempt)

    target.script = [504]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        run(execution, StandardTask("token-1"), NOON_MS)
    assert call_back(target, status="processing") == 200
    run(execution, Late("token-2"), NOON_MS + 1000)
    assert machines.signals == [("token-1", "success"), ("token-2", "success")]
    assert len(target.bodies) == 1


def test_a_rejection_of_an_async_notification_that_cannot_be_recorded_is_repeated(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.script = [404, 404]
    execution = started(invocation_target=target.url)
    throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.delivery.notify.end_attempt", _raise(throttled))
        with pytest.raises(ClientError):
            run(execution, StandardTask("token-1"), NOON_MS)
    assert stored(execution)["status"] == "running"
    run(execution, StandardTask("token-2"), NOON_MS + 1000)
    assert machines.signals == [("token-2", "Job.NotificationRejected")]


def test_an_attempt_whose_record_has_expired_is_an_error(target: Target, machines: Machines) -> None:
    save_job(invocation_target=target.url)
    record = begin_by_hand(due(), {"started_by": "ann"}, NOON_MS)
    other = due(at_ms=NOON_MS + 60_000)["execution_id"]
    with pytest.raises(errors.ManagerError, match=f"the record of {other} does not exist any more"):
        run({**machine_input(record), "execution_id": other}, StandardTask("token-1"), NOON_MS)
    assert target.bodies == []
