"""Checks after a life: everything that was seen from outside must agree with the content of the stage.

Each check yields (what is wrong, the job that it concerns).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.names import execution_id
from jobmanager.executions import attempts
from jobmanager.executions.record import Execution
from local.api_client import path_of
from tests.integration.invariants import broken_invariants
from tests.life.conduct import LOST, POSTPONING, REFUSALS, SYNC_INVALID, SYNC_SUCCESSES
from tests.life.journal import NO_ANSWER, Asked, CalledBack, Delivered, Json, Ticked
from tests.life.living import MINUTE_MS, Job, Life

type Broken = Iterator[tuple[str, str | None]]

_CLOCK_MS = 1500
"""How far apart the notes of one event may be, because a function notes the time at which it began.

On a slow machine they may be further apart: see ``Known.apart_ms``.
"""

_READ_MS = 500
"""How long after its start begin_execution may read the job."""

_INDEX_MS = 1000
"""How old the content of the index may be that a tick reads. It is eventually consistent."""

_HEARD_WITHIN_MS = 9000
"""The manager waits 10 s for the answer to a webhook, and starts to wait before the webhook arrives."""

_RULE_LATE_MS = 30_000
"""How late EventBridge may fire a rule."""

_TRIES, _MOST_POSTPONEMENTS = 6, 5
"""A notification is sent six times, and once more for each Retry-After that is honoured."""

_SECONDS_TO_BEGIN_AGAIN = 6
"""No Retry-After is honoured in the last seconds of an execution."""

_ENDS = {
    "execution.succeeded": "success",
    "execution.failed": "fail",
    "execution.timed_out": "timeout",
    "execution.skipped": "skipped",
    "execution.cancelled": "cancelled",
}


@dataclass
class Known:
    """Everything that is known of a life, by execution."""

    life: Life
    records: dict[str, Json]
    items: dict[str, Json]
    machines: dict[str, str]
    deliveries: dict[str, list[Delivered]]
    callbacks: dict[str, list[CalledBack]]
    asked: dict[str, list[Asked]]

    @classmethod
    def of(cls, life: Life) -> Known:
        """Reads the stage."""
        known = cls(life, life.records(), life.job_items(), life.machines(), {}, {}, {})
        for kind, into in ((Delivered, "deliveries"), (CalledBack, "callbacks"), (Asked, "asked")):
            sorted_: defaultdict[str, list[Any]] = defaultdict(list)
            for fact in life.journal.all(kind):
                if fact.execution_id:
                    sorted_[fact.execution_id].append(fact)
            setattr(known, into, sorted_)
        return known

    def late_ms(self, from_ms: int, until_ms: int | None = None) -> int:
        """The most by which a fact of that time may be noted late; 0 if the machine kept up."""
        return self.life.stalls.lateness_ms(from_ms, from_ms if until_ms is None else until_ms)

    def apart_ms(self, from_ms: int, until_ms: int | None = None) -> int:
        """How far apart the notes of one event of that time may be."""
        return _CLOCK_MS + self.late_ms(from_ms, until_ms)

    def of_job(self, job: Job) -> list[Json]:
        """The records of a job, oldest first."""
        of_it = (record for name, record in self.records.items() if name[:36] == job.guid)
        return sorted(of_it, key=lambda record: record["started_at_ms"])


def broken(life: Life) -> list[tuple[str, str | None]]:
    """Everything that is wrong after a life, each with its job, or None if it concerns no single job."""
    known = Known.of(life)
    checks: list[Callable[[Known], Broken]] = [
        _invariants,
        _acknowledged_results,
        _refused_callbacks,
        _due_jobs,
        _undue_jobs,
        _steady_ticks,
        _moving_job,
        _by_hand,
        _cancelled,
        _attempts_after_delete,
        _missing_attempts,
        _repeated_notifications,
        _notifications,
        _sync_results,
        _holders,
        _explained,
        _machines,
        _events,
        _lists,
        _jobs,
        _heartbeats,
    ]
    return [*life.broken, *(found for check in checks for found in check(known))]


def _invariants(known: Known) -> Broken:
    """The invariants of any quiet stage hold."""
    life = known.life
    deliveries = [each for of_one in known.deliveries.values() for each in of_one]
    callbacks = [each for of_one in known.callbacks.values() for each in of_one]
    for sentence in broken_invariants(
        life.aws,
        life.outputs,
        [life.service_name],
        received=[each.notification for each in deliveries],
        excused={(each.execution_id or "", each.attempt) for each in deliveries if _is_lost(known, each)},
        acknowledged=[
            (each.execution_id or "", each.attempt, each.body["status"])
            for each in callbacks
            if each.is_final and each.status == 200
        ],
        schedules=life.schedules,
    ):
        yield sentence, _job_named_in(life, sentence)


def _job_named_in(life: Life, sentence: str) -> str | None:
    names = (job.name for job in life.all_jobs if job.guid in sentence or f"/{job.name}" in sentence)
    return next(names, None)


# --- callbacks ----------------------------------------------------------------------------------------------


def _acknowledged_results(known: Known) -> Broken:
    """At most one result of an attempt is acknowledged, and the record contains all of it."""
    for name, callbacks in known.callbacks.items():
        finals: defaultdict[int, dict[str, Json]] = defaultdict(dict)
        for each in callbacks:
            if each.is_final and each.status == 200:
                finals[each.attempt][json.dumps(each.body, sort_keys=True)] = each.body
        for attempt, bodies in finals.items():
            if len(bodies) > 1:
                yield f"two results of attempt {attempt} of {name} were acknowledged", callbacks[0].job
            body = next(iter(bodies.values()))
            kept = _attempt_of(known.records.get(name, {}), attempt)
            expected = {key: value for key, value in body.items() if key != "state"}
            if "attempts" in kept or attempt == attempts.current(
                cast(Execution, known.records.get(name, {}))
            ):
                expected = body
            found = {key: kept.get(key) for key in expected}
            found |= {"error": json.loads(kept["error"])} if "error" in kept else {}
            if found != expected:
                yield f"acknowledged was {expected} of {name}, kept is {found}", callbacks[0].job


def _attempt_of(record: Json, attempt: int) -> Json:
    earlier = record.get("attempts", [])
    found: Json = earlier[attempt - 1] if attempt <= len(earlier) else record
    return found


def _ended_at(record: Json, attempt: int) -> int:
    ended: int = _attempt_of(record, attempt).get("finished_at_ms", 2**62)
    return ended


def _refused_callbacks(known: Known) -> Broken:
    """Forged callbacks are refused. Genuine ones are accepted until the attempt has ended."""
    for name, callbacks in known.callbacks.items():
        record = known.records.get(name, {})
        for each in callbacks:
            if not each.is_genuine:
                if each.status not in (400, 403, NO_ANSWER) and each.status < 502:
                    yield f"a forged callback of {name} was answered {each.status}", each.job
                continue
            if each.status not in (200, 410, 503, NO_ANSWER):
                yield f"a callback of {name} was answered {each.status}: {each.answer}", each.job
            if each.status != 410:
                continue
            apart_ms = known.apart_ms(each.sent_ms, each.ended())
            had_ended = _ended_at(record, each.attempt) <= each.ended() + apart_ms
            if not (had_ended or _lock_was_lost(known, record, each)):
                yield f"a callback of {name} was answered 410, and it had not ended", each.job
            status = each.answer["execution_status"]
            if status != "running" and status != record.get("status"):
                yield f"a callback of {name} was answered with the status {status}", each.job


def _lock_was_lost(known: Known, record: Json, callback: CalledBack) -> bool:
    """Whether another execution of the job had a newer token by that time."""
    return any(
        other["job_guid"] == record["job_guid"]
        and other.get("fencing_token", 0) > record.get("fencing_token", 2**62)
        and other["started_at_ms"] <= callback.ended() + known.apart_ms(callback.sent_ms, callback.ended())
        for other in known.records.values()
    )


def _heartbeats(known: Known) -> Broken:
    """Each acknowledged heartbeat is counted."""
    for name, callbacks in known.callbacks.items():
        beats = [c for c in callbacks if c.is_genuine and c.body["status"] == "processing"]
        taken = sum(1 for each in beats if each.status == 200)
        counted = known.records.get(name, {}).get("heartbeats", 0)
        if not taken <= counted <= len(beats):
            yield f"{counted} heartbeats of {name} are counted, {taken} were acknowledged", beats[0].job


# --- ticks --------------------------------------------------------------------------------------------------


def _due_jobs(known: Known) -> Broken:
    """A tick starts each job that is due."""
    for tick in known.life.journal.all(Ticked):
        if tick.error or tick.is_missed or tick.answered_ms is None:
            continue
        for job in known.life.jobs.values():
            name = execution_id(job.guid, tick.scheduled_ms)
            states = job.timeline.possible(tick.sent_ms - _INDEX_MS, tick.answered_ms)
            if name not in known.records and all(state.is_due_on(tick.schedule) for state in states):
                yield f"no execution of {job.name} for {tick.schedule} at {iso(tick.scheduled_ms)}", job.name


def _undue_jobs(known: Known) -> Broken:
    """A job runs for a tick, once, if it was due at the tick's time and at its beginning; otherwise not."""
    ticks: defaultdict[int, list[Ticked]] = defaultdict(list)
    for tick in known.life.journal.all(Ticked):
        ticks[tick.scheduled_ms].append(tick)
    for job in known.life.jobs.values():
        of_ticks = [record for record in known.of_job(job) if "started_by" not in record]
        runs = Counter(r["scheduled_time_ms"] for r in of_ticks if not _is_skipped_by_its_job(r))
        for record in of_ticks:
            scheduled_ms = record["scheduled_time_ms"]
            came = sorted(ticks[scheduled_ms], key=lambda tick: tick.sent_ms)
            name = record["execution_id"]
            states = job.timeline.possible(scheduled_ms, record["started_at_ms"])
            if name in known.deliveries and not _may_have_run(known, job, came, record):
                yield f"{name} was notified, but its job could only be {states}", job.name
            if not runs[scheduled_ms] and _had_to_run(known, job, came, record):
                reason = record["reason"]["detail"]
                yield f"{name} was skipped, {reason}, but could only be {states}", job.name
        for scheduled_ms, number in runs.items():
            if number > 1:
                yield f"{job.name} ran {number} times for {iso(scheduled_ms)}", job.name


