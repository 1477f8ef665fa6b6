"""Whether an execution may run, has to wait, or is skipped; and that nobody waits for what is free."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient

from functions.start_execution import handler as start
from functions.start_execution.handler import handler as start_handler
from jobmanager.core.errors import Contended
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.executions import admission, begin_or_wait
from jobmanager.executions.begin_or_wait import begin_by_hand, begin_to_notify
from jobmanager.executions.record import Execution
from jobmanager.executions.settle import finish_and_continue
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store as jobs
from jobmanager.limits import store as limits
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import NOON_MS, api_event, due, lambda_context, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target
from tests.unit.functions.waiting import (
    NOON,
    OF_EXPRESS,
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
WAITS = ("queue_one", "queue_all", "cancel_running")


def by_hand(key: str | None = None, **body: str) -> tuple[int, dict[str, Any]]:
    event = api_event("POST", json.dumps(body) if body else None)
    event["pathParameters"] = {"service_name": "billing", "job_name": "nightly"}
    if key is not None:
        event["headers"]["idempotency-key"] = key
    answer = start_handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of requests."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(start, "now_ms", lambda: at(seconds))

    set_clock(0)
    return set_clock


def lock_held_by(record: Execution) -> dict[str, str]:
    return {"code": "lock_held", "detail": f"the lock is held by {record['execution_id']}"}


# --- the lock -----------------------------------------------------------------------------------------------


def test_a_tick_of_a_job_that_allows_overlap_runs_beside_another() -> None:
    save_job(overlap="allow")
    assert [begin(second)["status"] for second in range(3)] == ["running"] * 3
    assert "waiting_count" not in job()


def test_a_tick_of_a_job_that_skips_is_skipped_while_it_runs() -> None:
    save_job(overlap="skip")
    first, second = begin(), begin(1)
    assert (second["status"], second["reason"]) == ("skipped", lock_held_by(first))
    assert "settled_at_ms" in second
    assert "waiting_count" not in job()


@pytest.mark.parametrize("overlap", WAITS)
def test_a_tick_waits_for_the_lock_if_its_job_lets_it(overlap: str) -> None:
    save_job(overlap=overlap, payload="p")
    first, second = begin(), begin(1)
    assert (second["status"], second["waits_for"], second["reason"]) == (
        "waiting",
        "lock",
        lock_held_by(first),
    )
    assert second["waiting_since_ms"] == at(1)
    assert second["sweep_at"] == NOON + 1 + 300
    assert not {"payload", "fencing_token", "lock_expires_at", "task_token", "holds_slot"} & second.keys()
    assert stored(second) == second
    assert (queue_for_lock(), job()["waiting_count"]) == ([second["execution_id"]], 1)
    assert job()["lock_execution"] == first["execution_id"]


@pytest.mark.parametrize(
    ("overlap", "asks"), [("queue_one", False), ("queue_all", False), ("cancel_running", True)]
)
def test_only_one_that_has_something_to_do_asks_for_its_turn(overlap: str, asks: bool, turns: Turns) -> None:
    save_job(overlap=overlap)
    begin(), begin(1)
    assert turns.asked == ([OF_LOCK] if asks else [])


def test_the_second_that_waits_asks_that_the_first_is_superseded(turns: Turns) -> None:
    save_job(overlap="queue_one")
    begin()
    superseded, last = begin(1), begin(2)
    assert turns.asked == [OF_LOCK]
    assert turns.give(3) == 0
    assert (summary(superseded), summary(last)) == (("skipped", "superseded"), ("waiting", "lock_held"))
    assert (queue_for_lock(), job()["waiting_count"]) == ([last["execution_id"]], 1)


def test_of_two_that_begin_to_wait_at_once_the_later_asks_that_one_is_superseded(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(overlap="queue_one")
    begin()
    insert, others = admission.insert_waiting, [2]

    def insert_after_another(*arguments: Any) -> Execution | None:
        if others:
            begin(others.pop())
        return insert(*arguments)

    monkeypatch.setattr(begin_or_wait, "insert_waiting", insert_after_another)
    first = begin(1)
    assert turns.asked == [OF_LOCK]
    assert turns.give(3) == 0
    assert summary(first) == ("skipped", "superseded")
    assert (len(queue_for_lock()), job()["waiting_count"]) == (1, 1)


@pytest.mark.parametrize("overlap", WAITS)
def test_a_run_by_hand_waits_and_is_answered_with_201(
    overlap: str, clock: Callable[[float], None], machines: Machines
) -> None:
    save_job(overlap=overlap)
    _, first = by_hand()
    clock(1)
    status, second = by_hand()
    assert (status, second["status"], second["reason"]["code"]) == (201, "waiting", "lock_held")
    assert first["execution_id"] in second["reason"]["detail"]
    assert [passed["execution_id"] for _, passed in machines.started] == [first["execution_id"]]


@pytest.mark.parametrize("exclusive", [{"exclusive": True}, {"overlap": "skip"}], ids=["by its old name", ""])
def test_a_run_by_hand_of_a_job_that_skips_is_refused_with_the_holder(
    exclusive: dict[str, Any], clock: Callable[[float], None]
) -> None:
    save_job(**exclusive)
    first = begin()
    clock(1)
    status, refusal = by_hand()
    assert (status, refusal["lock_execution"]) == (409, first["execution_id"])


def test_a_run_by_hand_of_a_job_that_allows_overlap_runs(clock: Callable[[float], None]) -> None:
    save_job(overlap="allow")
    begin()
    clock(1)
    status, execution = by_hand()
    assert (status, execution["status"]) == (201, "running")


def set_waiting_count(number: int) -> None:
    jobs.update_if(
        "billing", "nightly", "SET waiting_count = :n", "attribute_exists(job_key)", {":n": number}
    )


def test_the_hundred_and_first_does_not_wait(clock: Callable[[float], None]) -> None:
    save_job(overlap="queue_all")
    begin()
    set_waiting_count(99)
    assert begin(1)["status"] == "waiting"
    skipped = begin(2)
    detail = "100 executions wait for the lock already"
    assert (skipped["status"], skipped["reason"]) == ("skipped", {"code": "queue_full", "detail": detail})
    clock(3)
    status, refusal = by_hand()
    assert (status, "lock_execution" in refusal) == (409, False)
    assert refusal["detail"] == f"billing/nightly was not started: {detail}."
    assert job()["waiting_count"] == 100


def test_of_two_that_saw_the_last_place_one_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(overlap="queue_all")
    begin()
    set_waiting_count(99)
    meanwhile(monkeypatch, lambda: begin(1))
    assert summary(begin(2)) == ("skipped", "queue_full")
    assert (summary(due(at_ms=at(1))), job()["waiting_count"]) == (("waiting", "lock_held"), 100)


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Lets something happen right after the next decision about an execution, and before it is written."""
    decide = admission.admit

    def admit_late(*arguments: Any) -> admission.Admission:
        decided = decide(*arguments)
        monkeypatch.setattr(begin_or_wait, "admit", decide)
        happens()
        return decided

    monkeypatch.setattr(begin_or_wait, "admit", admit_late)


