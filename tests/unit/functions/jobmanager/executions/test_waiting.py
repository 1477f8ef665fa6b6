"""Executions that wait are cancelled, looked at by the sweep, and settled; each gives back what it has."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.cancel_execution.handler import handler as cancel_handler
from jobmanager.core.errors import Conflict, Contended
from jobmanager.executions import cancel as cancelling
from jobmanager.executions import reap as reaper
from jobmanager.executions import waiting
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.cancel import cancel
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import Execution, next_look_at_waiting
from jobmanager.executions.settle import settle
from jobmanager.executions.waiting import skip_waiting
from jobmanager.jobs import changes as job_changes
from jobmanager.jobs import store as jobs
from jobmanager.limits import store as limits
from tests.unit.functions.examples import api_event, due, lambda_context, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.waiting import (
    NOON,
    OF_LIMIT,
    OF_LOCK,
    OF_STANDARD,
    WORKFLOW_TYPES,
    Turns,
    at,
    begin,
    callback_of,
    end,
    job,
    limit,
    put_limit,
    queue_for_lock,
    queue_for_slots,
    summary,
    sweep,
)

pytestmark = pytest.mark.usefixtures("cloud", "machines", "turns")
EACH_KIND = pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])


def let_wait(waits_for: str, **fields: Any) -> Execution:
    """Lets an execution of ``nightly`` wait since nine seconds after noon, by a tick.

    Of those that wait for the lock or a slot, another has it since noon. One that waits for its time may
    start 29 seconds after noon, and has a slot.
    """
    if waits_for == "lock":
        save_job(**{"overlap": "queue_all", **fields})
        begin()
    elif waits_for == "slot":
        put_limit(slots=1)
        save_job("other", limit="db")
        save_job(**{"limit": "db", **fields})
        begin(job_name="other")
    else:
        put_limit(slots=5, per_second=1)
        save_job(**{"limit": "db", **fields})
        limits.reserve(limit(), "next_start_ms", at(28))
    record = begin(9)
    assert (record["status"], record["waits_for"]) == ("waiting", waits_for)
    return record


def waits_nowhere(record: Execution) -> bool:
    """Whether the execution is in no queue, is not counted, and holds nothing."""
    found: Any = limits.find("billing", "db") or {}
    name = record["execution_id"]
    counted = job().get("waiting_count", 0) + found.get("waiting_count", 0)
    holds = name in found.get("holders", ()) or job().get("lock_execution") == name
    return not holds and not queue_for_lock() and not queue_for_slots() and counted == 0


# --- cancelled ----------------------------------------------------------------------------------------------


@EACH_KIND
@pytest.mark.parametrize("overlap", ["allow", "queue_all"])
def test_one_that_waits_is_cancelled_and_no_machine_is_stopped(
    overlap: str, waits_for: str, machines: Machines
) -> None:
    waits = let_wait(waits_for, **({} if waits_for == "lock" else {"overlap": overlap}))
    for _ in range(2):
        event = api_event("POST", json.dumps({"reason": "wrong ledger"}))
        event["pathParameters"] = {
            "service_name": "billing",
            "job_name": "nightly",
            "execution_id": waits["execution_id"],
        }
        answer = cancel_handler(event, lambda_context())
        body = json.loads(answer["body"])
        assert (answer["statusCode"], body["status"]) == (200, "cancelled")
        assert body["cause"].endswith("wrong ledger")
        assert waits_nowhere(waits)
    ended = stored(waits)
    assert not {"waits_for", "may_start_at_ms", "sweep_at"} & ended.keys()
    assert {"settled_at_ms", "waiting_since_ms"} <= ended.keys()
    assert (machines.started, machines.stopped, machines.signals) == ([], [], [])
    assert job()["last_execution"]["execution_id"] == waits["execution_id"]


def test_one_that_is_cancelled_before_others_lets_these_have_its_place(turns: Turns) -> None:
    waits = let_wait("slot", overlap="queue_all")
    next_one = begin(10)
    cancel(waits, "by ann", at(11))
    assert turns.asked == [OF_LOCK]
    turns.give(11)
    assert (stored(next_one)["waits_for"], stored(next_one)["fencing_token"]) == ("slot", 2)


def test_one_that_ended_as_it_was_to_be_cancelled_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = let_wait("lock")
    reason = Reason(code="superseded", detail="")
    end_late(monkeypatch, lambda: skip_waiting(waits, reason, at(10)))
    with pytest.raises(Conflict, match="has ended as skipped; there is nothing to cancel"):
        cancel(waits, "by ann", at(10))
    assert summary(waits) == ("skipped", "superseded")
    assert skip_waiting(waits, reason, at(10)) is None


def end_late(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Lets something happen right before the next cancellation of a waiting execution is written."""

    def end_after(*arguments: Any) -> Execution | None:
        monkeypatch.setattr(cancelling, "end_waiting", waiting.end_waiting)
        happens()
        return waiting.end_waiting(*arguments)

    monkeypatch.setattr(cancelling, "end_waiting", end_after)


