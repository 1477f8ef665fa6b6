"""Each check of waiting, limits and chains finds its own kind of fault, and nothing in a life without it."""

from random import Random
from typing import Any

import pytest

from jobmanager.core.names import execution_id
from jobmanager.executions.start_children import next_arrivals
from jobmanager.jobs.definition import Arrival, Arrivals
from tests.life.checks import by_hand, callbacks, chains, ends, limits, ticks, waiting
from tests.life.journal import Asked, Ticked
from tests.life.living import Job, Limit
from tests.life.model import NO_JOB, LimitTimeline, put
from tests.unit.life.test_checks import (
    ALL,
    FIRST,
    GUID,
    SUCCESS,
    Check,
    T,
    World,
    called,
    came,
    record,
)

THIRD, FOURTH = (execution_id(GUID, at_ms) for at_ms in (T + 10_000, T + 20_000))


def line(overlap: str, *since_s: int, began_s: tuple[int, ...] = (), **fields: Any) -> World:
    """One execution runs from 0 to 60 s. Others begin to wait so many seconds after it, and run for a second.

    The first of them begins 61 s after the first execution, each other one two seconds later, if ``began_s``
    does not say more.
    """
    world = World()
    world.define(T - 7000, overlap=overlap, **fields)
    world.records, world.facts, world.events, world.machines = {}, [], [], {}
    world.records[FIRST] = ran(FIRST, 1, 0, 60)
    began = began_s or tuple(61 + 2 * place for place in range(len(since_s)))
    for token, (since, at) in enumerate(zip(since_s, began, strict=True), 2):
        name = execution_id(GUID, T + 1000 * since)
        world.records[name] = ran(name, token, at, at + 1) | {
            "scheduled_time_ms": T + 1000 * since,
            "waiting_since_ms": T + 1000 * since + 100,
        }
    for name, each in world.records.items():
        at_ms = each["started_at_ms"]
        world.facts += [came(name, at_ms + 300), called(name, each["finished_at_ms"] - 50, SUCCESS)]
        world.machines[f"{name}-w" if "waiting_since_ms" in each else name] = "SUCCEEDED"
        world.events.append({"event": "execution.succeeded", "execution_id": name, "job_name": "a"})
        due = {"schedule": "cron(0 2 * * ? *)", "scheduled_ms": each["scheduled_time_ms"]}
        world.facts.append(
            Ticked(**due, sent_ms=due["scheduled_ms"] + 50, answered_ms=due["scheduled_ms"] + 90)
        )
    return world


def ran(name: str, token: int, from_s: int, until_s: int) -> dict[str, Any]:
    made = record(name, T, token)
    return made | {
        "started_at_ms": T + 1000 * from_s + 100,
        "finished_at_ms": T + 1000 * until_s,
        "settled_at_ms": T + 1000 * until_s + 100,
        "lock_expires_at": T // 1000 + until_s + 10,
        "heartbeats": 0,
    }


def of(since_s: int) -> str:
    return execution_id(GUID, T + 1000 * since_s)


def wait_in_vain(world: World, since_s: int, until_s: int, code: str, status: str = "skipped") -> str:
    """Adds an execution that ends while it waits; returns its name."""
    name = of(since_s)
    world.records[name] = {
        "execution_id": name,
        "job_guid": GUID,
        "job_name": "a",
        "exclusive": True,
        "async": True,
        "scheduled_time_ms": T + 1000 * since_s,
        "started_at_ms": T + 1000 * since_s + 100,
        "waiting_since_ms": T + 1000 * since_s + 100,
        "finished_at_ms": T + 1000 * until_s,
        "settled_at_ms": T + 1000 * until_s + 100,
        "status": status,
        "reason": {"code": code, "detail": f"the lock is held by {FIRST}"},
    }
    return name


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("overlap", ["queue_all", "queue_one"])
def test_a_line_in_its_order_passes_every_check(check: Check, overlap: str) -> None:
    since_s = (10, 20, 30) if overlap == "queue_all" else (30,)
    assert line(overlap, *since_s).broken(check) == []


def test_one_that_overtakes_another_which_waited_before_is_found() -> None:
    world = line("queue_all", 10, 20)
    first, second = world.records[of(10)], world.records[of(20)]
    first["fencing_token"], second["fencing_token"] = 3, 2
    assert world.broken(waiting.order_of_turns) == [
        f"{of(20)} got the lock, and {of(10)} waited for it before"
    ]
    # It came only as the other had its turn.
    first["waiting_since_ms"] = T + 62_000
    assert world.broken(waiting.order_of_turns) == []