def _may_have_run(known: Known, job: Job, came: list[Ticked], record: Json) -> bool:
    """Whether a job may have been due by one of these ticks: at its time, and when its execution began."""
    scheduled_ms, began_ms = record["scheduled_time_ms"], record["started_at_ms"]
    # A tick's time, and the end of a pause, are in whole seconds.
    then_ms = scheduled_ms + 999
    then = job.timeline.possible(scheduled_ms, then_ms)
    now = job.timeline.possible(began_ms, began_ms + _READ_MS + known.late_ms(began_ms))
    came = [tick for tick in came if tick.sent_ms <= began_ms]
    return (
        any(s.runs_on(tick.schedule, then_ms) for s in then for tick in came)
        and any(s.runs_on(tick.schedule, began_ms) for s in now for tick in came)
        and any(_may_have_started(job, tick) for tick in came)
    )


def _may_have_started(job: Job, tick: Ticked) -> bool:
    """Whether a tick may have started the job: one that was missed starts only jobs that catch up."""
    states = job.timeline.possible(tick.sent_ms - _INDEX_MS, tick.ended())
    return any(
        s.is_due_on(tick.schedule) and (not tick.is_missed or s.fields.get("catch_up") == "one")
        for s in states
    )


def _had_to_run(known: Known, job: Job, came: list[Ticked], record: Json) -> bool:
    """Whether a job was due all the time, from the time of these ticks until its execution began.

    A job that moved between two schedules that fired then is due, too. These schedules are like rates: nobody
    can compute when they fire. The manager knows only the newest tick of each, and only after its delivery.
    """
    scheduled_ms, began_ms = record["scheduled_time_ms"], record["started_at_ms"]
    until_ms = began_ms + _READ_MS + known.late_ms(began_ms)
    states = job.timeline.possible(min(scheduled_ms, came[0].sent_ms), until_ms)
    schedules = {tick.schedule for tick in came}
    if not all(
        any(s.runs_on(each, scheduled_ms) and s.runs_on(each, began_ms) for each in schedules) for s in states
    ):
        return False
    if any(all(s.runs_on(schedule, scheduled_ms) for s in states) for schedule in schedules):
        return True
    if any(tick.is_missed or tick.error or tick.answered_ms is None for tick in came):
        return False
    last_ms = max(tick.ended() for tick in came) + known.apart_ms(began_ms)
    if any(
        tick.schedule in schedules and tick.scheduled_ms > scheduled_ms and tick.sent_ms <= last_ms
        for tick in known.life.journal.all(Ticked)
    ):
        return False  # a newer tick has replaced the note of this one
    if all(tick.ended() <= began_ms for tick in came):
        return True
    then = job.timeline.possible(scheduled_ms, scheduled_ms + 999)
    left_after_its_tick = all(s.runs_on(came[0].schedule, scheduled_ms) for s in then)
    return left_after_its_tick and any(
        tick.ended() > began_ms and _surely_started(job, tick) for tick in came
    )