def test_one_that_moves_on_as_it_is_cancelled_is_cancelled_where_it_waits_then(turns: Turns) -> None:
    put_limit(slots=1)
    save_job("other", limit="db")
    save_job(overlap="queue_all", limit="db")
    first, waits = begin(), begin(9)
    end(first, 10)
    begin_to_notify(due("other"), OF_STANDARD, at(10))
    turns.give(11)
    assert (waits["waits_for"], stored(waits)["waits_for"]) == ("lock", "slot")
    assert cancel(waits, "by ann", at(12))["status"] == "cancelled"
    assert waits_nowhere(waits)


def test_an_execution_that_is_always_changed_by_others_is_not_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = let_wait("lock")
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(cancelling, "end_waiting", lambda *_: None)
    with pytest.raises(Contended, match="being changed by others"):
        cancel(waits, "by ann", at(10))


def test_a_cancel_that_died_before_it_settled_is_completed_when_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = let_wait("start", overlap="queue_all")

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying, pytest.raises(RuntimeError, match="killed"):
        dying.setattr(cancelling, "settle", die)
        cancel(waits, "by ann", at(10))
    assert (summary(waits)[0], waits["execution_id"] in limit()["holders"]) == ("cancelled", True)
    cancel(waits, "by ann", at(11))
    assert waits_nowhere(waits)


@EACH_KIND
def test_one_whose_job_or_limit_is_gone_can_still_be_cancelled(waits_for: str) -> None:
    waits = let_wait(waits_for)
    if waits_for == "lock":
        job_changes.delete("billing", "nightly", "ann", at(10))
    else:
        limits.delete(limit())
    cancel(waits, "by ann", at(11))
    assert waits_nowhere(waits)


# --- the sweep ----------------------------------------------------------------------------------------------


@EACH_KIND
def test_the_sweep_asks_now_and_then_for_the_turn_of_one_that_waits(waits_for: str, turns: Turns) -> None:
    waits = let_wait(waits_for, overlap="queue_all")
    assert (sweep(308), turns.asked) == ({}, [])
    assert sweep(309) == {}
    of_it = {"execution_id": waits["execution_id"]}
    assert turns.asked == [{"lock": OF_LOCK, "slot": OF_LIMIT, "start": of_it}[waits_for]]
    assert stored(waits)["sweep_at"] == NOON + 609
    assert (sweep(309), len(turns.asked)) == ({}, 1)
    if waits_for != "lock":
        until = job()["lock_expires_at"]
        assert (job()["lock_execution"], until) == (waits["execution_id"], NOON + 309 + 3600)


@EACH_KIND
def test_a_record_does_not_expire_while_its_execution_waits(waits_for: str) -> None:
    """Otherwise its place in the queue would stay, and nobody behind it would get a turn."""
    waits = let_wait(waits_for, max_duration_seconds=1000)
    retention = 90 * 86_400
    assert waits["expires_at"] == NOON + 9 + retention + 1000
    sweep(309)
    assert stored(waits)["expires_at"] == NOON + 309 + retention + 1000