@pytest.mark.parametrize(("overlap", "is_fault"), [("queue_all", True), ("skip", False)])
def test_a_newcomer_that_takes_the_lock_for_which_another_waits_is_found_unless_it_needs_no_queue(
    overlap: str, is_fault: bool
) -> None:
    world = line("queue_all", 10)
    world.define(T + 50_000, overlap=overlap)
    newcomer = ran(of(60), 2, 60, 61) | {"scheduled_time_ms": T + 60_000}
    world.records[of(60)] = newcomer
    world.records[of(10)] |= {"fencing_token": 3, "started_at_ms": T + 62_000}
    assert bool(world.broken(waiting.order_of_turns)) is is_fault


def test_an_older_one_that_is_not_superseded_is_found() -> None:
    world = line("queue_one", 10, 30)
    assert world.broken(waiting.newest_waits) == [
        f"{of(10)} went on waiting for the lock, although {of(30)} did"
    ]
    assert line("queue_all", 10, 30).broken(waiting.newest_waits) == []


@pytest.mark.parametrize(("newer_s", "overlap"), [(5, "queue_one"), (30, "queue_all")])
def test_one_that_was_superseded_without_a_newer_one_is_found(newer_s: int, overlap: str) -> None:
    world = line(overlap, newer_s)
    name = wait_in_vain(world, 10, 31, "superseded")
    assert f"{name} was superseded, and no newer one waited" in world.broken(waiting.newest_waits)


def test_one_that_was_superseded_by_a_newer_one_is_right() -> None:
    world = line("queue_one", 30)
    wait_in_vain(world, 10, 31, "superseded")
    for check in (waiting.newest_waits, waiting.ended_waits, ends.explained_ends, ticks.undue_jobs):
        assert world.broken(check) == []


def test_one_that_runs_on_although_it_was_to_be_cancelled_is_found() -> None:
    world = line("cancel_running", 10)
    assert world.broken(waiting.cancelled_for_the_next) == [
        f"{FIRST} ran on, and was to be cancelled for {of(10)}"
    ]
    assert line("queue_all", 10).broken(waiting.cancelled_for_the_next) == []
    assert line("cancel_running", 50).broken(waiting.cancelled_for_the_next) == []


def cancelled_for(overlap: str, next_name: str) -> World:
    """The first execution is cancelled for the next one as that is due."""
    world = line(overlap, 10, began_s=(12,))
    cause = f"cancelled by the manager: {next_name} takes its place, as the job's overlap says"
    ended = {"status": "cancelled", "cause": cause, "finished_at_ms": T + 11_000, "settled_at_ms": T + 11_100}
    world.records[FIRST] |= ended
    world.machines[FIRST] = "ABORTED"
    world.facts = [
        fact for fact in world.facts if fact.execution_id != FIRST or getattr(fact, "body", None) != SUCCESS
    ]
    return world


def test_one_that_was_cancelled_for_the_next_is_explained_by_the_overlap_alone() -> None:
    assert cancelled_for("cancel_running", of(10)).broken(ends.explained_ends) == []
    for overlap, name in (("queue_all", of(10)), ("cancel_running", FIRST), ("cancel_running", "gone")):
        (seen,) = cancelled_for(overlap, name).broken(ends.explained_ends)
        assert seen.startswith(f"attempt 1 of {FIRST} ended as cancelled")


@pytest.mark.parametrize(("late_ms", "is_fault"), [(-500, False), (2000, True)])
@pytest.mark.parametrize("body", [SUCCESS, {"status": "processing"}])
def test_a_late_callback_of_a_cancelled_execution_that_is_acknowledged_is_found(
    body: dict[str, Any], late_ms: int, is_fault: bool
) -> None:
    world = cancelled_for("cancel_running", of(10))
    world.facts.append(called(FIRST, T + 11_000 + late_ms, body))
    assert bool(world.broken(callbacks.late_callbacks)) is is_fault


def test_one_that_runs_beside_another_from_before_the_job_had_a_lock_is_found() -> None:
    world = line("queue_all", 10)
    del world.records[FIRST]["fencing_token"]
    assert world.broken(waiting.running_beside) == []
    world.records[of(10)]["started_at_ms"] = T + 30_000
    for fact in world.facts:
        if fact.execution_id == of(10):
            fact.sent_ms -= 30_000
    assert world.broken(waiting.running_beside) == [
        f"{of(10)} took the lock and was notified while {FIRST} ran without it"
    ]