def _surely_started(job: Job, tick: Ticked) -> bool:
    """Whether the job was on the schedule all the time in which the tick read the index."""
    states = job.timeline.possible(tick.sent_ms - _INDEX_MS, tick.ended())
    return all(state.is_due_on(tick.schedule) for state in states)


def _is_skipped_by_its_job(record: Json) -> bool:
    of_others = ("lock_held", "lock_lost", "started_too_late")
    return record["status"] == "skipped" and record["reason"]["code"] not in of_others


def _steady_ticks(known: Known) -> Broken:
    """EventBridge itself fires the rule of the steady job every minute, and each run succeeds."""
    job = known.life.steady
    changes = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    from_ms = min(fact.ended() for fact in changes if fact.what == "put")
    until_ms = max(fact.sent_ms for fact in changes if fact.what == "pause")
    late_ms = _RULE_LATE_MS + known.late_ms(until_ms - _RULE_LATE_MS, until_ms)
    due = range(from_ms // MINUTE_MS + 1, (until_ms - late_ms) // MINUTE_MS + 1)
    for number in due:
        name = execution_id(job.guid, number * MINUTE_MS)
        if known.records.get(name, {}).get("status") != "success":
            yield f"{name} of the steady job is {known.records.get(name)}", job.name


def _moving_job(known: Known) -> Broken:
    """A job that moves between two schedules which both fire every minute runs once each minute.

    Each tick reads the index, so near a move both may have missed the job. Then it has no execution at all.
    """
    job = known.life.moving
    asked = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    puts = [fact for fact in asked if fact.what == "put"]
    from_ms = puts[0].ended()
    until_ms = max(fact.sent_ms for fact in asked if fact.what == "pause")
    late_ms = _RULE_LATE_MS + known.late_ms(until_ms - _RULE_LATE_MS, until_ms)
    of_ticks = [record for record in known.of_job(job) if "started_by" not in record]
    for number in range(from_ms // MINUTE_MS + 1, (until_ms - late_ms) // MINUTE_MS + 1):
        at_ms = number * MINUTE_MS
        of_minute = [record for record in of_ticks if record["scheduled_time_ms"] == at_ms]
        runs = [record for record in of_minute if not _is_skipped_by_its_job(record)]
        moves = any(put.sent_ms <= at_ms + late_ms and put.ended() >= at_ms - _INDEX_MS for put in puts)
        if len(runs) > 1 or (not runs and (of_minute or not moves)):
            reasons = [record.get("reason") for record in of_minute]
            yield f"the moving job ran {len(runs)} times for {iso(at_ms)}, skipped as {reasons}", job.name
        for record in runs:
            if record["status"] != "success":
                yield f"{record['execution_id']} of the moving job is {record['status']}", job.name


# --- by hand ------------------------------------------------------------------------------------------------


def _by_hand(known: Known) -> Broken:
    """Each execution that was started by hand has a record. A refused one had its lock held by another."""
    for asked in known.life.journal.all(Asked):
        if asked.what not in ("run", "rerun"):
            continue
        if asked.status == 201 and asked.execution_id not in known.records:
            yield f"{asked.execution_id} was started by hand, and has no record", asked.job
        elif asked.status == 409:
            holder = asked.answer["lock_execution"]
            if not _may_have_held(known, known.records.get(holder, {}), asked.sent_ms, asked.ended()):
                yield f"refused by hand, as {holder} held the lock, which it did not", asked.job
    for record in known.records.values():
        original = record.get("rerun_of")
        if original and record["execution_id"] not in known.records[original].get("reruns", []):
            yield f"{original} does not know of its rerun {record['execution_id']}", record["job_name"]


def _may_have_held(known: Known, holder: Json, from_ms: int, until_ms: int) -> bool:
    freed_ms = holder.get("settled_at_ms", 2**62)
    # An execution that began before its job became exclusive has no lock, but also stops others.
    is_one = bool(holder) and ("fencing_token" in holder or not holder["exclusive"])
    apart_ms = known.apart_ms(from_ms, until_ms)
    return is_one and holder["started_at_ms"] <= until_ms and freed_ms >= from_ms - apart_ms


def _cancelled(known: Known) -> Broken:
    """An execution is cancelled if the answer said so. A refused cancel named the right status."""
    for asked in known.life.journal.all(Asked):
        if asked.what != "cancel":
            continue
        status = known.records[asked.execution_id or ""]["status"]
        if asked.status == 200 and status != "cancelled":
            yield f"{asked.execution_id} was cancelled, and is {status}", asked.job
        if asked.status == 409 and asked.answer["execution_status"] != status:
            yield f"{asked.execution_id} was refused with {asked.answer}, and is {status}", asked.job


def _deletes_of(known: Known, record: Json) -> list[Asked]:
    """The requests that deleted the job of an execution, or may have, after it began."""
    return [
        asked
        for asked in known.life.journal.all(Asked)
        if asked.what == "delete"
        and asked.job == record["job_name"]
        and asked.status in (204, 503, NO_ANSWER)
        and asked.ended() >= record["started_at_ms"]
    ]


def _attempts_after_delete(known: Known) -> Broken:
    """After a DELETE was answered, no further attempt begins, also if the job was made again."""
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name)
        if record is None:
            continue
        deleted = [each for each in _deletes_of(known, record) if each.status == 204]
        deleted = [each for each in deleted if each.sent_ms > record["started_at_ms"]]
        begun: set[int] = set()
        for each in sorted(deliveries, key=lambda delivery: delivery.sent_ms):
            is_first = each.attempt not in begun
            begun.add(each.attempt)
            late_ms = known.late_ms(each.sent_ms)
            is_too_late = any(one.ended() + _READ_MS + late_ms < each.sent_ms for one in deleted)
            if is_first and each.attempt > 1 and is_too_late:
                yield f"attempt {each.attempt} of {name} began after its job was deleted", each.job


def _missing_attempts(known: Known) -> Broken:
    """If an attempt failed, and the job retries that, another follows, also while the job is paused."""
    for name, record in known.records.items():
        if "retry" not in record or record["status"] not in ("fail", "timeout"):
            continue
        error = json.loads(record.get("error", "null"))
        is_of_service = record["status"] == "timeout" or record.get("fault") != "manager"
        if not is_of_service or error == "Job.AnswerInvalid":
            continue
        execution = cast(Execution, record)
        if attempts.next_begins_at(execution, record["status"], record["finished_at_ms"]) is None:
            continue
        has_lost_the_lock = any(
            other["job_guid"] == record["job_guid"]
            and other.get("fencing_token", 0) > record.get("fencing_token", 2**62)
            and other["started_at_ms"] <= record["finished_at_ms"] + known.apart_ms(record["finished_at_ms"])
            for other in known.records.values()
        )
        if not (has_lost_the_lock or _was_stopped(known, record) or _deletes_of(known, record)):
            number = attempts.current(execution)
            yield f"{name} ended after attempt {number}, and another had to follow", record["job_name"]


# --- notifications ------------------------------------------------------------------------------------------


def _repeated_notifications(known: Known) -> Broken:
    """A notification is sent again only after a lost answer, and then has a new callback_url."""
    for name, deliveries in known.deliveries.items():
        of_attempts: defaultdict[int, list[Delivered]] = defaultdict(list)
        for each in deliveries:
            of_attempts[each.attempt].append(each)
        for attempt, repeated in of_attempts.items():
            for before, _ in pairwise(repeated):
                if not _is_lost(known, before):
                    again = f"attempt {attempt} of {name} was notified again after {before.answer!r}"
                    yield again, before.job
            if len(repeated) > _most_deliveries(repeated):
                yield f"attempt {attempt} of {name} was notified {len(repeated)} times", repeated[0].job
        urls = [each.notification.get("callback_url", object()) for each in deliveries]
        if len(set(urls)) < len(urls):
            yield f"a callback_url of {name} was sent twice", deliveries[0].job


def _most_deliveries(deliveries: list[Delivered]) -> int:
    """How often the notification of one attempt may be sent, if it was answered like this."""
    asked = sum(each.answer in POSTPONING for each in deliveries)
    return _TRIES + min(asked, _MOST_POSTPONEMENTS)


def _is_lost(known: Known, delivered: Delivered) -> bool:
    """Whether the manager may not have received the answer that accepted the notification."""
    took_ms = delivered.ended() - delivered.sent_ms
    late_ms = known.late_ms(delivered.sent_ms, delivered.sent_ms + min(took_ms, _HEARD_WITHIN_MS))
    if delivered.answer.endswith("then reset") and late_ms > _READ_MS:
        return True  # a reset discards what the manager has not read yet
    return delivered.answer in LOST or took_ms + late_ms > _HEARD_WITHIN_MS


def _notifications(known: Known) -> Broken:
    """A notification agrees with its record."""
    names = ("job_guid", "schedule", "scheduled_time", "payload", "ttl_seconds", "exclusive", "fencing_token")
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name, {})
        for each in deliveries:
            for field in names:
                if each.notification.get(field) != record.get(field):
                    yield f"{field} of a notification of {name} is not the record's", each.job
            last = each.notification["last_successful_execution"]
            found = known.records.get(last.get("execution_id", ""), {})
            if last and (found.get("status"), found.get("state")) != ("success", last.get("state")):
                yield f"{name} was sent {last} as the last success, which is {found}", each.job


