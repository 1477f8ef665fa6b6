"""Each check of random life finds its own kind of fault in an otherwise faultless life."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id
from tests.life.checks import (
    attempts,
    by_hand,
    callbacks,
    chains,
    ends,
    limits,
    lists,
    notifications,
    ticks,
    waiting,
)
from tests.life.checks.known import Known
from tests.life.journal import Asked, CalledBack, Delivered, Fact, Journal, Ticked
from tests.life.living import Job, Life, Limit
from tests.life.model import NO_JOB, State, Timeline, put
from tests.life.stalls import Stalls

GUID = "97cc7f1c-5b0e-5e2c-9a3f-0123456789ab"
MOVING_GUID = "5f0d1f0a-3c1e-5a44-8a57-0123456789ab"
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
        self.define()
        self.moving = Job("moving", MOVING_GUID)
        self.records = {FIRST: record(FIRST, T, 1), SECOND: record(SECOND, T + 60_000, 2)}
        self.chained: dict[str, Job] = {}
        self.after: dict[str, dict[str, tuple[str, ...]]] = {}
        self.limits: dict[str, Limit] = {}
        self.items: dict[str, Any] = {"a": {"job_key": "s/a", "fencing_token": 2}}
        self.limit_items: dict[str, Any] = {}
        self.queued: list[str] = []
        self.facts: list[Fact] = []
        for name, at_ms in ((FIRST, T), (SECOND, T + 60_000)):
            self.facts += [
                Ticked(schedule=SCHEDULE, scheduled_ms=at_ms, sent_ms=at_ms + 50, answered_ms=at_ms + 90),
                came(name, at_ms + 500),
                called(name, at_ms + 1000, {"status": "processing"}),
                called(name, at_ms + 1950, SUCCESS),
            ]
        self.machines = {FIRST: "SUCCEEDED", SECOND: "SUCCEEDED"}
        self.timeouts_ms: dict[str, list[int]] = {}
        self.stalls = Stalls(lambda: 0.0)
        self.events = [
            {"event": "execution.succeeded", "execution_id": name, "job_name": "a"} for name in self.records
        ]

    def define(self, at_ms: int = T - 9000, **fields: Any) -> None:
        """The job is put again, with these fields; by default with ``skip``."""
        body = {"schedule": SCHEDULE, "enabled": True, "exclusive": True}
        body |= {"overlap": fields.pop("overlap")} if "overlap" in fields else {}
        self.job.timeline.changes(at_ms, put(body | fields))
        self.job.timeline.answered(at_ms + 1000, True)

    def broken(self, check: Check) -> list[str]:
        journal = Journal()
        for fact in self.facts:
            journal.begin(fact)
        life = SimpleNamespace(
            journal=journal,
            jobs={"a": self.job},
            planned={"a": self.job} | self.chained,
            chained=self.chained,
            after=self.after,
            limits=self.limits,
            moving=self.moving,
            all_jobs=[self.job, *self.chained.values()],
            events=self.events,
            records=lambda: self.records,
            job_items=lambda: self.items,
            limit_items=lambda: self.limit_items,
            queued=lambda: self.queued,
            machines=lambda: self.machines,
            task_timeouts_ms=self._task_timeouts_ms,
            stalls=self.stalls,
        )
        return [what for what, _ in check(Known.of(cast(Life, life)))]

    def _task_timeouts_ms(self, name: str) -> list[int]:
        assert name in self.machines, "no such execution of the state machine"
        return self.timeouts_ms.get(name, [])


ALL: tuple[Check, ...] = (
    callbacks.acknowledged_results,
    callbacks.refused_callbacks,
    callbacks.late_callbacks,
    ticks.due_jobs,
    ticks.undue_jobs,
    by_hand.started_by_hand,
    by_hand.cancelled,
    attempts.attempts_after_delete,
    attempts.late_attempts,
    attempts.missing_attempts,
    notifications.repeated_notifications,
    notifications.sync_results,
    notifications.lock_holders,
    ends.explained_ends,
    ends.machines,
    lists.events,
    callbacks.heartbeats,
    waiting.running_beside,
    waiting.order_of_turns,
    waiting.newest_waits,
    waiting.cancelled_for_the_next,
    waiting.ended_waits,
    waiting.late_turns,
    waiting.nothing_is_left,
    limits.full_slots,
    limits.slots_taken,
    limits.idle_slots,
    limits.paced_notifications,
    chains.chained_starts,
    chains.missing_starts,
)


@pytest.mark.parametrize("check", ALL)
def test_a_faultless_life_passes_every_check(check: Check) -> None:
    assert World().broken(check) == []


def test_an_acknowledged_result_that_the_record_lacks_is_found() -> None:
    world = World()
    world.records[FIRST]["state"] = "another"
    (seen,) = world.broken(callbacks.acknowledged_results)
    assert "acknowledged was" in seen


def test_two_acknowledged_results_of_one_attempt_are_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 1960, {"status": "fail", "error": "x"}))
    assert f"two results of attempt 1 of {FIRST} were acknowledged" in world.broken(
        callbacks.acknowledged_results
    )


def test_an_accepted_forged_callback_is_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 900, SUCCESS, is_genuine=False))
    assert world.broken(callbacks.refused_callbacks) == [f"a forged callback of {FIRST} was answered 200"]


def test_a_refused_callback_that_came_in_time_is_found() -> None:
    world = World()
    world.records[FIRST]["finished_at_ms"] = T + 8000
    world.facts.append(called(FIRST, T + 1100, {"status": "processing"}, 410))
    assert world.broken(callbacks.refused_callbacks) == [
        f"a callback of {FIRST} was answered 410, and it had not ended"
    ]


def test_a_due_job_that_was_not_started_is_found() -> None:
    world = World()
    del world.records[SECOND]
    (seen,) = world.broken(ticks.due_jobs)
    assert seen.startswith("no execution of a for cron")


@pytest.mark.parametrize(("catch_up", "is_fault"), [("one", True), ("none", False)])
def test_a_missed_tick_that_did_not_start_a_job_which_catches_up_is_found(
    catch_up: str, is_fault: bool
) -> None:
    world = World()
    world.job.timeline = Timeline()
    world.job.timeline.changes(T - 9000, put({"schedule": SCHEDULE, "enabled": True, "catch_up": catch_up}))
    world.job.timeline.answered(T - 8000, True)
    for fact in world.facts:
        if isinstance(fact, Ticked):
            fact.is_missed = True
    del world.records[SECOND]
    assert bool(world.broken(ticks.due_jobs)) is is_fault


def test_a_missed_tick_does_not_start_a_job_that_was_deleted_and_created_again_since() -> None:
    world = World()
    world.job.timeline = Timeline()
    catches_up = put({"schedule": SCHEDULE, "enabled": True, "catch_up": "one"})
    for at_ms, change in ((T - 9000, catches_up), (T + 65_000, lambda _: NO_JOB), (T + 67_000, catches_up)):
        world.job.timeline.changes(at_ms, change)
        world.job.timeline.answered(at_ms + 1000, True)
    (tick,) = (fact for fact in world.facts if isinstance(fact, Ticked) and fact.scheduled_ms == T + 60_000)
    tick.is_missed = True
    del world.records[SECOND]
    assert len(world.broken(ticks.due_jobs)) == 1
    tick.sent_ms, tick.answered_ms = T + 90_000, T + 90_100
    assert world.broken(ticks.due_jobs) == []


def test_a_notification_after_an_acknowledged_pause_is_found() -> None:
    world = World()
    world.job.timeline.changes(T + 30_000, lambda state: state.paused(None))
    world.job.timeline.answered(T + 31_000, True)
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{SECOND} was notified, but")


def test_a_due_execution_that_was_skipped_is_found() -> None:
    world = World()
    world.records[FIRST] |= {
        "status": "skipped",
        "reason": {"code": "job_deleted", "detail": "the job was deleted"},
    }
    world.facts = [fact for fact in world.facts if fact.execution_id != FIRST]
    (seen,) = world.broken(ticks.undue_jobs)
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
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{FIRST} was skipped, the job has moved, but")
    world.records[f"{FIRST}-moved"] = record(f"{FIRST}-moved", T, 1)
    assert world.broken(ticks.undue_jobs) == []


def test_a_skip_is_right_if_a_newer_tick_came_before_a_late_execution_began() -> None:
    world = World()
    move(world, T + 1500)
    world.records[FIRST]["started_at_ms"] = T + 9000
    assert len(world.broken(ticks.undue_jobs)) == 1
    world.facts.append(Ticked(schedule=OTHER, scheduled_ms=T + 7000, sent_ms=T + 8000, answered_ms=T + 8100))
    assert world.broken(ticks.undue_jobs) == []


def test_a_job_that_ran_twice_for_one_time_is_seen() -> None:
    world = World()
    world.records[f"{FIRST}-moved"] = record(f"{FIRST}-moved", T, 3)
    assert world.broken(ticks.undue_jobs) == [f"a ran 2 times for {iso(T)}"]


def test_a_job_that_ran_for_a_tick_from_before_it_was_made_is_seen() -> None:
    world = World()
    early = T - 20_000
    late = execution_id(GUID, early)
    world.facts += [
        Ticked(schedule=SCHEDULE, scheduled_ms=early, sent_ms=T + 50, answered_ms=T + 90),
        came(late, T + 500),
    ]
    world.records[late] = {**record(late, T, 3), "scheduled_time_ms": early}
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{late} was notified, but")


def test_a_missed_tick_that_started_a_job_which_does_not_catch_up_is_found() -> None:
    world = World()
    for fact in world.facts:
        if isinstance(fact, Ticked) and fact.scheduled_ms == T:
            fact.is_missed = True
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{FIRST} was notified, but")
    world.job.timeline = Timeline()
    world.job.timeline.changes(T - 9000, put({"schedule": SCHEDULE, "enabled": True, "catch_up": "one"}))
    world.job.timeline.answered(T - 8000, True)
    assert world.broken(ticks.undue_jobs) == []


def test_a_late_tick_from_within_a_pause_that_ran_a_job_resumed_early_is_found() -> None:
    world = World()
    world.job.timeline.changes(T + 50_000, lambda state: state.paused(T + 120_000))
    world.job.timeline.answered(T + 51_000, True)
    world.job.timeline.changes(T + 62_000, lambda state: State(state.definition))
    world.job.timeline.answered(T + 62_100, True)
    for fact in world.facts:
        if isinstance(fact, Ticked) and fact.scheduled_ms == T + 60_000:
            fact.sent_ms, fact.answered_ms = T + 65_000, T + 65_100
    world.records[SECOND]["started_at_ms"] = T + 66_000
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{SECOND} was notified, but")


def test_a_tick_that_came_later_excuses_no_skip_if_it_read_the_job_after_its_move() -> None:
    world = World()
    move(world, T + 1500)
    late = next(each for each in world.facts if isinstance(each, Ticked) and each.schedule == OTHER)
    late.sent_ms, late.answered_ms = T + 3000, T + 3100  # while the first execution began
    world.records[FIRST]["started_at_ms"] = T + 3050
    (seen,) = world.broken(ticks.undue_jobs)
    assert seen.startswith(f"{FIRST} was skipped, the job has moved, but")


MINUTE = -(-T // 60_000) * 60_000
AT_MINUTE = execution_id(MOVING_GUID, MINUTE)


def moving_world(move_ms: int) -> World:
    """The moving job is made a minute before, moves once, and runs for the minute."""
    world = World()
    world.facts = [
        Asked(job="moving", what=what, status=200, sent_ms=MINUTE + at_ms, answered_ms=MINUTE + at_ms + 500)
        for what, at_ms in (("put", -50_000), ("put", move_ms), ("pause", 50_000))
    ]
    ran = {**record(AT_MINUTE, MINUTE, 1), "job_guid": MOVING_GUID, "job_name": "moving"}
    world.records = {AT_MINUTE: ran}
    return world


def test_a_moving_job_that_ran_once_is_right_and_twice_is_wrong() -> None:
    world = moving_world(200)
    assert world.broken(ticks.moving_job) == []
    moved = f"{AT_MINUTE}-moved"
    world.records[moved] = {**world.records[AT_MINUTE], "execution_id": moved}
    (seen,) = world.broken(ticks.moving_job)
    assert seen.startswith("the moving job ran 2 times")


def test_a_moving_job_whose_only_execution_was_skipped_is_found() -> None:
    world = moving_world(200)
    reason = {"code": "schedule_changed", "detail": "the job has moved"}
    world.records[AT_MINUTE] |= {"status": "skipped", "reason": reason}
    (seen,) = world.broken(ticks.moving_job)
    assert seen.startswith("the moving job ran 0 times")


def test_a_moving_job_may_be_missed_near_a_move_only() -> None:
    world = moving_world(200)
    world.records = {}
    assert world.broken(ticks.moving_job) == []
    world = moving_world(-20_000)
    world.records = {}
    assert len(world.broken(ticks.moving_job)) == 1


def retried(world: World, second_ms: int) -> None:
    """The first attempt of the first execution failed, and the second one was notified."""
    failed = {
        "attempt": 1,
        "status": "fail",
        "error": '"x"',
        "finished_at_ms": T + 1000,
        "next_attempt_at": 0,
    }
    retry = {"max_attempts": 3, "interval_seconds": 3, "backoff_rate": 1, "on": ["fail"]}
    world.records[FIRST] |= {"attempts": [failed], "retry": retry}
    world.facts.append(came(FIRST, second_ms, attempt=2))


def test_an_attempt_that_began_after_its_job_was_deleted_is_found() -> None:
    world = World()
    retried(world, T + 6000)
    deleted = Asked(job="a", what="delete", status=204, sent_ms=T + 2000, answered_ms=T + 2100)
    world.facts.append(deleted)
    assert world.broken(attempts.attempts_after_delete) == [
        f"attempt 2 of {FIRST} began after its job was deleted"
    ]
    deleted.answered_ms = T + 6100
    assert world.broken(attempts.attempts_after_delete) == []


def test_an_attempt_that_was_called_off_without_a_delete_is_found() -> None:
    world = World()
    retried(world, T + 6000)
    world.facts.pop()
    reason = {"code": "job_deleted", "detail": "the job was deleted"}
    world.records[FIRST] |= {"status": "cancelled", "reason": reason, "cause": "the job was deleted"}
    world.facts.append(called(FIRST, T + 900, {"status": "fail", "error": "x"}))
    (seen,) = world.broken(ends.explained_ends)
    assert seen.startswith(f"attempt 2 of {FIRST} ended as cancelled")
    world.facts.append(Asked(job="a", what="delete", status=204, sent_ms=T + 1200, answered_ms=T + 1300))
    assert world.broken(ends.explained_ends) == []


def test_an_attempt_that_had_to_follow_and_did_not_is_found() -> None:
    world = World()
    retried(world, T + 6000)
    world.records[FIRST] |= {"status": "fail", "error": '"x"'}
    del world.records[SECOND]
    assert world.broken(attempts.missing_attempts) == [
        f"{FIRST} ended after attempt 2, and another had to follow"
    ]
    world.records[FIRST]["retry"]["max_attempts"] = 2
    assert world.broken(attempts.missing_attempts) == []


def test_a_sync_success_without_the_state_that_its_service_answered_is_found() -> None:
    world = World()
    world.records[FIRST] |= {"async": False}
    result = {"state": "s", "summary": "done"}
    for fact in world.facts:
        if isinstance(fact, Delivered) and fact.execution_id == FIRST:
            fact.result = result
    assert world.broken(notifications.sync_results) == []
    del world.records[FIRST]["state"]
    (seen,) = world.broken(notifications.sync_results)
    assert seen.startswith(f"{FIRST} was answered")


def test_a_retry_after_that_was_not_honoured_is_found() -> None:
    world = World()
    world.facts = [came(FIRST, T + 500, "503 for seconds"), came(FIRST, T + 3400)]
    (seen,) = world.broken(notifications.repeated_notifications)
    assert seen == f"attempt 1 of {FIRST} was notified again after '503 for seconds', 2900 ms later"
    world.facts[1].sent_ms = T + 3600
    assert world.broken(notifications.repeated_notifications) == []


@pytest.mark.parametrize(("postponed", "most"), [(0, 6), (2, 8), (5, 11), (9, 11)])
def test_a_notification_is_sent_six_times_and_once_more_for_each_retry_after(
    postponed: int, most: int
) -> None:
    def world_with(number: int) -> World:
        world = World()
        answers = ["503 for seconds"] * min(postponed, number) + ["500"] * max(number - postponed, 0)
        world.facts = [came(FIRST, T + 500 + 3500 * n, answer) for n, answer in enumerate(answers)]
        error = {"status": "fail", "error": '"NotificationUndelivered"', "cause": "HTTP 500"}
        world.records = {FIRST: world.records[FIRST] | error}
        return world

    assert world_with(most).broken(notifications.repeated_notifications) == []
    assert world_with(most).broken(ends.explained_ends) == []
    assert len(world_with(most + 1).broken(notifications.repeated_notifications)) == 1
    assert len(world_with(most + 1).broken(ends.explained_ends)) == 1
    if most > 6:
        assert len(world_with(most - 1).broken(ends.explained_ends)) == 1


def test_a_timeout_by_the_reaper_while_the_next_delivery_was_waited_for_is_found() -> None:
    world = World()
    error = {"status": "timeout", "error": '"Job.HeartbeatTimeout"', "cause": "no heartbeat; reaped"}
    world.records[FIRST] |= error
    world.facts = [each for each in world.facts if each.execution_id != FIRST]
    world.facts.append(came(FIRST, T + 500, "503"))
    (seen,) = world.broken(ends.explained_ends)
    assert seen.startswith(f"attempt 1 of {FIRST} ended as timeout")


def test_a_run_by_hand_without_a_record_is_found() -> None:
    world = World()
    world.facts.append(Asked(job="a", execution_id="gone", what="run", status=201))
    assert world.broken(by_hand.started_by_hand) == ["gone was started by hand, and has no record"]


def test_a_run_refused_for_a_lock_that_nobody_held_is_found() -> None:
    world = World()
    refused = Asked(job="a", what="run", sent_ms=T + 20_000, answered_ms=T + 20_100, status=409)
    refused.answer = {"lock_execution": FIRST}
    world.facts.append(refused)
    (seen,) = world.broken(by_hand.started_by_hand)
    assert seen.endswith("held the lock, which it did not")


def test_an_acknowledged_cancellation_that_was_lost_is_found() -> None:
    world = World()
    world.facts.append(Asked(job="a", execution_id=FIRST, what="cancel", status=200))
    assert world.broken(by_hand.cancelled) == [f"{FIRST} was cancelled, and is success"]


def test_a_second_notification_after_a_received_answer_is_found() -> None:
    world = World()
    world.facts.append(came(FIRST, T + 800))
    (seen,) = world.broken(notifications.repeated_notifications)
    assert seen == f"attempt 1 of {FIRST} was notified again after 'accept'"


def test_a_second_notification_after_a_lost_answer_is_no_fault() -> None:
    world = World()
    world.facts = [came(FIRST, T + 300, "crash"), *world.facts]
    assert world.broken(notifications.repeated_notifications) == []


def test_a_callback_accepted_from_the_previous_holder_of_the_lock_is_found() -> None:
    world = World()
    world.facts.append(called(FIRST, T + 60_700, {"status": "processing"}))
    assert f"{FIRST} was accepted after {SECOND} was notified that it has the lock" in world.broken(
        notifications.lock_holders
    )


@pytest.mark.parametrize(
    ("status", "overdue_at", "is_fault"),
    [
        ("success", T + 30_000, True),
        ("cancelled", T + 90_000, True),
        ("cancelled", T + 30_000, False),
        ("timeout", T + 30_000, False),
    ],
)
def test_an_end_after_another_execution_had_the_lock_is_found_unless_it_was_overdue_before(
    status: str, overdue_at: int, is_fault: bool
) -> None:
    world = World()
    end = {"status": status, "finished_at_ms": T + 100_000, "lock_expires_at": overdue_at // 1000}
    world.records[FIRST] |= end
    assert bool(world.broken(notifications.lock_holders)) is is_fault


def test_an_end_that_the_services_conduct_does_not_explain_is_found() -> None:
    world = World()
    world.records[FIRST] |= {"status": "timeout", "error": '"Job.HeartbeatTimeout"', "cause": "silence"}
    (seen,) = world.broken(ends.explained_ends)
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
    world.timeouts_ms[FIRST] = [T + gave_up_ms]
    world.facts = [fact for fact in world.facts if fact.execution_id != FIRST] + [came(FIRST, T + 500)]
    for sent_ms, answered_ms in beats:
        beat = called(FIRST, T + sent_ms, {"status": "processing"})
        beat.answered_ms = T + answered_ms
        world.facts.append(beat)
    return world


def test_a_timeout_after_silence_is_explained() -> None:
    assert silent((3000, 3050), gave_up_ms=8040).broken(ends.explained_ends) == []


def test_a_timeout_is_explained_by_a_heartbeat_that_came_too_late_and_was_acknowledged() -> None:
    world = silent((100, 150), (3000, 5700), gave_up_ms=5140)
    assert world.broken(ends.explained_ends) == []


def test_a_timeout_is_explained_by_the_machine_that_has_the_name_before_the_move() -> None:
    """A job that was Express, and became Standard while it moved to another schedule of the same time."""
    world = silent(gave_up_ms=8040)
    move(world, T + 1500)
    skipped, moved = world.records[FIRST], f"{FIRST}-moved"
    world.records[moved] = record(moved, T, 1) | SILENT | {"finished_at_ms": T + 8340}
    world.records[FIRST] = skipped | {"workflow_type": "express"}
    world.machines = {FIRST: "FAILED"}
    world.facts += [came(moved, T + 500)]
    assert world.broken(ends.machines) == []
    assert world.broken(ends.explained_ends) == []
    world.timeouts_ms[FIRST] = [T + 3000]
    assert len(world.broken(ends.explained_ends)) == 1


def test_a_timeout_although_heartbeats_were_acknowledged_in_time_is_seen() -> None:
    for beats in ([(3000, 3050), (6000, 6050)], [(4900, 6900)]):
        (seen,) = silent(*beats, gave_up_ms=8040).broken(ends.explained_ends)
        assert seen.startswith(f"attempt 1 of {FIRST} ended as timeout")


def test_a_timeout_before_its_time_is_seen() -> None:
    assert len(silent(gave_up_ms=3000).broken(ends.explained_ends)) == 1


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize(
    ("status", "error"), [("timeout", "Job.HeartbeatTimeout"), ("fail", "Manager.NotNotified")]
)
def test_a_task_that_times_out_before_its_function_notifies_is_explained_by_a_slow_machine(
    status: str, error: str, attempt: int
) -> None:
    def late(is_slow: bool, is_delivered: bool = False) -> list[str]:
        world = World()
        world.facts = [fact for fact in world.facts if fact.execution_id != FIRST]
        if attempt == 2:
            retried(world, T)
            world.facts.pop()
            world.records[FIRST]["attempts"][0]["next_attempt_at"] = T // 1000 + 2
        if is_delivered:
            world.facts.append(came(FIRST, T + 6200, attempt=attempt))
        if is_slow:
            world.stalls.note(T + 4000, 500)
        ended = {"status": status, "error": f'"{error}"', "cause": "", "finished_at_ms": T + 6300}
        world.records[FIRST] |= ended | {"started_at_ms": T + (100 if attempt == 2 else 6100)}
        world.timeouts_ms[FIRST] = [T + 6000]
        return [what for what in world.broken(ends.explained_ends) if what.startswith(f"attempt {attempt} ")]

    assert len(late(is_slow=False)) == 1
    assert late(is_slow=True) == []
    assert len(late(is_slow=True, is_delivered=True)) == 1


def test_what_a_slow_machine_notes_late_is_not_wrong() -> None:
    def refused() -> World:
        world = World()
        asked = Asked(job="a", what="run", sent_ms=T + 6000, answered_ms=T + 6100, status=409)
        asked.answer = {"lock_execution": FIRST}
        world.facts.append(asked)
        return world

    world = refused()
    assert len(world.broken(by_hand.started_by_hand)) == 1
    world.stalls.note(T + 4000, 5000)
    assert world.broken(by_hand.started_by_hand) == []
    world = refused()
    world.stalls.note(T + 60_000, 5000)
    assert len(world.broken(by_hand.started_by_hand)) == 1


def test_an_internal_failure_is_found() -> None:
    world = World()
    world.records[FIRST] |= {"status": "fail", "error": '"Manager.NoOutcome"', "cause": "nobody knows"}
    assert len(world.broken(ends.explained_ends)) == 1


def test_a_state_machine_that_contradicts_the_record_is_found() -> None:
    world = World()
    world.machines[FIRST] = "FAILED"
    assert world.broken(ends.machines) == [f"{FIRST} is success, its machine FAILED"]


def test_wrong_and_missing_events_are_found() -> None:
    world = World()
    world.events = [{"event": "execution.failed", "execution_id": FIRST, "job_name": "a"}]
    assert world.broken(lists.events) == [
        f"{FIRST} is success, its events say {{'fail'}}",
        f"{SECOND} is success, its events say set()",
    ]


def test_an_uncounted_heartbeat_is_found() -> None:
    world = World()
    world.records[FIRST]["heartbeats"] = 0
    assert world.broken(callbacks.heartbeats) == [f"0 heartbeats of {FIRST} are counted, 1 were acknowledged"]


def silent_express(ended_ms: int) -> World:
    """The service of the first execution accepts it, sends a heartbeat a second later, and then nothing."""
    world = World()
    world.records[FIRST] |= {
        "workflow_type": "express",
        "status": "timeout",
        "error": '"Job.HeartbeatTimeout"',
        "cause": "no heartbeat and no result; reaped",
        "finished_at_ms": ended_ms,
    }
    world.facts = [fact for fact in world.facts if getattr(fact, "body", None) is not SUCCESS]
    return world


@pytest.mark.parametrize(("seconds", "is_fault"), [(8, True), (12, False), (130, False), (137, True)])
def test_an_express_execution_that_the_sweep_ends_early_or_late_is_found(
    seconds: int, is_fault: bool
) -> None:
    world = silent_express(T + 1000 * seconds)
    world.facts += [called(SECOND, T + 61_950, SUCCESS)]
    assert bool(world.broken(ends.explained_ends)) is is_fault


def test_nobody_stops_the_machine_of_an_express_execution() -> None:
    world = silent_express(T + 8000)
    world.facts += [
        called(SECOND, T + 61_950, SUCCESS),
        Asked(job="a", execution_id=FIRST, what="stop the machine", sent_ms=T + 3000, answered_ms=T + 3100),
    ]
    (seen,) = world.broken(ends.explained_ends)
    assert seen.startswith(f"attempt 1 of {FIRST} ended as timeout")


@pytest.mark.parametrize(("workflow_type", "is_fault"), [("express", True), ("standard", False)])
def test_a_next_attempt_that_the_sweep_starts_late_is_found(workflow_type: str, is_fault: bool) -> None:
    world = World()
    retried(world, T + 80_000)
    world.records[FIRST]["workflow_type"] = workflow_type
    world.records[FIRST]["attempts"][0]["next_attempt_at"] = T // 1000 + 4
    assert bool(world.broken(attempts.late_attempts)) is is_fault


@pytest.mark.parametrize(("seconds", "is_fault"), [(19, True), (21, False)])
def test_an_express_attempt_may_come_too_late_only_if_its_execution_is_over(
    seconds: int, is_fault: bool
) -> None:
    world = World()
    retried(world, T)
    world.facts.pop()
    world.facts.append(called(FIRST, T + 900, {"status": "fail", "error": "x"}))
    world.records[FIRST] |= {
        "workflow_type": "express",
        "status": "fail",
        "error": '"Manager.NotNotified"',
        "max_duration_seconds": 20,
        "finished_at_ms": T + 1000 * seconds,
    }
    assert bool(world.broken(ends.explained_ends)) is is_fault