def test_a_lock_that_is_free_for_long_while_one_waits_is_found() -> None:
    assert line("queue_all", 10, began_s=(79,)).broken(waiting.late_turns) == []
    world = line("queue_all", 10, began_s=(90,))
    assert world.broken(waiting.late_turns) == [f"{of(10)} began 30000 ms after its turn had come"]
    world.records[FIRST] |= {"exclusive": False}
    del world.records[FIRST]["fencing_token"]
    assert world.broken(waiting.late_turns) == []  # the sweep looks for the end of such a one


@pytest.mark.parametrize(("deadline", "is_fault"), [(30, True), (60, False), (None, False)])
def test_one_that_begins_after_its_deadline_is_found(deadline: int | None, is_fault: bool) -> None:
    fields: dict[str, Any] = {} if deadline is None else {"starting_deadline_seconds": deadline}
    world = line("queue_all", 10, **fields)
    assert bool(world.broken(waiting.ended_waits)) is is_fault


@pytest.mark.parametrize(("until_s", "is_fault"), [(40, True), (41, False)])
def test_one_that_is_skipped_before_its_deadline_is_found(until_s: int, is_fault: bool) -> None:
    world = line("queue_all", starting_deadline_seconds=30)
    wait_in_vain(world, 10, until_s, "lock_held")
    assert bool(world.broken(waiting.ended_waits)) is is_fault


@pytest.mark.parametrize("code", ["lock_held", "job_deleted", "lock_lost"])
def test_one_that_ends_while_it_waits_for_no_reason_is_found(code: str) -> None:
    world = line("queue_all")
    wait_in_vain(world, 10, 500, code)
    (seen,) = world.broken(waiting.ended_waits)
    assert of(10) in seen


def test_one_that_begins_although_its_job_was_deleted_while_it_waited_is_found() -> None:
    world = line("queue_all", 10)
    assert world.broken(waiting.ended_waits) == []
    world.facts.append(Asked(job="a", what="delete", status=204, sent_ms=T + 20_000, answered_ms=T + 20_100))
    (seen,) = world.broken(waiting.ended_waits)
    assert seen == f"{of(10)} had to wait, and began although its job was deleted meanwhile"


def test_one_that_waited_is_due_by_the_state_of_its_job_as_it_began_to_wait() -> None:
    world = line("queue_all", 10)
    world.job.timeline.changes(T + 30_000, lambda state: state.paused(None))
    world.job.timeline.answered(T + 30_100, True)
    assert world.broken(ticks.undue_jobs) == []
    world.records[of(10)]["waiting_since_ms"] = T + 40_000
    assert len(world.broken(ticks.undue_jobs)) == 1


def test_a_run_by_hand_that_was_refused_although_it_may_wait_is_found() -> None:
    world = line("queue_all")
    refused = Asked(job="a", what="run", sent_ms=T + 20_000, answered_ms=T + 20_100, status=409)
    refused.answer = {"lock_execution": FIRST}
    world.facts.append(refused)
    assert world.broken(by_hand.started_by_hand) == [
        "refused by hand, and the overlap of the job lets an execution wait"
    ]
    world.define(T + 10_000, overlap="skip")
    assert world.broken(by_hand.started_by_hand) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda world: world.queued.append("waiting#x"), "waiting#x is still in a queue"),
        (lambda world: world.items["a"].update(waiting_count=1), "1 are counted as waiting for the lock"),
        (lambda world: world.items["a"].update(lock_execution=FIRST), f"{FIRST} still holds the lock"),
        (
            lambda world: world.items["a"].update(arrivals={"of": {}, "starting": {"execution_id": "x"}}),
            "x was to start, and was not",
        ),
        (
            lambda world: world.limit_items.update(db={"holders": {FIRST}}),
            f"db is held by ['{FIRST}'], and 0 are counted as waiting",
        ),
        (
            lambda world: world.limit_items.update(db={"waiting_count": 2}),
            "db is held by [], and 2 are counted as waiting",
        ),
        (
            lambda world: world.records[FIRST].update(status="waiting", waits_for="slot"),
            f"{FIRST} still waits for its slot",
        ),
    ],
)
def test_whatever_is_left_once_all_is_at_rest_is_found(change: Any, sentence: str) -> None:
    world = line("queue_all", 10)
    change(world)
    assert world.broken(waiting.nothing_is_left) == [sentence]