def _sync_results(known: Known) -> Broken:
    """The record of a successful sync job contains the result that its service answered."""
    for name, record in known.records.items():
        if record["status"] != "success" or record["async"]:
            continue
        results = [each.result or {} for each in known.deliveries.get(name, [])]
        kept = {field: record[field] for field in ("state", "summary") if field in record}
        if kept not in results:
            yield f"{name} was answered {results}, and its record contains {kept}", record["job_name"]


def _holders(known: Known) -> Broken:
    """From its notification until it ends or is overdue, the holder of a lock is the only one."""
    for job in known.life.all_jobs:
        holders = [
            r for r in known.of_job(job) if "fencing_token" in r and known.deliveries.get(r["execution_id"])
        ]
        holders.sort(key=lambda record: int(record["fencing_token"]))
        for earlier, later in pairwise(holders):
            name, next_name = earlier["execution_id"], later["execution_id"]
            notified_ms = known.deliveries[next_name][0].sent_ms
            callbacks = [c for c in known.callbacks.get(name, []) if c.is_genuine and c.status == 200]
            first_result = min(
                (c.sent_ms for c in callbacks if c.is_final and _stands(earlier, c)), default=None
            )
            for callback in callbacks:
                is_new = not callback.is_final or first_result in (None, callback.sent_ms)
                if callback.sent_ms > notified_ms and is_new:
                    yield f"{name} was accepted after {next_name} was notified that it has the lock", job.name
            ended_after = earlier["finished_at_ms"] > notified_ms + known.apart_ms(notified_ms)
            if ended_after and earlier["status"] not in ("timeout", "fail"):
                yield f"{name} ended as {earlier['status']} after {next_name} had the lock", job.name
            held_until = max(
                (
                    ms_of_iso(c.answer["lock_expires_at"])
                    for c in callbacks
                    if not c.is_final and c.ended() < notified_ms
                ),
                default=0,
            )
            if notified_ms < held_until and earlier["finished_at_ms"] > notified_ms:
                yield f"{next_name} was notified that it has the lock, which {name} still held", job.name


