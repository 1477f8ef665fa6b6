"""Each check of random life finds its own kind of fault in an otherwise faultless life."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id
from tests.life import checks
from tests.life.checks import Known
from tests.life.journal import Asked, CalledBack, Delivered, Fact, Journal, Ticked
from tests.life.living import Job, Life
from tests.life.model import put
from tests.life.stalls import Stalls

GUID = "97cc7f1c-5b0e-5e2c-9a3f-0123456789ab"
SCHEDULE = "cron(0 2 * * ? *)"
T = 1_795_399_200_000
FIRST, SECOND = (execution_id(GUID, at_ms) for at_ms in (T, T + 60_000))
SUCCESS = {"status": "success", "summary": "done", "state": "s", "correlation_id": "c"}

type Check = Callable[[Known], Iterator[tuple[str, str | None]]]


def record(name: str, at_ms: int, token: int) -> dict[str, Any]:
    return {
        "execution_id": name,
        "job_guid": GUID,
        "job_name": "a",
        "scheduled_time_ms": at_ms,
        "started_at_ms": at_ms + 100,
        "finished_at_ms": at_ms + 2000,
        "settled_at_ms": at_ms + 2100,
        "lock_expires_at": at_ms // 1000 + 10,
        "fencing_token": token,
        "exclusive": True,
        "async": True,
        "ttl_seconds": 10,
        "max_duration_seconds": 86_400,
        "heartbeats": 1,
        "status": "success",
        **{key: SUCCESS[key] for key in ("summary", "state", "correlation_id")},
    }


def came(name: str, at_ms: int, answer: str = "accept", attempt: int = 1) -> Delivered:
    return Delivered(
        job="a",
        execution_id=name,
        sent_ms=at_ms,
        answered_ms=at_ms + 10,
        attempt=attempt,
        channel="http",
        answer=answer,
        notification={"callback_url": f"…/{name}/{at_ms}", "last_successful_execution": {}},
    )


def called(name: str, at_ms: int, body: dict[str, Any], status: int = 200, **more: Any) -> CalledBack:
    until = iso(at_ms + 10_000)
    answer = {"lock_expires_at": until} if status == 200 else {"execution_status": "success"}
    return CalledBack(
        job="a",
        execution_id=name,
        sent_ms=at_ms,
        answered_ms=at_ms + 50,
        attempt=1,
        body=body,
        status=status,
        answer=answer,
        **more,
    )


class World:
    """A faultless life: two executions of an exclusive job in turn, each with a heartbeat and a success."""

    def __init__(self) -> None:
        self.job = Job("a", GUID)
        self.job.timeline.changes(T - 9000, put({"schedule": SCHEDULE, "enabled": True}))
        self.job.timeline.answered(T - 8000, True)
        self.records = {FIRST: record(FIRST, T, 1), SECOND: record(SECOND, T + 60_000, 2)}
        self.facts: list[Fact] = []
        for name, at_ms in ((FIRST, T), (SECOND, T + 60_000)):
            self.facts += [
                Ticked(schedule=SCHEDULE, scheduled_ms=at_ms, sent_ms=at_ms + 50, answered_ms=at_ms + 90),
                came(name, at_ms + 500),
                called(name, at_ms + 1000, {"status": "processing"}),
                called(name, at_ms + 1950, SUCCESS),
            ]
        self.machines = {FIRST: "SUCCEEDED", SECOND: "SUCCEEDED"}
        self.gave_up_ms: dict[str, list[int]] = {}
        self.stalls = Stalls(lambda: 0.0)
        self.events = [
            {"event": "execution.succeeded", "execution_id": name, "job_name": "a"} for name in self.records
        ]

    def broken(self, check: Check) -> list[str]:
        journal = Journal()
        for fact in self.facts:
            journal.begin(fact)
        life = SimpleNamespace(
            journal=journal,
            jobs={"a": self.job},
            all_jobs=[self.job],
            events=self.events,
            records=lambda: self.records,
            job_items=dict,
            machines=lambda: self.machines,
            gave_up_ms=lambda name: self.gave_up_ms.get(name, []),
            stalls=self.stalls,
        )
        return [what for what, _ in check(Known.of(cast(Life, life)))]


ALL: tuple[Check, ...] = (
    checks._acknowledged_results,
    checks._refused_callbacks,
    checks._due_jobs,
    checks._undue_jobs,
    checks._by_hand,
    checks._cancelled,
    checks._repeated_notifications,
    checks._holders,
    checks._explained,
    checks._machines,
    checks._events,
    checks._heartbeats,
)


@pytest.mark.parametrize("check", ALL)
def test_a_faultless_life_passes_every_check(check: Check) -> None:
    assert World().broken(check) == []


def test_an_acknowledged_result_that_the_record_lacks_is_found() -> None:
    world = World()
    world.records[FIRST]["state"] = "another"
    (seen,) = world.broken(checks._acknowledged_results)
    assert "acknowledged was" in seen


def test_two_acknowledged_results_of_one_attempt_are_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 1960, {"status": "fail", "error": "x"}))
    assert f"two results of attempt 1 of {FIRST} were acknowledged" in world.broken(
        checks._acknowledged_results
    )


def test_an_accepted_forged_callback_is_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 900, SUCCESS, is_genuine=False))
    assert world.broken(checks._refused_callbacks) == [f"a false callback of {FIRST} was answered 200"]


def test_a_refused_callback_that_came_in_time_is_found() -> None:
    world = World()
    world.records[FIRST]["finished_at_ms"] = T + 8000
    world.facts.append(called(FIRST, T + 1100, {"status": "processing"}, 410))
    assert world.broken(checks._refused_callbacks) == [
        f"a callback of {FIRST} was answered 410, and it had not ended"
    ]


def test_a_due_job_that_was_not_started_is_found() -> None:
    world = World()
    del world.records[SECOND]
    (seen,) = world.broken(checks._due_jobs)
    assert seen.startswith("no execution of a for cron")


def test_a_notification_after_an_acknowledged_pause_is_found() -> None:
    world = World()
    world.job.timeline.changes(T + 30_000, lambda state: state.paused(None))
    world.job.timeline.answered(T + 31_000, True)
    (seen,) = world.broken(checks._undue_jobs)
    assert seen.startswith(f"{SECOND} was notified, but")


def test_a_due_execution_that_was_skipped_is_found() -> None:
    world = World()
    world.records[FIRST] |= {
        "status": "skipped",
        "reason": {"code": "job_deleted", "detail": "the job was deleted"},
    }
    world.facts = [fact for fact in world.facts if fact.execution_id != FIRST]
    (seen,) = world.broken(checks._undue_jobs)
    assert seen.startswith(f"{FIRST} was skipped, the job was deleted, but")


OTHER = "cron(0 2 1 * ? *)"


def move(world: World, at_ms: int) -> None:
    """The job moves to another schedule, which has a tick at the time of the first; neither runs it."""
    world.job.timeline.changes(at_ms, put({"schedule": OTHER, "enabled": True}))
    world.job.timeline.answered(at_ms + 10, True)
    world.facts = [fact for fact in world.facts if fact.execution_id != FIRST]
    world.facts.append(Ticked(schedule=OTHER, scheduled_ms=T, sent_ms=T + 5000, answered_ms=T + 5090))
    reason = {"code": "schedule_changed", "detail": "the job has moved"}
    world.records[FIRST] |= {"status": "skipped", "started_at_ms": T + 2000, "reason": reason}
    del world.records[SECOND]


@pytest.mark.parametrize("moved_ms", [T - 2000, T + 1500], ids=["before both ticks", "between them"])
def test_a_job_that_moved_between_two_schedules_that_fire_at_once_and_did_not_run_is_seen(
    moved_ms: int,
) -> None:
    world = World()
    move(world, moved_ms)
    (seen,) = world.broken(checks._undue_jobs)
    assert seen.startswith(f"{FIRST} was skipped, the job has moved, but")
    world.records[f"{FIRST}-moved"] = record(f"{FIRST}-moved", T, 1)
    assert world.broken(checks._undue_jobs) == []


def test_a_job_that_ran_twice_for_one_time_is_seen() -> None:
    world = World()
    world.records[f"{FIRST}-moved"] = record(f"{FIRST}-moved", T, 3)
    assert world.broken(checks._undue_jobs) == [f"a ran 2 times for {iso(T)}"]


def test_a_job_that_ran_for_a_tick_from_before_it_was_made_is_seen() -> None:
    world = World()
    early = T - 20_000
    late = execution_id(GUID, early)
    world.facts += [
        Ticked(schedule=SCHEDULE, scheduled_ms=early, sent_ms=T + 50, answered_ms=T + 90),
        came(late, T + 500),
    ]
    world.records[late] = {**record(late, T, 3), "scheduled_time_ms": early}
    (seen,) = world.broken(checks._undue_jobs)
    assert seen.startswith(f"{late} was notified, but")


def test_a_run_by_hand_without_a_record_is_found() -> None:
    world = World()
    world.facts.append(Asked(job="a", execution_id="gone", what="run", status=201))
    assert world.broken(checks._by_hand) == ["gone was begun by hand, and has no record"]


def test_a_run_refused_for_a_lock_that_nobody_held_is_found() -> None:
    world = World()
    refused = Asked(job="a", what="run", sent_ms=T + 20_000, answered_ms=T + 20_100, status=409)
    refused.answer = {"lock_execution": FIRST}
    world.facts.append(refused)
    (seen,) = world.broken(checks._by_hand)
    assert seen.endswith("held the lock, which it did not")


def test_an_acknowledged_cancellation_that_was_lost_is_found() -> None:
    world = World()
    world.facts.append(Asked(job="a", execution_id=FIRST, what="cancel", status=200))
    assert world.broken(checks._cancelled) == [f"{FIRST} was cancelled, and is success"]


def test_a_second_notification_after_a_received_answer_is_found() -> None:
    world = World()
    world.facts.append(came(FIRST, T + 800))
    (seen,) = world.broken(checks._repeated_notifications)
    assert seen == f"attempt 1 of {FIRST} was notified again after 'accept'"


def test_a_second_notification_after_a_lost_answer_is_no_fault() -> None:
    world = World()
    world.facts = [came(FIRST, T + 300, "crash"), *world.facts]
    assert world.broken(checks._repeated_notifications) == []


def test_a_callback_accepted_from_the_previous_holder_of_the_lock_is_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 60_700, {"status": "processing"}))
    assert f"{FIRST} was heard after {SECOND} had been told that it has the lock" in world.broken(
        checks._holders
    )


def test_an_end_that_the_services_conduct_does_not_explain_is_found() -> None:
    world = World()
    world.records[FIRST] |= {"status": "timeout", "error": '"Job.HeartbeatTimeout"', "cause": "silence"}
    (seen,) = world.broken(checks._explained)
    assert seen.startswith(f"attempt 1 of {FIRST} ended as timeout")


SILENT = {
    "status": "timeout",
    "error": '"Job.HeartbeatTimeout"',
    "cause": "",
    "heartbeat_interval_seconds": 5,
}


def silent(*beats: tuple[int, int], gave_up_ms: int) -> World:
    """A job with heartbeats that were sent and answered so long after its start, and a timeout."""
    world = World()
    world.records[FIRST] |= SILENT | {"finished_at_ms": T + gave_up_ms + 300}
    world.gave_up_ms[FIRST] = [T + gave_up_ms]
    world.facts = [fact for fact in world.facts if fact.execution_id != FIRST] + [came(FIRST, T + 500)]
    for sent_ms, answered_ms in beats:
        beat = called(FIRST, T + sent_ms, {"status": "processing"})
        beat.answered_ms = T + answered_ms
        world.facts.append(beat)
    return world


def test_a_timeout_after_silence_is_explained() -> None:
    assert silent((3000, 3050), gave_up_ms=8040).broken(checks._explained) == []


def test_a_timeout_is_explained_by_a_heartbeat_that_came_too_late_and_was_acknowledged() -> None:
    world = silent((100, 150), (3000, 5700), gave_up_ms=5140)
    assert world.broken(checks._explained) == []


def test_a_timeout_although_heartbeats_were_acknowledged_in_time_is_seen() -> None:
    for beats in ([(3000, 3050), (6000, 6050)], [(4900, 6900)]):
        (seen,) = silent(*beats, gave_up_ms=8040).broken(checks._explained)
        assert seen.startswith(f"attempt 1 of {FIRST} ended as timeout")


def test_a_timeout_before_its_time_is_seen() -> None:
    assert len(silent(gave_up_ms=3000).broken(checks._explained)) == 1


def test_what_a_slow_machine_notes_late_is_not_wrong() -> None:
    def refused() -> World:
        world = World()
        asked = Asked(job="a", what="run", sent_ms=T + 6000, answered_ms=T + 6100, status=409)
        asked.answer = {"lock_execution": FIRST}
        world.facts.append(asked)
        return world

    world = refused()
    assert len(world.broken(checks._by_hand)) == 1
    world.stalls.note(T + 4000, 5000)
    assert world.broken(checks._by_hand) == []
    world = refused()
    world.stalls.note(T + 60_000, 5000)
    assert len(world.broken(checks._by_hand)) == 1


def test_an_internal_failure_is_found() -> None:
    world = World()
    world.records[FIRST] |= {"status": "fail", "error": '"Manager.NoOutcome"', "cause": "nobody knows"}
    assert len(world.broken(checks._explained)) == 1


def test_a_state_machine_that_contradicts_the_record_is_found() -> None:
    world = World()
    world.machines[FIRST] = "FAILED"
    assert world.broken(checks._machines) == [f"{FIRST} is success, its machine FAILED"]


def test_wrong_and_missing_events_are_found() -> None:
    world = World()
    world.events = [{"event": "execution.failed", "execution_id": FIRST, "job_name": "a"}]
    assert world.broken(checks._events) == [
        f"{FIRST} is success, the events told {{'fail'}}",
        f"{SECOND} is success, the events told set()",
    ]


def test_an_uncounted_heartbeat_is_found() -> None:
    world = World()
    world.records[FIRST]["heartbeats"] = 0
    assert world.broken(checks._heartbeats) == [f"0 heartbeats of {FIRST} are counted, 1 were acknowledged"]