def test_the_second_machine_of_one_that_waited_has_to_agree_with_its_record() -> None:
    world = line("queue_all", 10)
    world.machines[of(10)] = "SUCCEEDED"  # of its tick
    assert world.broken(ends.machines) == []
    world.machines[f"{of(10)}-w"] = "FAILED"
    assert world.broken(ends.machines) == [f"{of(10)} is success, its machine FAILED"]
    del world.machines[f"{of(10)}-w"]
    assert world.broken(ends.machines) == [f"{of(10)} is success, its machine none"]
    world.machines = {FIRST: "SUCCEEDED", f"{of(10)}-w": "SUCCEEDED", of(10): "FAILED"}
    assert world.broken(ends.machines) == [f"{of(10)} had to wait, and its first machine is FAILED"]


def under_a_limit(definition: dict[str, int], *spans_s: tuple[int, int]) -> World:
    """Executions without a lock run for these spans under one limit. The n-th was due at n seconds."""
    world = World()
    world.define(T - 7000, overlap="allow", exclusive=False)
    timeline = LimitTimeline()
    timeline.changes(T - 7000, definition)
    timeline.answered(T - 6000, True)
    world.limits = {"db": Limit("db", timeline)}
    world.records, world.facts = {}, []
    for place, (from_s, until_s) in enumerate(spans_s):
        name = of(place)
        began = ran(name, 0, from_s, until_s)
        del began["fencing_token"]
        world.records[name] = began | {
            "limit": "db",
            "exclusive": False,
            "scheduled_time_ms": T + 1000 * place,
        }
        if "slots" in definition:
            world.records[name]["holds_slot"] = True
        if from_s > place:
            world.records[name]["waiting_since_ms"] = T + 1000 * place + 100
        world.facts.append(came(name, T + 1000 * from_s + 400))
    return world


LIMITS = (limits.full_slots, limits.slots_taken, limits.idle_slots, limits.paced_notifications)


@pytest.mark.parametrize("check", LIMITS)
def test_two_slots_of_which_each_is_taken_as_it_is_free_pass_every_check(check: Check) -> None:
    assert under_a_limit({"slots": 2}, (0, 50), (1, 60), (51, 90), (62, 95)).broken(check) == []


def test_more_executions_than_slots_are_found() -> None:
    world = under_a_limit({"slots": 2}, (0, 50), (1, 60), (40, 90))
    assert world.broken(limits.full_slots) == [f"db has 2 slots, and {[of(0), of(1), of(2)]} ran"]
    world.limits["db"].timeline.changes(T + 39_000, {"slots": 3})
    world.limits["db"].timeline.answered(T + 39_500, None)
    assert world.broken(limits.full_slots) == []


def test_a_limit_with_fewer_slots_takes_none_from_those_that_hold_one() -> None:
    world = under_a_limit({"slots": 2}, (0, 50), (1, 60))
    world.limits["db"].timeline.changes(T + 10_000, {"slots": 1})
    world.limits["db"].timeline.answered(T + 10_500, True)
    assert world.broken(limits.full_slots) == []


def test_one_that_begins_without_a_slot_is_found() -> None:
    world = under_a_limit({"slots": 2}, (0, 50))
    del world.records[of(0)]["holds_slot"]
    assert world.broken(limits.slots_taken) == [f"{of(0)} began without a slot of db"]


def test_one_that_gets_a_slot_for_which_another_waited_before_is_found() -> None:
    world = under_a_limit({"slots": 1}, (0, 20), (31, 40), (21, 30))
    assert world.broken(limits.slots_taken) == [f"{of(2)} got a slot, and {of(1)} waited for it before"]


def test_a_slot_that_is_free_for_long_while_one_waits_is_found() -> None:
    world = under_a_limit({"slots": 2}, (0, 20), (1, 90), (60, 70))
    assert world.broken(limits.idle_slots) == [f"{of(2)} waited 40000 ms for a free slot"]
    assert under_a_limit({"slots": 2}, (0, 20), (1, 90), (35, 70)).broken(limits.idle_slots) == []


def test_services_that_are_notified_sooner_than_their_limit_allows_are_found() -> None:
    spans = [(0, 5)] * 5
    assert under_a_limit({"per_second": 1}, *enumerate(range(5, 10))).broken(limits.paced_notifications) == []
    (seen,) = under_a_limit({"per_second": 1}, *spans).broken(limits.paced_notifications)[:1]
    assert seen == "3 services under db were notified within 0 ms, 1000 ms apart was right"
    assert under_a_limit({"slots": 3}, *spans).broken(limits.paced_notifications) == []
    assert under_a_limit({"per_second": 4}, *spans[:4]).broken(limits.paced_notifications) == []