def _stands(record: Json, callback: CalledBack) -> bool:
    return bool(_attempt_of(record, callback.attempt).get("status") == callback.body["status"])


# --- ends ---------------------------------------------------------------------------------------------------


def _explained(known: Known) -> Broken:
    """The conduct of the service, or a request, explains how each attempt ended."""
    for name, record in known.records.items():
        if record["status"] == "skipped":
            why = _why_skipped(known, record)
            if why:
                yield f"{name} was skipped, as {record['reason']['detail']}: {why}", record["job_name"]
            continue
        for attempt in range(1, attempts.current(cast(Execution, record)) + 1):
            ended = _attempt_of(record, attempt)
            what = f"attempt {attempt} of {name} ended as {ended['status']} {ended.get('error', '')}"
            if not _is_explained(known, record, attempt, ended):
                cause = ended.get("cause", ended.get("summary", ""))
                yield f"{what}: {cause}: nothing explains it", record["job_name"]


def _why_skipped(known: Known, record: Json) -> str | None:
    """What is wrong with the reason; None if it is right."""
    reason = record["reason"]
    if reason["code"] == "lock_held":
        holder = known.records.get(reason["detail"].rpartition(" ")[2], {})
        started_ms = record["started_at_ms"]
        until_ms = started_ms + known.apart_ms(started_ms)
        return None if _may_have_held(known, holder, started_ms, until_ms) else "it did not"
    if reason["code"] == "started_too_late":
        late = record["started_at_ms"] - record["scheduled_time_ms"]
        return None if late > 5000 else f"it was {late} ms late"
    if reason["code"] == "lock_lost":
        waited = record["finished_at_ms"] - record["started_at_ms"]
        apart_ms = known.apart_ms(record["started_at_ms"], record["finished_at_ms"])
        return None if waited >= record["ttl_seconds"] * 1000 - apart_ms else f"it was {waited} ms old"
    return None


