"""The turn of executions that wait: each runs once, with what it waited for, whatever fails on the way."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import to_item
from jobmanager.core.errors import Contended, ManagerError
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.executions import admission, machine, turn, waiting
from jobmanager.executions import cancel as cancelling
from jobmanager.executions import store as executions
from jobmanager.executions.begin_or_wait import begin_by_hand, begin_to_notify
from jobmanager.executions.cancel import cancel
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.record import Execution
from jobmanager.executions.turn import give_turns
from jobmanager.jobs import changes as job_changes
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import definition
from jobmanager.limits import changes as limit_changes
from jobmanager.limits import store as limits
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import due, end_as, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target
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


class Died(Exception):
    """A function that was killed."""


def die(*_: Any) -> None:
    raise Died


def look(asked: dict[str, str], seconds: float) -> int:
    """Handles one invocation of start_waiting_executions; returns how many executions it started."""
    return give_turns(asked, at(seconds), lambda: 300_000)


def started(machines: Machines) -> list[str]:
    """The executions whose machines were started."""
    return [passed["execution_id"] for _, passed in machines.started]


def waits_for_lock(**fields: Any) -> tuple[Execution, Execution]:
    """Returns the one that runs since noon, and the one that waits for its lock since nine seconds later."""
    save_job(**{"overlap": "queue_all", "ttl_seconds": 300, **fields})
    callback = callback_of(fields.get("workflow_type", "standard"))
    return begin(callback=callback), begin(9, callback=callback)


def waits_for_slot(
    slots: int = 1, waiting: int = 1, **fields: Any
) -> tuple[list[Execution], list[Execution]]:
    """Returns those of ``other`` that run since noon, and those of ``nightly`` that wait for a slot."""
    put_limit(slots=slots)
    save_job("other", limit="db")
    save_job(**{"limit": "db", **fields})
    running = [begin_to_notify(due("other", at_ms=at(n)), OF_STANDARD, at(0)).record for n in range(slots)]
    callback = callback_of(fields.get("workflow_type", "standard"))
    return running, [begin(9 + number, callback=callback) for number in range(waiting)]


def waits_for_time(**fields: Any) -> Execution:
    """Returns an execution that waits since nine seconds after noon, for a time twenty seconds later."""
    put_limit(slots=5, per_second=1)
    save_job(**{"limit": "db", **fields})
    limits.reserve(limit(), "next_start_ms", at(28))
    record = begin(9, callback=callback_of(fields.get("workflow_type", "standard")))
    assert record["may_start_at_ms"] == at(29)
    return record


# --- the turn -----------------------------------------------------------------------------------------------


@WORKFLOW_TYPES
def test_the_end_of_one_gives_the_lock_to_the_next(
    workflow_type: str, turns: Turns, machines: Machines
) -> None:
    first, waits = waits_for_lock(workflow_type=workflow_type)
    end(first, 20)
    assert turns.asked == [OF_LOCK]
    assert turns.give(21) == 1
    runs = stored(waits)
    assert (runs["status"], runs["fencing_token"], runs["started_at_ms"]) == ("running", 2, at(21))
    assert (runs["waiting_since_ms"], runs["lock_expires_at"]) == (at(9), NOON + 21 + 300)
    assert not {"waits_for", "reason", "may_start_at_ms"} & runs.keys()
    assert (job()["lock_execution"], job()["waiting_count"], queue_for_lock()) == (
        waits["execution_id"],
        0,
        [],
    )
    ((name, passed),) = machines.started
    suffix = "-express" if workflow_type == "express" else ""
    assert name == f"sjm-test-run-job{suffix}"
    assert (passed["execution_id"], passed["started_at_ms"], passed["fencing_token"]) == (
        waits["execution_id"],
        at(21),
        2,
    )


@WORKFLOW_TYPES
def test_one_whose_turn_has_come_is_notified_and_ends_like_any_other(
    workflow_type: str,
    turns: Turns,
    machines: Machines,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("functions.receive_callback.handler", "jobmanager.delivery.notify"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: at(30))
    first, waits = waits_for_lock(workflow_type=workflow_type, invocation_target=target.url, payload="old")
    save_job(
        overlap="queue_all",
        workflow_type=workflow_type,
        invocation_target=target.url,
        payload="new",
        at_ms=at(15),
    )
    end(first, 20)
    turns.give(20)
    ((_, passed),) = machines.started
    event: dict[str, Any] = {"task_token": "t-2"}
    if workflow_type == "express":
        event = {"machine_execution": "arn:aws:states:a:b:express:c:d:m-2", "execution": passed}
    run(passed, machine_of(event), at(21))
    (body,) = target.bodies
    assert (body["execution_id"], body["payload"], body["fencing_token"]) == (waits["execution_id"], "new", 2)
    assert body["scheduled_time"] == "2026-11-23T12:00:09Z"
    assert (sweep(90), turns.asked) == ({}, [])  # its machine was started, and is not started again
    assert call_back(target, status="success") == 200
    assert (stored(waits)["status"], "lock_execution" in job(), turns.asked) == ("success", False, [])
    run(passed, machine_of(event), at(40))
    assert len(target.bodies) == 1


def test_those_that_wait_get_the_lock_in_the_order_of_their_ticks(turns: Turns, machines: Machines) -> None:
    first, second = waits_for_lock()
    third, fourth = begin(11), begin(10)
    running = first
    for number, expected in enumerate((second, fourth, third)):
        end(running, 20 + number)
        assert turns.give(20 + number) == 1
        running = stored(expected)
        assert (running["status"], running["fencing_token"]) == ("running", 2 + number)
    assert started(machines) == [record["execution_id"] for record in (second, fourth, third)]
    end(running, 30)
    assert turns.asked == []


def test_a_slot_that_is_freed_goes_to_the_next_and_two_to_the_next_two(turns: Turns) -> None:
    running, waits = waits_for_slot(slots=3, waiting=4)
    end(running[0], 20)
    assert turns.asked == [OF_LIMIT]
    assert turns.give(20) == 1
    for each in running[1:]:
        end(each, 21)
    assert turns.give(22) == 2
    assert [summary(each)[0] for each in waits] == ["running"] * 3 + ["waiting"]
    assert limit()["holders"] == {each["execution_id"] for each in waits[:3]}
    assert (limit()["waiting_count"], queue_for_slots()) == (1, [waits[3]["execution_id"]])
    assert stored(waits[0])["holds_slot"] is True


def test_one_that_gets_the_lock_and_no_slot_waits_for_that_with_the_lock(turns: Turns) -> None:
    save_job("other", limit="db")
    put_limit(slots=2)
    save_job(overlap="queue_all", limit="db")
    first, waits = begin(), begin(9)
    end(first, 10)
    others = [begin(second, "other") for second in (11, 12)]
    assert turns.give(13) == 0
    moved = stored(waits)
    assert (moved["status"], moved["waits_for"], moved["fencing_token"]) == ("waiting", "slot", 2)
    assert (moved["reason"]["code"], moved["waiting_since_ms"]) == ("limit_reached", at(9))
    assert (queue_for_lock(), job()["waiting_count"]) == ([], 0)
    assert (queue_for_slots(), limit()["waiting_count"]) == ([waits["execution_id"]], 1)
    assert (job()["lock_execution"], job()["lock_expires_at"]) == (waits["execution_id"], NOON + 13 + 3600)
    end(others[0], 20)
    assert turns.give(21) == 1
    runs = stored(waits)
    assert (runs["status"], runs["fencing_token"], runs["waiting_since_ms"]) == ("running", 2, at(9))
    assert job()["lock_expires_at"] == NOON + 21 + runs["ttl_seconds"]


def test_one_that_gets_the_lock_and_the_slot_may_wait_for_its_time(turns: Turns) -> None:
    put_limit(slots=2, per_second=1)
    save_job(overlap="queue_all", limit="db")
    first, waits = begin(), begin(9)
    limits.reserve(limit(), "next_start_ms", at(29))
    end(first, 10)
    assert turns.give(10) == 0
    moved = stored(waits)
    assert (moved["waits_for"], moved["may_start_at_ms"], moved["holds_slot"]) == ("start", at(30), True)
    assert turns.sent == [({"waiting_execution": waits["execution_id"], "may_start_at_ms": at(30)}, 20)]
    assert look({"execution_id": waits["execution_id"]}, 30) == 1
    runs = stored(waits)
    assert (runs["status"], runs["holds_slot"], runs["fencing_token"]) == ("running", True, 2)
    assert limit()["holders"] == {waits["execution_id"]}


def test_a_look_at_one_whose_time_has_not_come_sends_its_message_again(turns: Turns) -> None:
    waits = waits_for_time()
    turns.sent.clear()
    of_it = {"execution_id": waits["execution_id"]}
    assert look(of_it, 10) == 0
    assert turns.sent == [({"waiting_execution": waits["execution_id"], "may_start_at_ms": at(29)}, 19)]
    assert (look(of_it, 28), look(of_it, 28), summary(waits)) == (1, 0, ("running", None))
    assert look({"execution_id": due(at_ms=at(99))["execution_id"]}, 28) == 0


@pytest.mark.parametrize("asked", [OF_LOCK, OF_LIMIT, {**OF_LOCK, "job_name": "unknown"}])
def test_a_look_at_what_nobody_waits_for_does_nothing(asked: dict[str, str]) -> None:
    save_job(overlap="queue_all")
    put_limit(slots=1)
    begin()
    assert look(asked, 1) == 0


# --- payloads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["small", "ü" * 8000, ""])
def test_a_payload_by_hand_is_kept_over_the_wait(payload: str, turns: Turns) -> None:
    save_job(overlap="queue_all", payload="of the job")
    first = begin()
    by_hand: Any = {"started_by": "ann", "payload": payload, "rerun_of": first["execution_id"]}
    waits = begin_by_hand(due(at_ms=at(1)), by_hand, at(1))
    assert waits["status"] == "waiting"
    end(first, 2)
    assert turns.give(2) == 1
    runs = executions.whole(stored(waits), "payload")
    assert (runs["payload"], runs["started_by"], runs["rerun_of"]) == (payload, "ann", first["execution_id"])


@pytest.mark.parametrize("payload", ["new", "ü" * 8000])
def test_otherwise_the_payload_is_that_of_the_job_at_the_time_of_the_turn(payload: str, turns: Turns) -> None:
    first, waits = waits_for_lock(payload="old", ttl_seconds=100)
    save_job(overlap="queue_all", payload=payload, ttl_seconds=200, at_ms=at(10))
    end(first, 11)
    assert turns.give(11) == 1
    runs = executions.whole(stored(waits), "payload")
    assert (runs["payload"], runs["ttl_seconds"]) == (payload, 200)


def test_one_that_moves_on_to_wait_for_a_slot_keeps_its_own_large_payload(turns: Turns) -> None:
    put_limit(slots=1)
    save_job("other", limit="db")
    save_job(overlap="queue_all", limit="db")
    first = begin()
    by_hand: Any = {"started_by": "ann", "payload": "ü" * 8000}
    waits = begin_by_hand(due(at_ms=at(1)), by_hand, at(1))
    end(first, 2)
    limits.free("billing", "db", first["execution_id"])
    other = begin_to_notify(due("other"), OF_STANDARD, at(2)).record
    turns.give(3)
    assert stored(waits)["waits_for"] == "slot"
    end(other, 4)
    turns.give(5)
    assert executions.whole(stored(waits), "payload")["payload"] == "ü" * 8000


# --- a function that dies, and two at once ------------------------------------------------------------------


@WORKFLOW_TYPES
@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_the_sweep_starts_the_machine_of_one_whose_function_died_after_the_turn(
    waits_for: str, workflow_type: str, turns: Turns, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run(waits_for, workflow_type)
    with monkeypatch.context() as dying, pytest.raises(Died):
        dying.setattr(turn, "start_machine_of", die)
        look(asked, second)
    runs = stored(waits)
    assert (runs["status"], started(machines)) == ("running", [])
    assert look(asked, second) == 0  # Lambda's retry finds that it does not wait
    assert (sweep(second + 4), started(machines)) == ({}, [])
    assert sweep(second + 5) == {"restarted": 1}
    ((name, passed),) = machines.started
    assert name.endswith("-express") == (workflow_type == "express")
    assert (passed["execution_id"], passed["attempt"]) == (waits["execution_id"], 1)
    assert sweep(second + 64) == {}


def about_to_run(waits_for: str, workflow_type: str = "standard") -> tuple[Execution, dict[str, str], int]:
    """Returns one whose turn has come, what to look at, and the second after noon."""
    if waits_for == "lock":
        first, waits = waits_for_lock(workflow_type=workflow_type)
        end(first, 20)
        return waits, OF_LOCK, 21
    if waits_for == "slot":
        (first,), (waits,) = waits_for_slot(workflow_type=workflow_type)
        end(first, 20)
        return waits, OF_LIMIT, 21
    waits = waits_for_time(workflow_type=workflow_type)
    return waits, {"execution_id": waits["execution_id"]}, 29


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_a_function_that_dies_before_the_turn_is_written_changes_nothing(
    waits_for: str, monkeypatch: pytest.MonkeyPatch, machines: Machines
) -> None:
    waits, asked, second = about_to_run(waits_for)
    with monkeypatch.context() as dying, pytest.raises(Died):
        dying.setattr(executions, "replace_waiting", die)
        look(asked, second)
    assert stored(waits) == waits
    assert look(asked, second) == 1
    assert started(machines) == [waits["execution_id"]]


def test_a_function_that_dies_after_the_machine_was_started_is_repeated_in_vain(
    turns: Turns, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run("lock")
    start = machine.start_machine_of

    def start_and_die(record: Execution) -> None:
        start(record)
        raise Died

    with monkeypatch.context() as dying, pytest.raises(Died):
        dying.setattr(turn, "start_machine_of", start_and_die)
        look(asked, second)
    assert (look(asked, second), started(machines)) == (0, [waits["execution_id"]])


def test_one_that_was_to_wait_for_its_time_and_got_no_message_gets_one_by_the_sweep(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_limit(slots=2, per_second=1)
    save_job(overlap="queue_all", limit="db")
    first, waits = begin(), begin(9)
    limits.reserve(limit(), "next_start_ms", at(999))
    end(first, 10)
    with monkeypatch.context() as dying, pytest.raises(Died):
        dying.setattr(turn, "send_at_its_time", die)
        turns.give(10)
    assert (stored(waits)["waits_for"], turns.sent) == ("start", [])
    assert stored(waits)["sweep_at"] == NOON + 310
    sweep(310)
    assert (turns.asked, stored(waits)["sweep_at"]) == (
        [{"execution_id": waits["execution_id"]}],
        NOON + 1300,
    )
    assert turns.give(310) == 0
    assert [delay for _, delay in turns.sent] == [690]


def test_a_skip_that_was_recorded_by_a_function_that_died_is_settled_by_the_sweep(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, waits = waits_for_lock(starting_deadline_seconds=30)
    end(first, 60)
    with monkeypatch.context() as dying, pytest.raises(Died):
        dying.setattr(turn, "settle", die)
        turns.give(60)
    assert (summary(waits), "settled_at_ms" in stored(waits)) == (("skipped", "lock_held"), False)
    assert sweep(60 + 61) == {"closed": 1}
    assert ("settled_at_ms" in stored(waits), job()["waiting_count"]) == (True, 0)


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_of_two_looks_at_once_one_starts_it(
    waits_for: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run(waits_for)
    by_the_other: list[int] = []
    between(monkeypatch, lambda: by_the_other.append(look(asked, second)))
    assert (look(asked, second), by_the_other) == (0, [1])
    assert started(machines) == [waits["execution_id"]]
    assert stored(waits).get("fencing_token", 2) == 2
    if waits_for == "slot":
        assert limit()["waiting_count"] == 0


def between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Lets something happen between the next decision about a turn and its write."""
    decide = admission.admit

    def admit_late(*arguments: Any) -> Any:
        decided = decide(*arguments)
        monkeypatch.setattr(turn, "admit", decide)
        happens()
        return decided

    monkeypatch.setattr(turn, "admit", admit_late)