@EACH_KIND
def test_the_sweep_skips_one_whose_deadline_has_passed(waits_for: str, turns: Turns) -> None:
    """The deadline counts from when it became due, nine seconds after noon."""
    waits = let_wait(waits_for, starting_deadline_seconds=60)
    assert (waits["sweep_at"], sweep(69)) == (NOON + 70, {})
    assert sweep(70) == {"reaped": 1}
    code = "lock_held" if waits_for == "lock" else "limit_reached"
    assert summary(waits) == ("skipped", code)
    assert stored(waits)["reason"]["detail"].endswith(", and starting_deadline_seconds have passed")
    assert "settled_at_ms" in stored(waits)
    if waits_for == "start":
        assert waits_nowhere(waits)
    assert (job().get("waiting_count", 0), queue_for_lock(), queue_for_slots()) == (0, [], [])


def test_the_sweep_looks_once_whether_one_that_may_start_late_has_a_message_and_then_after_its_time(
    turns: Turns,
) -> None:
    put_limit(per_second=1)
    save_job(limit="db", starting_deadline_seconds=3600)
    limits.reserve(limit(), "next_start_ms", at(2000))
    waits = begin(9)
    turns.sent.clear()
    sweep(309)
    assert turns.give(309) == 0
    assert [delay for _, delay in turns.sent] == [900]
    assert stored(waits)["sweep_at"] == NOON + 2001 + 300


def test_a_deadline_that_has_passed_lets_the_sweep_look_in_a_second() -> None:
    waits = let_wait("lock")
    save_job(overlap="queue_all", starting_deadline_seconds=5, at_ms=at(10))
    assert next_look_at_waiting(waits, job(), at(60)) == NOON + 61