def _is_explained(known: Known, record: Json, attempt: int, ended: Json) -> bool:
    name = record["execution_id"]
    deliveries = [each for each in known.deliveries.get(name, []) if each.attempt == attempt]
    callbacks = [
        each for each in known.callbacks.get(name, []) if each.attempt == attempt and each.is_genuine
    ]
    answers = {each.answer for each in deliveries}
    results = {each.body["status"] for each in callbacks if each.is_final and each.status in (200, NO_ANSWER)}
    error = json.loads(ended.get("error", "null"))
    match ended["status"], error:
        case "success", _:
            return "success" in results if record["async"] else bool(answers & SYNC_SUCCESSES)
        case "fail", "Job.NotificationRejected":
            return bool(answers & REFUSALS)
        case "fail", "Job.AnswerInvalid":
            return bool(answers & SYNC_INVALID)
        case "fail", "NotificationUndelivered" | "Manager.LockLost" | "Manager.NotNotified":
            are_lost = all(_is_lost(known, each) for each in deliveries)
            return are_lost and _was_given_up(known, record, error, ended, deliveries)
        case "fail", _:
            return "fail" in results
        case "cancelled", _:
            return _was_cancelled(known, record, deliveries)
        case "timeout", _:
            return _was_silent(known, record, ended, deliveries, callbacks)
        case _:
            return False


