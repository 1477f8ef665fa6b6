"""Ticks start each due job once, and no other job."""

from __future__ import annotations

from collections import Counter, defaultdict

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id
from tests.integration.turn_invariants import decided_ms
from tests.life.checks.known import INDEX_MS, READ_MS, Faults, Known, has_waited
from tests.life.journal import Asked, Json, Ticked
from tests.life.living import MINUTE_MS, Job
from tests.life.model import NO_JOB

_RULE_LATE_MS = 30_000
"""How late EventBridge may fire a rule."""

_NEW_RULE_MS = 10_000
"""How long a new rule may not fire yet: "allow a short period of time for changes to take effect".
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html"""


def due_jobs(known: Known) -> Faults:
    """A tick starts each job that is due. A missed one starts those that catch up and were active then."""
    for tick in known.life.journal.all(Ticked):
        if tick.error or tick.answered_ms is None:
            continue
        for job in known.life.jobs.values():
            name = execution_id(job.guid, tick.scheduled_ms)
            if name not in known.records and _surely_started(job, tick):
                yield f"no execution of {job.name} for {tick.schedule} at {iso(tick.scheduled_ms)}", job.name


def undue_jobs(known: Known) -> Faults:
    """A job runs for a tick, once, if it was due at the tick's time and at its beginning; otherwise not."""
    by_time: defaultdict[int, list[Ticked]] = defaultdict(list)
    for tick in known.life.journal.all(Ticked):
        by_time[tick.scheduled_ms].append(tick)
    for job in known.life.jobs.values():
        of_ticks = [record for record in known.of_job(job) if "started_by" not in record]
        runs = Counter(r["scheduled_time_ms"] for r in of_ticks if not _is_skipped_by_its_job(r))
        # Of two executions for one time, the later one knows that the job has moved.
        last = {record["scheduled_time_ms"]: record["execution_id"] for record in of_ticks}
        for record in of_ticks:
            scheduled_ms = record["scheduled_time_ms"]
            ticks = sorted(by_time[scheduled_ms], key=lambda tick: tick.sent_ms)
            name = record["execution_id"]
            states = job.timeline.possible(scheduled_ms, decided_ms(record))
            if name in known.deliveries and not _may_have_run(known, job, ticks, record):
                yield f"{name} was notified, but its job could only be {states}", job.name
            is_last = last[scheduled_ms] == name
            if is_last and not runs[scheduled_ms] and _had_to_run(known, job, ticks, record):
                reason = record["reason"]["detail"]
                yield f"{name} was skipped, {reason}, but could only be {states}", job.name
        for scheduled_ms, number in runs.items():
            if number > 1:
                yield f"{job.name} ran {number} times for {iso(scheduled_ms)}", job.name


def _may_have_run(known: Known, job: Job, ticks: list[Ticked], record: Json) -> bool:
    """Whether a job may have been due by one of these ticks: at its time, and when its execution began."""
    scheduled_ms, began_ms = record["scheduled_time_ms"], decided_ms(record)
    # A tick's time, and the end of a pause, are in whole seconds.
    then_ms = scheduled_ms + 999
    then = job.timeline.possible(scheduled_ms, then_ms)
    now = job.timeline.possible(began_ms, began_ms + READ_MS + known.late_ms(began_ms))
    ticks = [tick for tick in ticks if tick.sent_ms <= began_ms]
    return (
        any(s.runs_on(tick.schedule, then_ms) for s in then for tick in ticks)
        and any(s.runs_on(tick.schedule, began_ms) for s in now for tick in ticks)
        and any(_may_have_started(job, tick) for tick in ticks)
    )


def _may_have_started(job: Job, tick: Ticked) -> bool:
    """Whether a tick may have started the job: one that was missed starts only jobs that catch up."""
    states = job.timeline.possible(tick.sent_ms - INDEX_MS, tick.ended())
    return any(
        s.is_due_on(tick.schedule) and (not tick.is_missed or s.fields.get("catch_up") == "one")
        for s in states
    )