def test_those_that_wait_are_in_the_order_in_which_they_became_due() -> None:
    save_job(overlap="queue_all")
    begin()
    later = [begin(second) for second in (1, 2, 3)]
    assert queue_for_lock() == [record["execution_id"] for record in later]


def test_nobody_overtakes_those_that_wait_for_a_lock_that_has_just_become_free(turns: Turns) -> None:
    save_job(overlap="queue_all")
    first, second = begin(), begin(1)
    end(first, 2)
    third = begin(3)
    assert (third["status"], third["reason"]["detail"]) == ("waiting", "others wait for the lock")
    assert turns.asked == [OF_LOCK, OF_LOCK]  # the end of the first, and the third, in case that this failed
    assert turns.give(4) == 1
    assert (summary(second), summary(third)) == (("running", None), ("waiting", "lock_held"))


@pytest.mark.parametrize("then", ["freed", "expired"])
def test_nobody_waits_for_a_lock_that_became_free_as_it_was_about_to_wait(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(overlap="queue_all", ttl_seconds=60)
    first = begin()
    if then == "freed":
        meanwhile(monkeypatch, lambda: end(first, 1))
        second = begin(1)
    else:
        second = begin(60)
    assert (second["status"], second["fencing_token"]) == ("running", 2)
    assert "waiting_count" not in job()


def test_one_that_saw_the_lock_free_waits_if_another_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(overlap="queue_all")
    meanwhile(monkeypatch, lambda: begin(1))
    assert summary(begin(2)) == ("waiting", "lock_held")


def test_none_begins_beside_one_that_waits_for_a_slot_without_the_lock(turns: Turns) -> None:
    """Its job has become exclusive since it began to wait."""
    put_limit(slots=1)
    save_job("other", limit="db")
    save_job(limit="db")
    begin(job_name="other")
    waits = begin(1)
    save_job(limit="db", overlap="queue_all", at_ms=at(2))
    refused = begin(60)
    assert (summary(refused), waits["execution_id"] in refused["reason"]["detail"]) == (
        ("skipped", "lock_held"),
        True,
    )


def test_an_express_machine_whose_execution_is_skipped_knows_it_as_its_own() -> None:
    save_job(overlap="skip", workflow_type="express")
    begin(callback=OF_EXPRESS)
    skipped = begin_to_notify(due(at_ms=at(1)), OF_EXPRESS, at(1))
    assert (skipped.record["status"], skipped.record["machine_execution"]) == ("skipped", "m-1")
    assert begin_to_notify(due(at_ms=at(1)), OF_EXPRESS, at(2)).record == skipped.record


def test_a_run_by_hand_that_lost_the_lock_to_another_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(overlap="queue_all")
    meanwhile(monkeypatch, lambda: begin(1))
    record = begin_by_hand(due(at_ms=at(2)), {"started_by": "ann"}, at(2))
    assert (record["status"], record["waits_for"], record["started_by"]) == ("waiting", "lock", "ann")


def test_one_that_waits_for_nothing_has_no_waiting_record() -> None:
    save_job()
    with pytest.raises(AssertionError, match="only an execution that waits for something waits"):
        admission.insert_waiting(due(), job(), admission.Admission("run"), at(0))


@pytest.mark.parametrize("overlap", ["skip", *WAITS])
def test_no_execution_begins_beside_one_that_runs_without_the_lock(overlap: str, turns: Turns) -> None:
    """Its job has become exclusive since it began. It has no lock that another could wait for."""
    save_job(overlap="allow", ttl_seconds=300)
    first = begin()
    save_job(overlap=overlap, ttl_seconds=300, at_ms=at(1))
    assert summary(second := begin(60)) == ("skipped", "lock_held")
    assert first["execution_id"] in second["reason"]["detail"]
    end(first, 61)
    assert (begin(62)["status"], turns.asked) == ("running", [])


def test_a_job_that_others_keep_changing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(overlap="queue_all")
    begin()
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(begin_or_wait, "insert_waiting", lambda *_: None)
    with pytest.raises(Contended, match="billing/nightly is being changed by others"):
        begin(1)
    with pytest.raises(Contended, match="billing/nightly is being changed by others"):
        begin_by_hand(due(at_ms=at(1)), {"started_by": "ann"}, at(1))


# --- the limit ----------------------------------------------------------------------------------------------


def test_an_execution_takes_a_slot_and_the_next_waits_for_one() -> None:
    put_limit(slots=1)
    for name in ("a", "b"):
        save_job(name, limit="db")
    first, second = begin(job_name="a"), begin(1, "b")
    assert (first["holds_slot"], limit()["holders"]) == (True, {first["execution_id"]})
    assert (second["status"], second["waits_for"]) == ("waiting", "slot")
    detail = "the limit db has 1 slots, and all are taken"
    assert second["reason"] == {"code": "limit_reached", "detail": detail}
    assert "holds_slot" not in second
    assert (queue_for_slots(), limit()["waiting_count"]) == ([second["execution_id"]], 1)


def test_nobody_overtakes_those_that_wait_for_a_slot(turns: Turns) -> None:
    put_limit(slots=1)
    save_job(limit="db")
    first, second = begin(), begin(1)
    end(first, 2)
    assert turns.asked == [OF_LIMIT]
    third = begin(3)
    assert third["reason"]["detail"] == "the limit db has 1 slots, and others wait for them"
    assert turns.asked == [OF_LIMIT] * 2
    assert turns.give(4) == 1
    assert (summary(second)[0], summary(third)[0]) == ("running", "waiting")


def test_one_that_waits_for_a_slot_has_the_lock_for_an_hour() -> None:
    put_limit(slots=1)
    save_job("other", limit="db")
    save_job(overlap="queue_all", limit="db")
    begin(job_name="other")
    waits = begin(1)
    assert (waits["waits_for"], waits["fencing_token"]) == ("slot", 1)
    assert (job()["lock_execution"], job()["lock_expires_at"]) == (waits["execution_id"], NOON + 3601)
    assert begin(2)["reason"] == lock_held_by(waits)


def test_nobody_waits_for_a_slot_that_became_free_as_it_was_about_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_limit(slots=1)
    save_job(limit="db")
    first = begin()
    meanwhile(monkeypatch, lambda: end(first, 1))
    second = begin(1)
    assert (second["status"], limit()["holders"]) == ("running", {second["execution_id"]})
    assert limit().get("waiting_count", 0) == 0


@WORKFLOW_TYPES
def test_one_that_saw_a_free_slot_waits_if_another_was_faster(
    workflow_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_limit(slots=1)
    save_job(limit="db", workflow_type=workflow_type)
    callback = callback_of(workflow_type)
    meanwhile(monkeypatch, lambda: begin(1, callback=callback))
    waits = begin(2, callback=callback)
    assert summary(waits) == ("waiting", "limit_reached")
    assert waits.get("workflow_type", "standard") == workflow_type
    assert "machine_execution" not in waits


def test_a_limit_that_was_deleted_or_never_made_limits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(limit="db")
    assert begin()["status"] == "running"
    limits.delete(put_limit(slots=1))
    meanwhile(monkeypatch, lambda: put_limit(slots=1))
    assert "holds_slot" not in begin(1)
    meanwhile(monkeypatch, lambda: limits.delete(limit()))
    record = begin(2)
    assert (record["status"], "holds_slot" in record) == ("running", False)


def test_starts_under_a_limit_get_a_time_each(turns: Turns) -> None:
    put_limit(per_second=1)
    save_job(limit="db")
    records = [begin_to_notify(due(at_ms=at(second)), OF_STANDARD, at(0)).record for second in range(4)]
    assert [record["status"] for record in records] == ["running", "running", "waiting", "waiting"]
    assert [record.get("may_start_at_ms") for record in records] == [None, None, at(2), at(3)]
    detail = "the limit db allows 1 a second, and this one may start at 2026-11-23T12:00:02.000Z"
    assert records[2]["reason"]["code"] == "limit_reached"
    assert records[2]["reason"]["detail"].startswith(detail.partition(" at ")[0])
    assert [(message["may_start_at_ms"], delay) for message, delay in turns.sent] == [(at(2), 2), (at(3), 3)]
    assert turns.asked == []
    assert queue_for_slots() == []


def test_one_that_waits_for_its_time_has_its_slot_and_the_lock() -> None:
    put_limit(slots=5, per_second=1)
    save_job("other", limit="db")
    save_job(overlap="queue_all", limit="db")
    for second in (0, 1):
        begin_to_notify(due("other", at_ms=at(second)), OF_STANDARD, at(0))
    waits = begin_to_notify(due(), OF_STANDARD, at(0)).record
    assert (waits["waits_for"], waits["holds_slot"], waits["fencing_token"]) == ("start", True, 1)
    assert waits["execution_id"] in limit()["holders"]
    assert job()["lock_execution"] == waits["execution_id"]


def test_a_limit_without_room_reserves_no_time() -> None:
    put_limit(slots=1, per_second=1)
    save_job(limit="db")
    begin()
    reserved = limit()["next_start_ms"]
    assert begin(1)["waits_for"] == "slot"
    assert limit()["next_start_ms"] == reserved


# --- repeated, and by whom ----------------------------------------------------------------------------------


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_a_begin_that_is_repeated_asks_for_the_turn_and_changes_nothing(waits_for: str, turns: Turns) -> None:
    first = let_wait(waits_for)
    turns.asked.clear()
    turns.sent.clear()
    again = begin_to_notify(due(at_ms=at(9)), OF_STANDARD, at(10))
    assert (again.record, again.is_new, again.job) == (first, False, None)
    of_it = {"execution_id": first["execution_id"]}
    assert turns.asked == [{"lock": OF_LOCK, "slot": OF_LIMIT, "start": of_it}[waits_for]]
    assert turns.give(9) == 0
    assert stored(first) == first


def let_wait(waits_for: str, at_second: int = 9, **fields: Any) -> Execution:
    """Lets an execution of ``nightly`` wait, by a tick. What it waits for has another, begun at noon."""
    if waits_for == "lock":
        save_job(**{"overlap": "queue_all", **fields})
        begin()
    else:
        put_limit(**({"slots": 1} if waits_for == "slot" else {"slots": 1, "per_second": 1}))
        save_job("other", limit="db")
        save_job(**{"limit": "db", **fields})
        if waits_for == "slot":
            begin(job_name="other")
        else:
            limits.reserve(limit(), "next_start_ms", at(at_second + 20))
    record = begin(at_second)
    assert (record["status"], record["waits_for"]) == ("waiting", waits_for)
    return record


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_one_whose_function_dies_before_it_asks_gets_its_turn_by_the_sweep(
    waits_for: str, turns: Turns, monkeypatch: pytest.MonkeyPatch, machines: Machines
) -> None:
    monkeypatch.setattr(begin_or_wait, "_has_something_to_do", lambda *_: True)
    turns.is_down = True
    with pytest.raises(RuntimeError, match="the function died"):
        let_wait(waits_for)
    turns.is_down = False
    record = stored(due(at_ms=at(9)))
    assert record["status"] == "waiting"
    if waits_for != "start":
        end(stored(due("other" if waits_for == "slot" else "nightly")), 20)
        turns.asked.clear()
    assert sweep(record["sweep_at"] - NOON) == {}
    assert turns.give(record["sweep_at"] - NOON) == 1
    assert summary(record) == ("running", None)
    assert [passed["execution_id"] for _, passed in machines.started] == [record["execution_id"]]


@pytest.mark.parametrize("turn_given", [False, True], ids=["before its turn", "after its turn"])
def test_the_machine_of_the_tick_of_one_that_waits_ends(
    turn_given: bool, turns: Turns, machines: Machines
) -> None:
    """Its function may be retried, and finish_execution may come; neither touches the execution."""
    waits = let_wait("lock")
    if turn_given:
        end(stored(due()), 20)
        turns.give(20)
    before = stored(waits)
    run(due(at_ms=at(9)), machine_of({"task_token": "t-9"}), at(30))
    assert machines.signals == [("t-9", "success")]
    for failed in (
        {"status": "timeout", "error": "States.Timeout", "cause": ""},
        {"status": "fail", "error": "Lambda.Unknown", "cause": "died"},
    ):
        output = finish_and_continue({**due(at_ms=at(9)), **failed}, at(40))  # type: ignore[typeddict-item]
        assert output == {"execution_id": waits["execution_id"], "status": "waiting"}
    assert stored(waits) == before
    assert len(machines.started) == turn_given


def test_an_express_machine_that_is_retried_leaves_the_one_that_waits(turns: Turns, target: Target) -> None:
    save_job(overlap="queue_all", workflow_type="express", invocation_target=target.url)
    begin(callback=OF_EXPRESS)
    waits = begin(9, callback=OF_EXPRESS)
    event = {"machine_execution": "arn:aws:states:a:b:express:c:d:m-1", "execution": due(at_ms=at(9))}
    run(due(at_ms=at(9)), machine_of(event), at(10))
    assert (stored(waits), target.bodies) == (waits, [])


# --- by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, {"payload": ""}, {"payload": "mine"}, {"payload": "ü" * 4000}])
def test_an_idempotency_key_is_repeated_while_it_waits_and_after(
    payload: dict[str, str], clock: Callable[[float], None], turns: Turns, machines: Machines
) -> None:
    save_job(overlap="queue_all", payload="of the job")
    first = begin()
    clock(1)
    status, waits = by_hand("k", **payload)
    assert (status, waits["status"]) == (201, "waiting")
    clock(2)
    assert by_hand("k", **payload) == (201, waits)
    assert job()["waiting_count"] == 1
    for other in ({"payload": "another"}, {} if payload else {"payload": "mine"}):
        assert by_hand("k", **other)[0] == 409
    end(first, 3)
    assert turns.give(3) == 1
    clock(4)
    machines.started.clear()
    status, runs = by_hand("k", **payload)
    assert (status, runs["execution_id"], runs["status"]) == (201, waits["execution_id"], "running")
    assert runs["payload"] == payload.get("payload", "of the job")
    for other in ({"payload": "another"},):
        assert by_hand("k", **other)[0] == 409


@pytest.mark.parametrize("waits_for", ["lock", "start"])
def test_a_request_that_is_repeated_asks_for_the_turn_that_the_first_one_died_before(
    waits_for: str, clock: Callable[[float], None], turns: Turns
) -> None:
    if waits_for == "lock":
        save_job(overlap="cancel_running")
        begin()
    else:
        put_limit(per_second=1)
        save_job(limit="db")
        limits.reserve(limit(), "next_start_ms", at(20))
    clock(10)
    turns.is_down = True
    assert by_hand("k")[0] == 500
    turns.is_down = False
    assert by_hand("k")[1]["status"] == "waiting"
    (asked,) = turns.asked
    assert asked == OF_LOCK if waits_for == "lock" else asked.keys() == {"execution_id"}


@pytest.mark.parametrize("waits_for", ["slot", "start"])
def test_a_run_by_hand_waits_for_a_slot_and_its_time(
    waits_for: str, clock: Callable[[float], None], machines: Machines
) -> None:
    put_limit(**({"slots": 1} if waits_for == "slot" else {"per_second": 1}))
    save_job(limit="db")
    if waits_for == "slot":
        begin()
    else:
        limits.reserve(limit(), "next_start_ms", at(20))
    clock(10)
    status, waits = by_hand()
    assert (status, waits["status"], waits["reason"]["code"]) == (201, "waiting", "limit_reached")
    assert stored(waits)["waits_for"] == waits_for
    assert machines.started == []


def test_a_run_by_hand_tries_again_if_what_it_would_wait_for_became_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job(overlap="queue_all")
    first = begin()
    meanwhile(monkeypatch, lambda: end(first, 1))
    record = begin_by_hand(due(at_ms=at(1)), {"started_by": "ann"}, at(1))
    assert (record["status"], record["fencing_token"]) == ("running", 2)


# --- what costs nothing more --------------------------------------------------------------------------------

_BEGIN: dict[bool, list[Any]] = {
    False: ["GetItem jobs", "PutItem executions"],
    True: ["GetItem jobs", "TransactWriteItems Update jobs, Put executions"],
}
_END = ["UpdateItem executions", "UpdateItem jobs", "UpdateItem executions"]


@WORKFLOW_TYPES
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_job_without_a_limit_that_lets_nothing_wait_makes_no_call_more_than_before(
    exclusive: bool, workflow_type: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are the calls of its begin and its end before executions could wait."""
    for module in ("functions.receive_callback.handler", "jobmanager.delivery.notify"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: at(1))
    saved = save_job(exclusive=exclusive, workflow_type=workflow_type, invocation_target=target.url)
    made = calls_to_dynamodb(monkeypatch)
    of_machine: dict[str, Any] = {"task_token": "t"}
    if workflow_type == "express":
        of_machine = {"machine_execution": "arn:aws:states:a:b:express:c:d:m-1", "execution": due()}
    run({**due(), **task_limits(saved)}, machine_of(of_machine), NOON_MS)
    confirms = ["UpdateItem executions"] if workflow_type == "express" else []
    assert made == [*_BEGIN[exclusive], "GetItem services", *confirms]
    made.clear()
    assert call_back(target, status="success") == 200
    extends = ["UpdateItem jobs"] if exclusive else []
    assert made == ["GetItem executions", *extends, *_END]
    assert "settled_at_ms" in stored(due())


def calls_to_dynamodb(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "dynamodb":
            of_transaction = [
                f"{kind} {change['TableName']}"
                for part in request.get("TransactItems", [])
                for kind, change in part.items()
            ]
            made.append(f"{operation} {request.get('TableName') or ', '.join(of_transaction)}")
        return call(client, operation, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return made