OTHER_GUID, CHILD_GUID = (f"{number}f0d1f0a-3c1e-5a44-8a57-0123456789ab" for number in (6, 7))
ON_SUCCESS = ("success",)


def chained(*ends_s: tuple[str, int], starts: tuple[tuple[int, ...], ...] = (), **after: Any) -> World:
    """Parents ``a`` and ``b`` end after so many seconds. ``starts``: the places of the ends of each start."""
    world = World()
    world.records, world.facts = {}, []
    child, other = Job("child", CHILD_GUID), Job("b", OTHER_GUID)
    for each in (child, other):
        each.timeline.changes(T - 9000, put({"enabled": True}))
        each.timeline.answered(T - 8000, True)
    world.after = {"child": after.get("after") or {"a": ON_SUCCESS, "b": ON_SUCCESS}}
    world.chained = {"child": child, "b": other}
    names = []
    for parent, at_s in ends_s:
        guid = GUID if parent == "a" else OTHER_GUID
        name = execution_id(guid, T + 1000 * at_s - 10_000)
        names.append(name)
        ended = ran(name, 1, at_s - 9, at_s) | {"job_guid": guid, "job_name": parent, "state": f"of {name}"}
        world.records[name] = ended | {"children": []}
    for used in starts:
        add_start(world, [names[each] for each in used])
    return world


def add_start(world: World, parents: list[str]) -> str:
    last_ms = max(world.records[each]["finished_at_ms"] for each in parents)
    name = execution_id(CHILD_GUID, last_ms, str(len(world.records)))
    told = [
        {
            "job": world.records[each]["job_name"],
            "execution_id": each,
            "status": world.records[each]["status"],
        }
        for each in parents
    ]
    world.records[name] = record(name, last_ms, 1) | {
        "job_guid": CHILD_GUID,
        "job_name": "child",
        "parents": told,
    }
    for each in parents:
        world.records[each]["children"].append(name)
    delivered = came(name, last_ms + 400)
    delivered.notification["parents"] = [each | {"state": f"of {each['execution_id']}"} for each in told]
    world.facts.append(delivered)
    return name


def broken_chain(world: World) -> list[str]:
    return [*world.broken(chains.chained_starts), *world.broken(chains.missing_starts)]


AFTER_A = {"a": ON_SUCCESS}


def test_starts_after_one_and_after_two_parents_pass() -> None:
    assert broken_chain(chained(("a", 10), ("a", 60), starts=((0,), (1,)), after=AFTER_A)) == []
    ends_s = (("a", 10), ("a", 40), ("b", 70), ("b", 100), ("a", 130))
    assert broken_chain(chained(*ends_s, starts=((1, 2), (4, 3)))) == []


def test_an_end_after_which_nothing_was_started_is_found() -> None:
    world = chained(("a", 10), ("a", 60), starts=((0,),), after=AFTER_A)
    second = execution_id(GUID, T + 50_000)
    assert broken_chain(world) == [f"nothing was started after ['{second}']"]


def test_ends_of_two_parents_after_which_nothing_was_started_are_found() -> None:
    world = chained(("a", 10), ("b", 40))
    names = sorted(world.records)
    assert broken_chain(world) == [f"nothing was started after {names}"]
    assert broken_chain(chained(("a", 10), ("a", 40))) == []


def test_ends_that_are_so_near_that_their_order_is_unknown_prove_nothing() -> None:
    assert broken_chain(chained(("a", 10), ("a", 41), ("b", 40), starts=((0, 2),))) == []


@pytest.mark.parametrize("what", ["child", "parent"])
def test_a_job_that_was_missing_as_the_parent_ended_is_not_started(what: str) -> None:
    world = chained(("a", 60), after=AFTER_A)
    job = world.chained["child"] if what == "child" else world.job
    job.timeline.changes(T + 55_000, lambda _: NO_JOB)
    job.timeline.answered(T + 56_000, True)
    assert broken_chain(world) == []


def test_two_starts_after_one_end_are_found() -> None:
    world = chained(("a", 10), starts=((0,), (0,)), after=AFTER_A)
    assert any("all started after" in each for each in broken_chain(world))


def test_an_end_that_is_used_twice_with_another_one_is_found() -> None:
    world = chained(("a", 10), ("b", 40), ("b", 70), starts=((0, 1), (0, 2)))
    assert any("all started after" in each for each in broken_chain(world))