def _was_cancelled(known: Known, record: Json, deliveries: list[Delivered]) -> bool:
    """Whether somebody cancelled it, or deleted its job before the attempt was notified."""
    if record.get("reason", {}).get("code") == "job_deleted":
        return not deliveries and bool(_deletes_of(known, record))
    asked = known.asked.get(record["execution_id"], [])
    return any(each.what == "cancel" and each.status in (200, NO_ANSWER) for each in asked)


def _was_given_up(known: Known, record: Json, error: str, ended: Json, deliveries: list[Delivered]) -> bool:
    """Whether a notification was sent until its tries were used up, its lock expired, or it was stopped."""
    if error == "Manager.NotNotified":
        return not deliveries and _was_stopped(known, record)
    late_ms = known.late_ms(record["started_at_ms"], ended["finished_at_ms"])
    if error == "NotificationUndelivered":
        most = _most_deliveries(deliveries)
        lasted_ms = ended["finished_at_ms"] - record["started_at_ms"]
        is_near_the_end = lasted_ms >= 1000 * (record["max_duration_seconds"] - _SECONDS_TO_BEGIN_AGAIN)
        # On a slow machine, a connection that takes too long brings no delivery.
        fewer_are_right = late_ms > 0 or (is_near_the_end and len(deliveries) >= _TRIES)
        return len(deliveries) == most or (fewer_are_right and len(deliveries) < most)
    waited = ended["finished_at_ms"] - max(each.sent_ms for each in deliveries)
    return bool(waited >= record["ttl_seconds"] * 1000 - _CLOCK_MS - late_ms)


def _was_stopped(known: Known, record: Json) -> bool:
    """Whether its state machine was stopped by hand."""
    return any(each.what == "stop the machine" for each in known.asked.get(record["execution_id"], []))