@pytest.mark.parametrize("waits_for", ["lock", "slot"])
def test_one_that_gets_its_turn_as_the_sweep_skips_it_is_left(
    waits_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_wait(waits_for, starting_deadline_seconds=60)
    monkeypatch.setattr(reaper, "skip_waiting", lambda *_: None)
    assert sweep(70) == {}


def test_one_whose_job_is_gone_from_the_table_is_left_for_a_person(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = let_wait("lock")
    monkeypatch.setattr(jobs, "find_without_large_values", lambda *_: None)
    assert sweep(309) == {}
    assert (stored(waits), turns.asked) == (waits, [OF_LOCK])


@pytest.mark.parametrize("waits_for", ["slot", "start"])
def test_the_sweep_does_not_take_back_a_lock_that_was_lost(waits_for: str, turns: Turns) -> None:
    waits = let_wait(waits_for, overlap="queue_all")
    lock_execution = "SET lock_execution = :other"
    jobs.update_if("billing", "nightly", lock_execution, "attribute_exists(job_key)", {":other": "x"})
    before = job()["lock_expires_at"]
    sweep(309)
    assert (job()["lock_execution"], job()["lock_expires_at"]) == ("x", before)
    assert len(turns.asked) == 1
    assert summary(waits)[0] == "waiting"


def test_a_sweep_that_cannot_ask_looks_at_the_execution_again(turns: Turns) -> None:
    waits = let_wait("lock")
    turns.is_down = True
    with pytest.raises(Exception, match="1 overdue executions were not ended"):
        sweep(309)
    turns.is_down = False
    assert (sweep(310), turns.asked, stored(waits)["sweep_at"]) == ({}, [OF_LOCK], NOON + 610)


# --- settled ------------------------------------------------------------------------------------------------


def runs_with_both(workflow_type: str = "standard") -> Execution:
    """Returns an execution that has the lock of its job and the only slot."""
    put_limit(slots=1)
    save_job("other", limit="db", workflow_type=workflow_type)
    save_job(overlap="queue_all", limit="db", workflow_type=workflow_type)
    return begin(callback=callback_of(workflow_type))


@WORKFLOW_TYPES
@pytest.mark.parametrize("status", ["success", "fail", "timeout", "cancelled", "skipped"])
def test_whatever_ends_an_execution_it_frees_its_lock_and_its_slot_and_asks_nobody_if_none_waits(
    status: str, workflow_type: str, turns: Turns
) -> None:
    record = runs_with_both(workflow_type)
    ended = ended_as(record, status)
    settle(ended, at(10))
    assert ("lock_execution" in job(), "holders" in limit(), turns.asked) == (False, False, [])


def ended_as(record: Execution, status: Any) -> Execution:
    result: Any = {} if status == "success" else {"error": "LedgerBusy", "cause": ""}
    if status == "skipped":
        result = {"reason": {"code": "lock_lost", "detail": ""}}
    ended = record_outcome(record, status, result, at(10))
    assert ended is not None
    return ended


@pytest.mark.parametrize("status", ["success", "skipped"])
def test_the_end_asks_for_those_that_wait_for_the_lock_and_for_those_that_wait_for_the_slot(
    status: str, turns: Turns
) -> None:
    record = runs_with_both()
    begin(1, "other")
    begin(2)
    settle(ended_as(record, status), at(10))
    assert turns.asked == [OF_LOCK, OF_LIMIT]


def test_an_end_that_is_settled_twice_frees_nothing_of_those_that_run_by_then(turns: Turns) -> None:
    record = runs_with_both()
    other, waits = begin(1, "other"), begin(2)
    ended = ended_as(record, "success")
    settle(ended, at(10))
    turns.give(11)
    assert (summary(other)[0], stored(waits)["waits_for"]) == ("running", "slot")
    settle(ended, at(12))
    assert (job()["lock_execution"], limit()["holders"]) == (waits["execution_id"], {other["execution_id"]})
    assert turns.asked == [OF_LIMIT]  # which looks, and finds the slot taken
    assert turns.give(12) == 0


@pytest.mark.parametrize("dies_at", ["after the lock", "after the slot", "before it closes"])
def test_an_end_whose_function_dies_on_the_way_is_completed_and_asks_then(
    dies_at: str, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = runs_with_both()
    other, waits = begin(1, "other"), begin(2)
    ended_as(record, "success")
    with monkeypatch.context() as dying, pytest.raises(RuntimeError):
        if dies_at == "after the lock":
            turns.is_down = True
        elif dies_at == "after the slot":
            free = limits.free

            def free_and_die(*arguments: str) -> None:
                free(*arguments)
                raise RuntimeError

            dying.setattr(limits, "free", free_and_die)
        else:
            dying.setattr("jobmanager.executions.settle.publish_event", raising(RuntimeError))
        settle(stored(record), at(10))
    turns.is_down = False
    turns.asked.clear()
    assert sweep(300) == {"closed": 1}  # when it would have looked at it anyway
    turns.give(300)
    assert (summary(other)[0], stored(waits)["waits_for"]) == ("running", "slot")


def raising(error: type[Exception]) -> Callable[..., None]:
    def refuse(*_: Any) -> None:
        raise error

    return refuse


def test_the_slot_of_a_limit_that_was_deleted_is_freed_in_vain(turns: Turns) -> None:
    record = runs_with_both()
    limits.delete(limit())
    settle(ended_as(record, "success"), at(10))
    assert ("settled_at_ms" in stored(record), turns.asked) == (True, [])


def test_the_late_end_of_one_that_lost_the_lock_asks_nobody(turns: Turns) -> None:
    save_job(overlap="queue_all", ttl_seconds=60)
    first = begin()
    begin(1)
    turns.asked.clear()
    begin(100)
    assert turns.give(100) == 1
    settle(ended_as(first, "success"), at(101))
    assert (turns.asked, job()["fencing_token"]) == ([], 2)
    assert job()["lock_execution"] == due(at_ms=at(1))["execution_id"]


def test_an_end_that_throttling_interrupts_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    record = runs_with_both()

    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")

    ended = ended_as(record, "success")
    with monkeypatch.context() as down, pytest.raises(ClientError):
        down.setattr(limits, "free", refuse)
        settle(ended, at(10))
    assert ("settled_at_ms" in stored(record), limit()["holders"]) == (False, {record["execution_id"]})
    settle(stored(record), at(11))
    assert "holders" not in limit()