def test_a_start_after_older_ends_than_the_start_before_is_found() -> None:
    world = chained(("a", 10), ("b", 40), ("b", 70), ("a", 100), starts=((3, 1), (0, 2)))
    assert any("started after older ends than" in each for each in broken_chain(world))


@pytest.mark.parametrize(("status", "sentence"), [("fail", "after the end fail of a"), ("success", None)])
def test_a_start_after_a_failure_is_found_unless_the_job_is_to_run_then(
    status: str, sentence: str | None
) -> None:
    world = chained(("a", 10), after=AFTER_A)
    world.records[execution_id(GUID, T)]["status"] = status
    add_start(world, [execution_id(GUID, T)])
    seen = broken_chain(world)
    assert bool(seen) is (sentence is not None)
    assert sentence is None or any(sentence in each for each in seen)
    world.after = {"child": {"a": ("fail", "success")}}
    assert broken_chain(world) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"started_at_ms": T + 9000}, "its last parent ended at"),
        ({"scheduled_time_ms": T + 9000}, "its last parent ended at"),
        ({"parents": []}, "and its job runs after"),
    ],
)
def test_a_start_that_is_too_early_or_after_the_wrong_jobs_is_found(
    change: dict[str, Any], sentence: str
) -> None:
    world = chained(("a", 10), ("b", 40), starts=((0, 1),))
    (start,) = (each for each in world.records.values() if each["job_name"] == "child")
    start |= change
    assert any(sentence in each for each in broken_chain(world))


def test_a_notification_that_names_other_parents_or_states_is_found() -> None:
    world = chained(("a", 10), starts=((0,),), after=AFTER_A)
    world.records[execution_id(GUID, T)]["state"] = "another"
    (seen,) = broken_chain(world)
    assert "was notified of the parents" in seen


def test_a_parent_that_does_not_know_its_child_is_found() -> None:
    world = chained(("a", 10), starts=((0,),), after=AFTER_A)
    world.records[execution_id(GUID, T)]["children"] = []
    (seen,) = broken_chain(world)
    assert "is not known as a child of" in seen


def test_a_job_of_a_chain_that_runs_while_it_is_paused_is_found() -> None:
    world = chained(("a", 10), starts=((0,),), after=AFTER_A)
    world.chained["child"].timeline.changes(T, lambda state: state.paused(None))
    world.chained["child"].timeline.answered(T + 1000, True)
    (seen,) = broken_chain(world)
    assert "ran, and its job could only be" in seen


def after_ends_in_any_order(random: Random, loses_starts: bool) -> World:
    """What start_children makes of ends that it notes in any order in which they may come.

    If it ``loses_starts``, about half of them.
    """
    ends_s = {(random.choice("ab"), random.randint(10, 400)) for _ in range(random.randint(2, 10))}
    world, seen = chained(*sorted(ends_s)), Arrivals(of={})
    wanted: Any = {"job_guid": CHILD_GUID, "after": [{"job": each, "on": ["success"]} for each in "ab"]}
    ended = list(world.records.values())
    for each in sorted(ended, key=lambda each: each["finished_at_ms"] + random.uniform(0, 14_000)):
        noted = Arrival(
            job=each["job_name"],
            execution_id=each["execution_id"],
            status=each["status"],
            finished_at_ms=each["finished_at_ms"],
            chain_depth=1,
            is_used=False,
        )
        after = next_arrivals(wanted, seen, noted)
        if "starting" in after and not (loses_starts and random.random() < 0.5):
            add_start(world, [parent["execution_id"] for parent in after["starting"]["parents"]])
        seen = Arrivals(of=after["of"])
    return world


def test_no_order_in_which_ends_are_noted_is_taken_for_a_fault_and_lost_starts_are() -> None:
    assert not any(broken_chain(after_ends_in_any_order(Random(seed), False)) for seed in range(300))
    found = sum(bool(broken_chain(after_ends_in_any_order(Random(seed), True))) for seed in range(100))
    assert found > 40


def test_one_that_was_cancelled_after_its_turn_and_before_its_machine_is_explained() -> None:
    world, name = line("queue_all", 10), of(10)
    del world.machines[f"{name}-w"]
    world.facts = [fact for fact in world.facts if fact.execution_id != name]
    world.records[name] |= {"status": "cancelled", "cause": "cancelled by ann"}
    (unexplained,) = world.broken(ends.explained_ends)
    assert name in unexplained
    world.facts.append(Asked(job="a", execution_id=name, what="cancel", status=200))
    assert world.broken(ends.explained_ends) == []