def as_found(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], after: bool = False) -> None:
    """Lets something happen as a look reads the record of the first in the queue: before, or ``after``."""
    find = executions.find

    def find_late(execution_id: str) -> Execution | None:
        monkeypatch.setattr(executions, "find", find)
        found = find(execution_id) if after else None
        happens()
        return found if after else find(execution_id)

    monkeypatch.setattr(executions, "find", find_late)


@pytest.mark.parametrize("waits_for", ["lock", "slot"])
def test_one_that_got_its_turn_since_it_was_found_is_passed_over(
    waits_for: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run(waits_for)
    as_found(monkeypatch, lambda: look(asked, second))
    assert (look(asked, second), started(machines)) == (0, [waits["execution_id"]])


def test_one_whose_slot_is_gone_since_the_limit_was_read_goes_on_waiting(
    turns: Turns, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, waits = waits_for_slot(slots=2, waiting=2)
    end(running[0], 20)
    as_found(monkeypatch, lambda: put_limit(slots=1), after=True)
    assert turns.give(20) == 0
    assert [stored(each) for each in waits] == waits
    assert machines.started == []


def test_one_whose_lock_is_gone_since_the_job_was_read_goes_on_waiting(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, waits = waits_for_lock()
    end(first, 20)
    taken = "SET lock_execution = :other, lock_expires_at = :until"
    values = {":other": "x", ":until": NOON + 999}
    as_found(
        monkeypatch,
        lambda: jobs.update_if("billing", "nightly", taken, "attribute_exists(job_key)", values),
        after=True,
    )
    assert turns.give(20) == 0
    assert stored(waits) == waits


def test_one_that_waits_for_nothing_more_does_not_move_on() -> None:
    _, waits = waits_for_lock()
    with pytest.raises(AssertionError, match="only an execution that waits for something waits"):
        turn._moved(waits, job(), admission.Admission("run"), at(10))


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_an_execution_that_is_always_changed_by_others_is_given_up(
    waits_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked, second = about_to_run(waits_for)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(executions, "replace_waiting", lambda *_: False)
    with pytest.raises(Contended, match="is being changed by others"):
        look(asked, second)


def test_a_look_that_has_no_time_left_leaves_the_rest(turns: Turns) -> None:
    running, waits = waits_for_slot(slots=2, waiting=2)
    for each in running:
        end(each, 20)
    assert give_turns(OF_LIMIT, at(20), lambda: 9_999) == 0
    assert give_turns(OF_LOCK, at(20), lambda: 9_999) == 0
    assert [summary(each)[0] for each in waits] == ["waiting", "waiting"]


def test_an_execution_of_a_job_that_is_gone_from_the_table_is_an_error() -> None:
    waits, asked, second = about_to_run("start")
    dynamodb().delete_item(TableName="jobs", Key=to_item(jobs.key("billing", "nightly")))
    with pytest.raises(ManagerError, match=f"the job of {waits['execution_id']} does not exist any more"):
        look(asked, second)


# --- limits that change -------------------------------------------------------------------------------------


def test_a_limit_that_was_lowered_lets_nobody_start_until_enough_have_ended(turns: Turns) -> None:
    running, waits = waits_for_slot(slots=3, waiting=2)
    put_limit(slots=1)
    assert turns.asked == []
    for number, each in enumerate(running):
        end(each, 20 + number)
        assert turns.give(20 + number) == (number == 2)
    assert [summary(each)[0] for each in waits] == ["running", "waiting"]


def test_a_limit_that_was_raised_lets_as_many_more_start(turns: Turns) -> None:
    _, waits = waits_for_slot(slots=1, waiting=3)
    put_limit(slots=3)
    assert turns.asked == [OF_LIMIT]
    assert turns.give(20) == 2
    assert [summary(each)[0] for each in waits] == ["running", "running", "waiting"]


def test_all_start_whose_limit_was_deleted(turns: Turns) -> None:
    _, waits = waits_for_slot(slots=1, waiting=30)
    for name in ("other", "nightly"):
        save_job(name, at_ms=at(50))
    limit_changes.delete("billing", "db", list)
    assert turns.asked == [OF_LIMIT]
    assert turns.give(60) == 30
    assert {summary(each)[0] for each in waits} == {"running"}
    assert "holds_slot" not in stored(waits[0])
    assert queue_for_slots() == []


def test_those_that_waited_for_a_limit_that_was_made_again_get_its_slots(turns: Turns) -> None:
    """The new limit does not count them."""
    _, waits = waits_for_slot(slots=1, waiting=3)
    limits.delete(limit())
    put_limit(slots=2)
    assert look(OF_LIMIT, 60) == 2
    assert [summary(each)[0] for each in waits] == ["running", "running", "waiting"]
    assert limit()["holders"] == {each["execution_id"] for each in waits[:2]}
    assert limit().get("waiting_count", 0) == 0
    end(stored(waits[0]), 61)
    assert look(OF_LIMIT, 62) == 1


def test_those_that_wait_for_a_slot_get_times_if_the_limit_has_only_these_by_now(turns: Turns) -> None:
    running, waits = waits_for_slot(slots=1, waiting=3)
    put_limit(per_second=1)
    assert turns.asked == [OF_LIMIT]
    assert turns.give(20) == 2  # one that starts within a second waits in the function that notifies
    assert [summary(each)[0] for each in waits] == ["running", "running", "waiting"]
    last = stored(waits[2])
    assert (last["waits_for"], last["may_start_at_ms"]) == ("start", at(22))
    assert "holds_slot" not in last
    assert (limit()["waiting_count"], queue_for_slots()) == (0, [])
    assert look({"execution_id": last["execution_id"]}, 22) == 1
    end(running[0], 30)
    assert "holders" not in limit()


def test_a_time_stays_reserved_if_the_limit_has_no_times_any_more() -> None:
    waits = waits_for_time()
    put_limit(slots=1)
    assert look({"execution_id": waits["execution_id"]}, 29) == 1
    assert stored(waits)["holds_slot"] is True


# --- jobs that change ---------------------------------------------------------------------------------------


def test_one_that_waits_for_a_slot_stays_under_its_limit_if_the_job_names_another(turns: Turns) -> None:
    (running,), (waits,) = waits_for_slot()
    limit_changes.save("billing", "web", {"slots": 1}, "ann", at(10))
    save_job(limit="web", at_ms=at(10))
    end(running, 20)
    assert turns.give(20) == 1
    runs = stored(waits)
    assert (runs["limit"], limit()["holders"]) == ("db", {waits["execution_id"]})
    assert "holders" not in limits.read("billing", "web")
    end(runs, 30)
    assert "holders" not in limit()


def test_one_that_waits_for_the_lock_is_under_the_limit_that_its_job_names_at_its_turn(turns: Turns) -> None:
    first, waits = waits_for_lock()
    put_limit(slots=1)
    save_job(overlap="queue_all", limit="db", at_ms=at(10))
    end(first, 20)
    assert turns.give(20) == 1
    assert (stored(waits)["limit"], limit()["holders"]) == ("db", {waits["execution_id"]})


def test_all_that_wait_for_the_lock_run_if_the_job_allows_overlap_by_then(turns: Turns) -> None:
    first, second = waits_for_lock()
    third = begin(10)
    save_job(overlap="allow", at_ms=at(11))
    end(first, 20)
    assert turns.give(20) == 2
    for each in (second, third):
        runs = stored(each)
        assert (runs["status"], runs["exclusive"], "fencing_token" in runs) == ("running", False, False)
    assert (job()["waiting_count"], queue_for_lock(), "lock_execution" in job()) == (0, [], False)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("allow", ["running", "running", "running"]),
        ("queue_one", ["running", "skipped", "waiting"]),
        ("cancel_running", ["cancelled", "skipped", "running"]),
    ],
)
def test_a_changed_job_decides_at_once_about_those_that_wait(
    overlap: str, expected: list[str], turns: Turns
) -> None:
    """Else they would wait for the sweep, which looks at them every five minutes."""
    executions = [*waits_for_lock(), begin(10)]
    put_again(overlap=overlap, ttl_seconds=300)
    assert turns.asked == [OF_LOCK]
    look(turns.asked.pop(), 11)
    assert [stored(each)["status"] for each in executions] == expected


def test_a_changed_job_for_which_nobody_waits_asks_for_nothing(turns: Turns) -> None:
    save_job(overlap="queue_all")
    begin()
    put_again(overlap="allow")
    assert turns.asked == []


def put_again(**fields: Any) -> None:
    """Changes the job as the update-job machine does."""
    body = {"schedule": "rate(5 minutes)", "invocation_type": "sns", **fields}
    name = {"service_name": "billing", "job_name": "nightly", "updated_by": "ann"}
    save_change({**name, "job": definition(body, "topic")}, at(11))


def test_one_that_waits_for_a_slot_keeps_the_lock_if_the_job_allows_overlap_by_then(turns: Turns) -> None:
    (running,), (waits,) = waits_for_slot(overlap="queue_all")
    save_job(limit="db", overlap="allow", at_ms=at(10))
    end(running, 20)
    assert turns.give(20) == 1
    runs = stored(waits)
    assert (runs["exclusive"], runs["fencing_token"]) == (True, 1)
    end(runs, 30)
    assert "lock_execution" not in job()


def test_none_runs_beside_one_that_began_without_the_lock_while_it_waited(turns: Turns) -> None:
    """The job allowed overlap for a moment."""
    first, waits = waits_for_lock()
    save_job(overlap="allow", ttl_seconds=300, at_ms=at(10))
    without_lock = begin(11)
    save_job(overlap="queue_all", ttl_seconds=300, at_ms=at(12))
    end(first, 20)
    assert turns.give(20) == 0
    assert summary(waits) == ("waiting", "lock_held")
    end(without_lock, 30)
    sweep(309)
    assert turns.give(309) == 1
    assert stored(waits)["fencing_token"] == 2


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_one_whose_job_was_deleted_while_it_waited_is_skipped(waits_for: str, turns: Turns) -> None:
    waits, asked, second = about_to_run(waits_for)
    job_changes.delete("billing", "nightly", "ann", at(15))
    assert look(asked, second) == 0
    assert summary(waits) == ("skipped", "job_deleted")
    assert "settled_at_ms" in stored(waits)
    assert nothing_is_left()


def nothing_is_left() -> bool:
    """Whether nobody waits or holds anything any more."""
    found = limits.find("billing", "db")
    is_free = found is None or (found.get("waiting_count", 0), found.get("holders")) == (0, None)
    counted = job().get("waiting_count", 0)
    return is_free and counted == 0 and not queue_for_lock() and not queue_for_slots()


def test_all_that_waited_for_the_lock_of_a_deleted_job_are_skipped(turns: Turns) -> None:
    first, second = waits_for_lock()
    third = begin(10)
    job_changes.delete("billing", "nightly", "ann", at(15))
    end(first, 20)
    assert turns.give(20) == 0
    assert {summary(second), summary(third)} == {("skipped", "job_deleted")}
    assert nothing_is_left()


@pytest.mark.parametrize("overlap", ["queue_one", "cancel_running"])
def test_only_the_last_waits_once_the_job_says_so(overlap: str, turns: Turns) -> None:
    _, second = waits_for_lock()
    third = begin(10)
    save_job(overlap=overlap, at_ms=at(11))
    fourth = begin(12)
    turns.give(13)
    assert [summary(each)[1] for each in (second, third)] == ["superseded"] * 2
    assert summary(fourth)[0] == ("waiting" if overlap == "queue_one" else "running")


@pytest.mark.parametrize("then", ["started", "ended", "moved"])
def test_one_that_stopped_waiting_since_it_was_found_is_not_superseded(
    then: str, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = waits_for_lock(overlap="queue_one")
    begin(10)
    find = executions.find

    def find_late(execution_id: str) -> Execution | None:
        found = find(execution_id)
        if found is None or execution_id != second["execution_id"]:
            return found
        if then == "ended":
            monkeypatch.setattr(executions, "find", find)
            cancel(found, "by ann", at(11))
            return found
        change = {"started": {"status": "running"}, "moved": {"waits_for": "slot"}}[then]
        return cast(Execution, {**found, **change})

    monkeypatch.setattr(executions, "find", find_late)
    turns.give(11)
    assert summary(second)[1] != "superseded"


# --- starting_deadline_seconds ------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
@pytest.mark.parametrize(
    ("waits_for", "code"), [("lock", "lock_held"), ("slot", "limit_reached"), ("start", "limit_reached")]
)
def test_one_may_start_until_its_deadline_and_is_skipped_for_why_it_waited(
    waits_for: str, code: str, late: bool, turns: Turns
) -> None:
    """The deadline counts from when it became due, nine seconds after noon."""
    fields = {"starting_deadline_seconds": 60}
    if waits_for == "lock":
        first, waits = waits_for_lock(**fields)
        asked = OF_LOCK
    elif waits_for == "slot":
        (first,), (waits,) = waits_for_slot(**fields)
        asked = OF_LIMIT
    else:
        first, waits = None, waits_for_time(**fields)
        asked = {"execution_id": waits["execution_id"]}
    assert waits["sweep_at"] == NOON + 70
    second = 70 if late else 69
    if first is not None:
        end(first, second)
    assert look(asked, second) == (not late)
    assert summary(waits) == (("skipped", code) if late else ("running", None))
    if late:
        assert stored(waits)["reason"]["detail"].endswith(", and starting_deadline_seconds have passed")
        assert nothing_is_left()


# --- the lock while it waits --------------------------------------------------------------------------------


@pytest.mark.parametrize("waits_for", ["slot", "start"])
def test_one_that_lost_the_lock_while_it_waited_is_skipped(waits_for: str, turns: Turns) -> None:
    if waits_for == "slot":
        (first,), (waits,) = waits_for_slot(overlap="queue_all")
        end(first, 20)
        asked = OF_LIMIT
    else:
        waits, asked = waits_for_time(overlap="queue_all"), {}
        asked = {"execution_id": waits["execution_id"]}
    lock_execution = "SET lock_execution = :other, lock_expires_at = :until"
    jobs.update_if(
        "billing",
        "nightly",
        lock_execution,
        "attribute_exists(job_key)",
        {":other": "x", ":until": NOON + 999},
    )
    assert look(asked, 30) == 0
    assert summary(waits) == ("skipped", "lock_lost")
    assert (job()["lock_execution"], nothing_is_left()) == ("x", True)


def test_one_whose_lock_expired_while_it_waited_takes_it_again(turns: Turns) -> None:
    (first,), (waits,) = waits_for_slot(overlap="queue_all")
    lock.free("billing", "nightly", waits["execution_id"])
    end(first, 20)
    assert turns.give(20) == 1
    assert (stored(waits)["fencing_token"], job()["lock_execution"]) == (2, waits["execution_id"])


def test_a_lock_that_passes_on_as_the_turn_is_given_is_not_taken_back(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,), (waits,) = waits_for_slot(overlap="queue_all")
    end(first, 20)

    def pass_on() -> None:
        lock_execution = "SET lock_execution = :other, lock_expires_at = :until"
        values = {":other": "x", ":until": NOON + 999}
        jobs.update_if("billing", "nightly", lock_execution, "attribute_exists(job_key)", values)

    between(monkeypatch, pass_on)
    assert turns.give(21) == 0
    assert summary(waits) == ("skipped", "lock_lost")


# --- cancel_running -----------------------------------------------------------------------------------------


def test_the_one_that_runs_is_cancelled_for_the_next(turns: Turns, machines: Machines) -> None:
    first, waits = waits_for_lock(overlap="cancel_running")
    assert turns.give(10) == 1
    cancelled, runs = stored(first), stored(waits)
    assert (cancelled["status"], runs["status"], runs["fencing_token"]) == ("cancelled", "running", 2)
    assert cancelled["cause"] == (
        f"cancelled by the manager: {waits['execution_id']} takes its place, as the job's overlap says"
    )
    assert [name for _, name in machines.signals] == ["Job.Cancelled"]
    assert job()["waiting_count"] == 0


def test_the_one_between_two_attempts_is_cancelled_and_its_machine_stopped(
    turns: Turns, machines: Machines
) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 600, "on": ["fail"]}
    save_job(overlap="cancel_running", retry=retry, max_duration_seconds=3600)
    first = begin()
    end_attempt(first, "fail", {"error": "LedgerBusy", "cause": ""}, at(1))
    waits = begin(9)
    assert turns.give(10) == 1
    assert (summary(first)[0], summary(waits)[0]) == ("cancelled", "running")
    assert machines.stopped_names == [first["execution_id"]]


def test_one_that_has_the_lock_and_waits_itself_is_cancelled_for_the_next(
    turns: Turns, machines: Machines
) -> None:
    (other,), (first,) = waits_for_slot(overlap="cancel_running")
    second = begin(10)
    assert turns.give(11) == 0
    assert (summary(first)[0], stored(second)["waits_for"]) == ("cancelled", "slot")
    assert (queue_for_slots(), limit()["waiting_count"]) == ([second["execution_id"]], 1)
    assert (job()["lock_execution"], stored(second)["fencing_token"]) == (second["execution_id"], 2)
    end(other, 20)
    assert turns.give(20) == 1
    assert machines.stopped == []


def test_one_whose_late_heartbeat_extends_the_lock_as_the_turn_comes_is_cancelled_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock had expired as the job was read, and is held again as the turn is decided about."""
    first, waits = waits_for_lock(overlap="cancel_running")
    as_found(monkeypatch, lambda: lock.extend("billing", "nightly", first["execution_id"], NOON + 602))
    assert look(OF_LOCK, 301) == 1
    assert (summary(first)[0], summary(waits)[0]) == ("cancelled", "running")


def test_one_that_runs_without_the_lock_is_not_cancelled_and_ends_the_look(turns: Turns) -> None:
    """The job allowed overlap for a moment. The sweep looks again."""
    first, waits = waits_for_lock(overlap="cancel_running")
    save_job(overlap="allow", ttl_seconds=300, at_ms=at(10))
    without_lock = begin(11)
    save_job(overlap="cancel_running", ttl_seconds=300, at_ms=at(12))
    end(first, 20)
    assert turns.give(20) == 0
    assert (summary(without_lock)[0], summary(waits)[0]) == ("running", "waiting")


def test_one_that_has_just_ended_otherwise_frees_the_lock_itself(turns: Turns) -> None:
    first, waits = waits_for_lock(overlap="cancel_running")
    end_as(first, "success", {}, at(9))
    assert turns.give(10) == 0
    assert (summary(first)[0], summary(waits)[0]) == ("success", "waiting")
    end(first, 10)
    assert turns.give(11) == 1
    assert summary(waits)[0] == "running"


def test_a_holder_without_a_record_keeps_the_lock_until_that_expires(turns: Turns) -> None:
    _, waits = waits_for_lock(overlap="cancel_running")
    lock_execution = "SET lock_execution = :other"
    jobs.update_if("billing", "nightly", lock_execution, "attribute_exists(job_key)", {":other": "x"})
    assert turns.give(10) == 0
    assert summary(waits)[0] == "waiting"
    assert look(OF_LOCK, 300) == 1


@WORKFLOW_TYPES
def test_a_lock_whose_holder_died_goes_to_the_next_once_it_has_expired(
    workflow_type: str, turns: Turns
) -> None:
    _, waits = waits_for_lock(workflow_type=workflow_type)
    sweep(309)
    assert turns.give(299) == 0
    sweep(610)
    assert turns.give(610) == 1
    assert stored(waits)["fencing_token"] == 2


# --- cancelled as the turn comes ----------------------------------------------------------------------------


@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_one_that_is_cancelled_as_its_turn_comes_does_not_run(
    waits_for: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run(waits_for)
    between(monkeypatch, lambda: cancel(stored(waits), "by ann", at(second)))
    assert look(asked, second) == 0
    assert (summary(waits)[0], machines.started) == ("cancelled", [])
    assert nothing_is_left()


@WORKFLOW_TYPES
@pytest.mark.parametrize("waits_for", ["lock", "slot", "start"])
def test_one_whose_turn_comes_as_it_is_cancelled_is_cancelled_as_it_runs(
    waits_for: str, workflow_type: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked, second = about_to_run(waits_for, workflow_type)
    end_waiting = waiting.end_waiting

    def end_late(*arguments: Any) -> Execution | None:
        monkeypatch.setattr(cancelling, "end_waiting", end_waiting)
        assert look(asked, second) == 1
        return end_waiting(*arguments)

    monkeypatch.setattr(cancelling, "end_waiting", end_late)
    assert cancel(waits, "by ann", at(second))["status"] == "cancelled"
    assert machines.stopped_names == ([] if workflow_type == "express" else [f"{waits['execution_id']}-w"])
    assert nothing_is_left()


def test_a_call_that_dynamodb_refuses_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked, second = about_to_run("lock")

    def refuse(*_: Any) -> bool:
        raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "TransactWriteItems")

    monkeypatch.setattr(executions, "replace_waiting", refuse)
    with pytest.raises(ClientError):
        look(asked, second)