def _had_to_run(known: Known, job: Job, ticks: list[Ticked], record: Json) -> bool:
    """Whether a job was due all the time, from the time of these ticks until its execution began.

    A job that moved between two schedules that fired then is due, too. These schedules are like rates: nobody
    can compute when they fire. The manager knows only the newest tick of each, and only after its delivery.
    """
    scheduled_ms, began_ms = record["scheduled_time_ms"], decided_ms(record)
    until_ms = began_ms + READ_MS + known.late_ms(began_ms)
    states = job.timeline.possible(min(scheduled_ms, ticks[0].sent_ms), until_ms)
    schedules = {tick.schedule for tick in ticks}
    if not all(
        any(s.runs_on(each, scheduled_ms) and s.runs_on(each, began_ms) for each in schedules) for s in states
    ):
        return False
    if any(all(s.runs_on(schedule, scheduled_ms) for s in states) for schedule in schedules):
        return True
    if any(tick.is_missed or tick.error or tick.answered_ms is None for tick in ticks):
        return False
    last_ms = max(began_ms, *(tick.ended() for tick in ticks)) + known.apart_ms(began_ms)
    if any(
        tick.schedule in schedules and tick.scheduled_ms > scheduled_ms and tick.sent_ms <= last_ms
        for tick in known.life.journal.all(Ticked)
    ):
        return False  # a newer tick has replaced the note of this one
    if any(_may_be_unknown(known, job, tick) for tick in ticks):
        return False
    if all(tick.ended() <= began_ms for tick in ticks):
        return True
    then = job.timeline.possible(scheduled_ms, scheduled_ms + 999)
    left_after_its_tick = all(s.runs_on(ticks[0].schedule, scheduled_ms) for s in then)
    return left_after_its_tick and any(
        tick.ended() > began_ms and _surely_started(job, tick) for tick in ticks
    )


def _may_be_unknown(known: Known, job: Job, tick: Ticked) -> bool:
    """Whether the job may have left a tick's schedule as its last job. Then the tick is not noted."""
    then = job.timeline.possible(tick.scheduled_ms, tick.scheduled_ms + 999)
    return any(s.runs_on(tick.schedule, tick.scheduled_ms) for s in then) and not any(
        all(
            state.is_due_on(tick.schedule)
            for state in each.timeline.possible(tick.sent_ms - INDEX_MS, tick.ended())
        )
        for each in known.life.all_jobs
    )


def _surely_started(job: Job, tick: Ticked) -> bool:
    """Whether the job was on the schedule all the time in which the tick may have read it.

    A missed tick starts it only if it ran then and was not deleted since: a job created again is new.
    """
    states = job.timeline.possible(tick.sent_ms - INDEX_MS, tick.ended())
    if not all(state.is_due_on(tick.schedule) for state in states):
        return False
    then = job.timeline.possible(tick.scheduled_ms, tick.scheduled_ms + 999)
    return not tick.is_missed or (
        all(state.fields.get("catch_up") == "one" for state in states)
        and all(state.runs_on(tick.schedule, tick.scheduled_ms) for state in then)
        and NO_JOB not in job.timeline.possible(tick.scheduled_ms, tick.ended())
    )


def _is_skipped_by_its_job(record: Json) -> bool:
    """Whether its job was in no state to run as it was due. One that has waited was due."""
    of_others = ("lock_held", "lock_lost", "queue_full", "started_too_late")
    is_skipped = record["status"] == "skipped" and not has_waited(record)
    return is_skipped and record["reason"]["code"] not in of_others


def steady_ticks(known: Known) -> Faults:
    """EventBridge itself fires the rule of the steady job every minute, and each run succeeds."""
    job = known.life.steady
    changes = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    from_ms = min(fact.ended() for fact in changes if fact.what == "put") + _NEW_RULE_MS
    until_ms = max(fact.sent_ms for fact in changes if fact.what == "pause")
    late_ms = _RULE_LATE_MS + known.late_ms(until_ms - _RULE_LATE_MS, until_ms)
    due = range(from_ms // MINUTE_MS + 1, (until_ms - late_ms) // MINUTE_MS + 1)
    for number in due:
        name = execution_id(job.guid, number * MINUTE_MS)
        if known.records.get(name, {}).get("status") != "success":
            yield f"{name} of the steady job is {known.records.get(name)}", job.name


def moving_job(known: Known) -> Faults:
    """A job that moves between two schedules which both fire every minute runs once each minute.

    Each tick reads the index, so near a move both may have missed the job. Then it has no execution at all.
    """
    job = known.life.moving
    asked = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    puts = [fact for fact in asked if fact.what == "put"]
    from_ms = puts[0].ended() + _NEW_RULE_MS
    until_ms = max(fact.sent_ms for fact in asked if fact.what == "pause")
    late_ms = _RULE_LATE_MS + known.late_ms(until_ms - _RULE_LATE_MS, until_ms)
    of_ticks = [record for record in known.of_job(job) if "started_by" not in record]
    for number in range(from_ms // MINUTE_MS + 1, (until_ms - late_ms) // MINUTE_MS + 1):
        at_ms = number * MINUTE_MS
        of_minute = [record for record in of_ticks if record["scheduled_time_ms"] == at_ms]
        runs = [record for record in of_minute if not _is_skipped_by_its_job(record)]
        moves = any(put.sent_ms <= at_ms + late_ms and put.ended() >= at_ms - INDEX_MS for put in puts)
        if len(runs) > 1 or (not runs and (of_minute or not moves)):
            reasons = [record.get("reason") for record in of_minute]
            yield f"the moving job ran {len(runs)} times for {iso(at_ms)}, skipped as {reasons}", job.name
        for record in runs:
            if record["status"] != "success":
                yield f"{record['execution_id']} of the moving job is {record['status']}", job.name
