"""What must agree after a life: what was known outside with what the stage holds and tells.

Each check answers (what is wrong, the job that it concerns).
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
from tests.integration.stage_view import Stage
from tests.life.conduct import LOST, REFUSALS, SYNC_INVALID, SYNC_SUCCESSES
from tests.life.journal import NO_ANSWER, Asked, CalledBack, Delivered, Json, Ticked
from tests.life.living import STEADY_PERIOD_MS, Job, Life

type Broken = Iterator[tuple[str, str | None]]

_CLOCK_MS = 1500
"""How far apart two facts may be noted that were one: a function notes the time at which it began.

On a slow machine they may be noted further apart: see ``Known.apart_ms``.
"""

_INDEX_MS = 1000
"""How long a tick may not see a change of a job: the index is eventually consistent."""

_HEARD_WITHIN_MS = 9000
"""The manager waits 10 s for the answer to a webhook, and began to wait before it came."""

_STEADY_LATE_MS = 30_000
"""How late the stage may look for rules that are due."""

_MOST_DELIVERIES = 6
_ENDS = {
    "execution.succeeded": "success",
    "execution.failed": "fail",
    "execution.timed_out": "timeout",
    "execution.skipped": "skipped",
    "execution.cancelled": "cancelled",
}


@dataclass
class Known:
    """All of a life, sorted by execution."""

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
        """By how much something of that time may be noted late: 0 if the machine kept up."""
        return self.life.stalls.lateness_ms(from_ms, from_ms if until_ms is None else until_ms)

    def apart_ms(self, from_ms: int, until_ms: int | None = None) -> int:
        """How far apart two facts of that time may be noted that were one."""
        return _CLOCK_MS + self.late_ms(from_ms, until_ms)

    def of_job(self, job: Job) -> list[Json]:
        """The records of a job, oldest first."""
        of_it = (record for name, record in self.records.items() if name[:36] == job.guid)
        return sorted(of_it, key=lambda record: record["started_at_ms"])


def broken(life: Life) -> list[tuple[str, str | None]]:
    """Everything that is wrong after a life, each with the job that it concerns, if it is one's."""
    known = Known.of(life)
    checks: list[Callable[[Known], Broken]] = [
        _invariants,
        _acknowledged_results,
        _refused_callbacks,
        _due_jobs,
        _undue_jobs,
        _steady_ticks,
        _by_hand,
        _cancelled,
        _repeated_notifications,
        _notifications,
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
    """Those of any quiet stage."""
    life = known.life
    deliveries = [each for of_one in known.deliveries.values() for each in of_one]
    callbacks = [each for of_one in known.callbacks.values() for each in of_one]
    for sentence in broken_invariants(
        Stage(life.aws, life.outputs),
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
    """Of an attempt, one result at most is acknowledged, and it is what the record keeps, whole."""
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
    """What is no callback of ours is refused, and what is one is not, as long as it may come."""
    for name, callbacks in known.callbacks.items():
        record = known.records.get(name, {})
        for each in callbacks:
            if not each.is_genuine:
                if each.status not in (400, 403, NO_ANSWER) and each.status < 502:
                    yield f"a false callback of {name} was answered {each.status}", each.job
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
                yield f"a callback of {name} was told of {status}", each.job


def _lock_was_lost(known: Known, record: Json, callback: CalledBack) -> bool:
    """Whether another execution of the job had a newer token by then."""
    return any(
        other["job_guid"] == record["job_guid"]
        and other.get("fencing_token", 0) > record.get("fencing_token", 2**62)
        and other["started_at_ms"] <= callback.ended() + known.apart_ms(callback.sent_ms, callback.ended())
        for other in known.records.values()
    )


def _heartbeats(known: Known) -> Broken:
    """Each one that was acknowledged has been counted."""
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
    """A job runs for a tick if it was due then and still is when its execution begins; once, and else not."""
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
            if name in known.deliveries and not _may_have_run(known, job, came, record):
                states = job.timeline.possible(scheduled_ms, record["started_at_ms"])
                yield f"{name} was notified, but its job could only be {states}", job.name
            if not runs[scheduled_ms] and _had_to_run(known, job, came, record):
                states = job.timeline.possible(scheduled_ms, record["started_at_ms"])
                yield (
                    f"{name} was skipped, {record['reason']['detail']}, but could only be {states}",
                    job.name,
                )
        for scheduled_ms, number in runs.items():
            if number > 1:
                yield f"{job.name} ran {number} times for {iso(scheduled_ms)}", job.name


def _may_have_run(known: Known, job: Job, came: list[Ticked], record: Json) -> bool:
    """Whether a job may have been due by one of these ticks at its time, and when its execution began."""
    scheduled_ms, began_ms = record["scheduled_time_ms"], record["started_at_ms"]
    # A tick's time, and the end of a pause, are in whole seconds.
    then_ms = scheduled_ms + 999
    then = job.timeline.possible(scheduled_ms, then_ms)
    # The function reads the job after it has begun.
    now = job.timeline.possible(came[0].sent_ms, began_ms + known.late_ms(began_ms))
    return any(s.runs_on(tick.schedule, then_ms) for s in then for tick in came) and any(
        s.runs_on(tick.schedule, began_ms) for s in now for tick in came
    )


def _had_to_run(known: Known, job: Job, came: list[Ticked], record: Json) -> bool:
    """Whether a job was due all the time, from the time of these ticks until its execution began.

    If two schedules have a tick of that time, the manager knows of the other tick by its note of the newest,
    or because that tick comes later.
    """
    scheduled_ms, began_ms = record["scheduled_time_ms"], record["started_at_ms"]
    until_ms = began_ms + known.late_ms(began_ms)
    states = job.timeline.possible(min(scheduled_ms, came[0].sent_ms), until_ms)
    if not all(
        any(s.runs_on(tick.schedule, scheduled_ms) and s.runs_on(tick.schedule, began_ms) for tick in came)
        for s in states
    ):
        return False
    schedules = {tick.schedule for tick in came}
    if len(schedules) == 1:
        return True
    noted_later = any(
        tick.schedule in schedules and tick.scheduled_ms > scheduled_ms and tick.sent_ms <= began_ms
        for tick in known.life.journal.all(Ticked)
    )
    then = job.timeline.possible(scheduled_ms, scheduled_ms + 999)
    stayed = any(all(s.runs_on(schedule, scheduled_ms) for s in states) for schedule in schedules)
    left_after_its_tick = all(s.runs_on(came[0].schedule, scheduled_ms) for s in then)
    return (
        not noted_later
        and (stayed or left_after_its_tick)
        and all(not tick.is_missed and not tick.error and tick.answered_ms is not None for tick in came)
        and all(tick.ended() <= began_ms or tick.sent_ms >= began_ms + _INDEX_MS for tick in came)
    )


def _is_skipped_by_its_job(record: Json) -> bool:
    of_others = ("lock_held", "lock_lost", "started_too_late")
    return record["status"] == "skipped" and record["reason"]["code"] not in of_others


def _steady_ticks(known: Known) -> Broken:
    """The rule of the steady job fires by itself, every minute."""
    job = known.life.steady
    changes = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    from_ms = min(fact.ended() for fact in changes if fact.what == "put")
    until_ms = max(fact.sent_ms for fact in changes if fact.what == "pause")
    late_ms = _STEADY_LATE_MS + known.late_ms(until_ms - _STEADY_LATE_MS, until_ms)
    due = range(from_ms // STEADY_PERIOD_MS + 1, (until_ms - late_ms) // STEADY_PERIOD_MS + 1)
    for number in due:
        name = execution_id(job.guid, number * STEADY_PERIOD_MS)
        if known.records.get(name, {}).get("status") != "success":
            yield f"{name} of the steady job is {known.records.get(name)}", job.name


# --- by hand ------------------------------------------------------------------------------------------------


def _by_hand(known: Known) -> Broken:
    """What was begun by hand has a record; what was refused had its lock held."""
    for asked in known.life.journal.all(Asked):
        if asked.what not in ("run", "rerun"):
            continue
        if asked.status == 201 and asked.execution_id not in known.records:
            yield f"{asked.execution_id} was begun by hand, and has no record", asked.job
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
    # What began before its job became exclusive has no lock, and keeps others from beginning too.
    is_one = bool(holder) and ("fencing_token" in holder or not holder["exclusive"])
    apart_ms = known.apart_ms(from_ms, until_ms)
    return is_one and holder["started_at_ms"] <= until_ms and freed_ms >= from_ms - apart_ms


def _cancelled(known: Known) -> Broken:
    """What was answered as cancelled is, and what was not had ended as it was told."""
    for asked in known.life.journal.all(Asked):
        if asked.what != "cancel":
            continue
        status = known.records[asked.execution_id or ""]["status"]
        if asked.status == 200 and status != "cancelled":
            yield f"{asked.execution_id} was cancelled, and is {status}", asked.job
        if asked.status == 409 and asked.answer["execution_status"] != status:
            yield f"{asked.execution_id} was told to be {asked.answer}, and is {status}", asked.job


# --- notifications ------------------------------------------------------------------------------------------


def _repeated_notifications(known: Known) -> Broken:
    """An attempt is notified again only if the answer before was lost, and has a new callback_url then."""
    for name, deliveries in known.deliveries.items():
        of_attempts: defaultdict[int, list[Delivered]] = defaultdict(list)
        for each in deliveries:
            of_attempts[each.attempt].append(each)
        for attempt, repeated in of_attempts.items():
            for before, _ in pairwise(repeated):
                if not _is_lost(known, before):
                    again = f"attempt {attempt} of {name} was notified again after {before.answer!r}"
                    yield again, before.job
            if len(repeated) > _MOST_DELIVERIES:
                yield f"attempt {attempt} of {name} was notified {len(repeated)} times", repeated[0].job
        urls = [each.notification.get("callback_url", object()) for each in deliveries]
        if len(set(urls)) < len(urls):
            yield f"a callback_url of {name} was given twice", deliveries[0].job


def _is_lost(known: Known, delivered: Delivered) -> bool:
    """Whether the manager need not have heard that the notification was taken."""
    took_ms = delivered.ended() - delivered.sent_ms
    late_ms = known.late_ms(delivered.sent_ms, delivered.sent_ms + min(took_ms, _HEARD_WITHIN_MS))
    return delivered.answer in LOST or took_ms + late_ms > _HEARD_WITHIN_MS


def _notifications(known: Known) -> Broken:
    """A notification says what its record says."""
    names = ("job_guid", "schedule", "scheduled_time", "payload", "ttl_seconds", "exclusive", "fencing_token")
    for name, deliveries in known.deliveries.items():
        record = known.records.get(name, {})
        for each in deliveries:
            for field in names:
                if each.notification.get(field) != record.get(field):
                    yield f"{field} of a notification of {name} is not the record's", each.job
            last = each.notification["last_successful_execution"].get("execution_id")
            if last and known.records[last]["status"] != "success":
                yield f"{name} was told that {last} had been successful", each.job


def _holders(known: Known) -> Broken:
    """Who is told that it has the lock is the only one from then on, until it lets go or is overdue."""
    for job in known.life.all_jobs:
        holders = [
            r for r in known.of_job(job) if "fencing_token" in r and known.deliveries.get(r["execution_id"])
        ]
        holders.sort(key=lambda record: int(record["fencing_token"]))
        for earlier, later in pairwise(holders):
            name, next_name = earlier["execution_id"], later["execution_id"]
            told_ms = known.deliveries[next_name][0].sent_ms
            callbacks = [c for c in known.callbacks.get(name, []) if c.is_genuine and c.status == 200]
            first_result = min(
                (c.sent_ms for c in callbacks if c.is_final and _stands(earlier, c)), default=None
            )
            for callback in callbacks:
                is_new = not callback.is_final or first_result in (None, callback.sent_ms)
                if callback.sent_ms > told_ms and is_new:
                    yield f"{name} was heard after {next_name} had been told that it has the lock", job.name
            ended_after = earlier["finished_at_ms"] > told_ms + known.apart_ms(told_ms)
            if ended_after and earlier["status"] not in ("timeout", "fail"):
                yield f"{name} ended as {earlier['status']} after {next_name} had the lock", job.name
            held_until = max(
                (
                    ms_of_iso(c.answer["lock_expires_at"])
                    for c in callbacks
                    if not c.is_final and c.ended() < told_ms
                ),
                default=0,
            )
            if told_ms < held_until and earlier["finished_at_ms"] > told_ms:
                yield f"{next_name} was told that it has the lock, promised to {name}", job.name


def _stands(record: Json, callback: CalledBack) -> bool:
    return bool(_attempt_of(record, callback.attempt).get("status") == callback.body["status"])


# --- ends ---------------------------------------------------------------------------------------------------


def _explained(known: Known) -> Broken:
    """Each attempt has ended as its service's conduct, or somebody's hand, had it end."""
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
                yield f"{what}: {cause}: nothing that is known of explains it", record["job_name"]


def _why_skipped(known: Known, record: Json) -> str | None:
    """What is wrong with the reason; None if it is a good one."""
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
            asked = known.asked.get(name, [])
            was_deleted = record.get("reason", {}).get("code") == "job_deleted" and not deliveries
            return was_deleted or any(
                each.what == "cancel" and each.status in (200, NO_ANSWER) for each in asked
            )
        case "timeout", _:
            return _was_silent(known, record, ended, deliveries, callbacks)
        case _:
            return False


def _was_given_up(known: Known, record: Json, error: str, ended: Json, deliveries: list[Delivered]) -> bool:
    """Whether a notification was sent as often as it may be, until the lock expired, or until a stop."""
    if error == "Manager.NotNotified":
        return not deliveries and _was_stopped(known, record)
    late_ms = known.late_ms(record["started_at_ms"], ended["finished_at_ms"])
    if error == "NotificationUndelivered":
        # On a slow machine, a connection that is not made in time brings no delivery.
        return len(deliveries) == _MOST_DELIVERIES or (late_ms > 0 and len(deliveries) < _MOST_DELIVERIES)
    waited = ended["finished_at_ms"] - max(each.sent_ms for each in deliveries)
    return bool(waited >= record["ttl_seconds"] * 1000 - _CLOCK_MS - late_ms)


def _was_stopped(known: Known, record: Json) -> bool:
    """Whether somebody has stopped its state machine by hand."""
    return any(each.what == "stop the machine" for each in known.asked.get(record["execution_id"], []))


def _was_silent(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the service was heard of too long ago, or it took too long, or was stopped by hand."""
    ended_ms = ended["finished_at_ms"]
    if _was_stopped(known, record):
        return True
    if "reaped" in ended["cause"]:
        # Step Functions ends what is silent, unless the service made its deadline shorter. And where the
        # grace is shorter than the waits between deliveries, the reaper ends what waits for the next.
        is_shorter = any("extend_seconds" in each.body for each in callbacks)
        return is_shorter or (bool(deliveries) and _is_lost(known, deliveries[-1]))
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
    """Whether Step Functions had to give the service up, by the time at which it did.

    A callback that was sent before and answered after that may have come too late.
    """
    times = known.life.gave_up_ms(record["execution_id"])
    ended_ms = ended["finished_at_ms"]
    gave_up_ms = max((at_ms for at_ms in times if at_ms <= ended_ms), default=ended_ms)
    limit_ms = 1000 * int(record.get("heartbeat_interval_seconds") or record["ttl_seconds"])
    # Step Functions counts the silence from before notify_service begins, which may be kept waiting.
    begun_ms = max(_began_ms(record, ended), *(each.ended() for each in deliveries[:-1]), 0)
    has_waited = gave_up_ms - begun_ms >= limit_ms - _CLOCK_MS
    was_heard = any(
        each.status == 200 and each.sent_ms > gave_up_ms - limit_ms + _CLOCK_MS and each.ended() < gave_up_ms
        for each in callbacks
    )
    return has_waited and not was_heard


def _began_ms(record: Json, ended: Json) -> int:
    """When an attempt of a record began, at the earliest."""
    earlier = [
        each for each in record.get("attempts", []) if each["finished_at_ms"] < ended["finished_at_ms"]
    ]
    began: int = 1000 * earlier[-1]["next_attempt_at"] if earlier else record["started_at_ms"]
    return began


def _machines(known: Known) -> Broken:
    """Step Functions tells the same."""
    for name, record in known.records.items():
        machine = known.machines.get(name, "none")
        was_stopped = any(each.what == "stop the machine" for each in known.asked.get(name, []))
        ended_well = record["status"] in ("success", "skipped")
        expected = {"SUCCEEDED"} if ended_well else {"FAILED", "ABORTED"}
        if machine not in expected and not (was_stopped and machine == "ABORTED"):
            yield f"{name} is {record['status']}, its machine {machine}", record["job_name"]
    for name in known.machines.keys() - known.records.keys():
        yield f"{name} has a machine, but no record", None


# --- what is told of them -----------------------------------------------------------------------------------


def _events(known: Known) -> Broken:
    """Each end is told, and no end that is not one."""
    told: defaultdict[str, set[str]] = defaultdict(set)
    for event in known.life.events:
        if event["event"] in _ENDS:
            told[event["execution_id"]].add(_ENDS[event["event"]])
        elif event["event"] == "execution.started" and event["execution_id"] not in known.records:
            yield f"{event['execution_id']} is said to have started", event["job_name"]
    for name, record in known.records.items():
        if told[name] != {record["status"]}:
            yield f"{name} is {record['status']}, the events told {told[name]}", record["job_name"]
    for name in told.keys() - known.records.keys():
        yield f"the events tell of {name}, which has no record", None


def _lists(known: Known) -> Broken:
    """The API's lists have every record once, newest first, and say what it says."""
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
            yield f"{path} lists {set(names) ^ expected} too much, too little or twice", None
        times = [each["scheduled_time_ms"] for each in listed]
        if times != sorted(times, reverse=True):
            yield f"{path} is not newest first", None
        for each in listed:
            record = known.records.get(each["execution_id"], {})
            if each["status"] != record.get("status"):
                yield f"{path} says {each['status']} of {each['execution_id']}", each["job_name"]
    for name, status in life.final_seen.items():
        if known.records.get(name, {}).get("status") != status:
            yield f"{name} was seen as {status}, and is not any more", known.records[name]["job_name"]


def _jobs(known: Known) -> Broken:
    """The list of the service's jobs has those that exist."""
    listed = {
        each["job_name"] for each in known.life.pages(path_of("services", known.life.service_name, "jobs"))
    }
    for job in known.life.jobs.values():
        exists = {state.definition is not None for state in job.timeline.now}
        if len(exists) == 1 and (job.name in listed) not in exists:
            yield f"the list of jobs is wrong about {job.name}", job.name
    for name, item in known.items.items():
        if "lock_execution" in item:
            yield f"the lock is held at rest by {item['lock_execution']}", name