def _was_silent(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the service was silent for too long or took too long, or the machine was stopped by hand."""
    ended_ms = ended["finished_at_ms"]
    if _was_stopped(known, record):
        return True
    if "reaped" in ended["cause"]:
        # Step Functions times out a silent service first, unless the service shortened its own deadline.
        return any("extend_seconds" in each.body for each in callbacks)
    ttl_ms = int(record["ttl_seconds"]) * 1000
    apart_ms = known.apart_ms(record["started_at_ms"], ended_ms)
    if not record["async"]:
        took_ms = max((each.ended() - each.sent_ms for each in deliveries), default=0)
        return took_ms >= ttl_ms - apart_ms or any(each.answer == "too slow" for each in deliveries)
    longest_ms = int(record["max_duration_seconds"]) * 1000
    if ended_ms - record["started_at_ms"] >= longest_ms - apart_ms:
        return True
    return _was_silent_for_too_long(known, record, ended, deliveries, callbacks)


def _was_silent_for_too_long(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the service was silent for its whole limit when Step Functions timed out its task.

    A callback that was sent before that time, and answered after it, may have been too late.
    """
    times = known.life.gave_up_ms(record["execution_id"])
    ended_ms = ended["finished_at_ms"]
    gave_up_ms = max((at_ms for at_ms in times if at_ms <= ended_ms), default=ended_ms)
    limit_ms = 1000 * int(record.get("heartbeat_interval_seconds") or record["ttl_seconds"])
    # Step Functions counts from the start of the task. notify_service may begin later.
    begun_ms = max(_began_ms(record, ended), *(each.ended() for each in deliveries[:-1]), 0)
    has_waited = gave_up_ms - begun_ms >= limit_ms - _CLOCK_MS
    was_heard = any(
        each.status == 200 and each.sent_ms > gave_up_ms - limit_ms + _CLOCK_MS and each.ended() < gave_up_ms
        for each in callbacks
    )
    return has_waited and not was_heard


def _began_ms(record: Json, ended: Json) -> int:
    """The earliest time at which an attempt of a record can have begun."""
    earlier = [
        each for each in record.get("attempts", []) if each["finished_at_ms"] < ended["finished_at_ms"]
    ]
    began: int = 1000 * earlier[-1]["next_attempt_at"] if earlier else record["started_at_ms"]
    return began


def _machines(known: Known) -> Broken:
    """The status in Step Functions agrees with the record."""
    for name, record in known.records.items():
        machine = known.machines.get(name, "none")
        was_stopped = any(each.what == "stop the machine" for each in known.asked.get(name, []))
        ended_well = record["status"] in ("success", "skipped")
        expected = {"SUCCEEDED"} if ended_well else {"FAILED", "ABORTED"}
        if machine not in expected and not (was_stopped and machine == "ABORTED"):
            yield f"{name} is {record['status']}, its machine {machine}", record["job_name"]
    for name in known.machines.keys() - known.records.keys():
        yield f"{name} has a machine, but no record", None


# --- events and lists ---------------------------------------------------------------------------------------


def _events(known: Known) -> Broken:
    """The events of each execution that has ended agree with its record."""
    published: defaultdict[str, set[str]] = defaultdict(set)
    for event in known.life.events:
        if event["event"] in _ENDS:
            published[event["execution_id"]].add(_ENDS[event["event"]])
        elif event["event"] == "execution.started" and event["execution_id"] not in known.records:
            yield f"{event['execution_id']} started by its event, and has no record", event["job_name"]
    for name, record in known.records.items():
        if published[name] != {record["status"]}:
            yield f"{name} is {record['status']}, its events say {published[name]}", record["job_name"]
    for name in published.keys() - known.records.keys():
        yield f"{name} has events, but no record", None


def _lists(known: Known) -> Broken:
    """The API's lists contain every record once, newest first, with its status."""
    life = known.life
    of_jobs = {
        path_of("services", life.service_name, "jobs", job.name, "executions"): {
            record["execution_id"] for record in known.of_job(job)
        }
        for job in life.all_jobs
    }
    of_service = path_of("services", life.service_name, "executions")
    for path, expected in {**of_jobs, of_service: set(known.records)}.items():
        listed = life.pages(path)
        names = [each["execution_id"] for each in listed]
        if len(names) != len(set(names)) or set(names) != expected:
            yield f"{path} lists these too often or not at all: {set(names) ^ expected}", None
        times = [each["scheduled_time_ms"] for each in listed]
        if times != sorted(times, reverse=True):
            yield f"{path} is not newest first", None
        for each in listed:
            record = known.records.get(each["execution_id"], {})
            if each["status"] != record.get("status"):
                yield f"{path} says {each['status']} of {each['execution_id']}", each["job_name"]
    for name, status in life.final_seen.items():
        if known.records.get(name, {}).get("status") != status:
            yield f"{name} was {status}, and is not any more", known.records[name]["job_name"]


def _jobs(known: Known) -> Broken:
    """The list of the service's jobs contains those that exist."""
    listed = {
        each["job_name"] for each in known.life.pages(path_of("services", known.life.service_name, "jobs"))
    }
    for job in known.life.jobs.values():
        exists = {state.definition is not None for state in job.timeline.now}
        if len(exists) == 1 and (job.name in listed) not in exists:
            yield f"the list of jobs is wrong about {job.name}", job.name
    for name, item in known.items.items():
        if "lock_execution" in item:
            yield f"{item['lock_execution']} still holds the lock", name
