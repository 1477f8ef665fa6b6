"""Something explains how each attempt ended, and Step Functions agrees."""

from __future__ import annotations

import json
from typing import cast

from jobmanager.executions import attempts
from jobmanager.executions.moved import AFTER_WAITING, MOVED, machine_names
from jobmanager.executions.record import Execution
from tests.life.checks.by_hand import may_have_held
from tests.life.checks.known import (
    CLOCK_MS,
    SWEEP_MS,
    Faults,
    Known,
    attempt_of,
    deletes_of,
    has_begun,
    has_waited,
    is_express,
    is_lost,
    was_stopped,
)
from tests.life.checks.notifications import SECONDS_TO_BEGIN_AGAIN, TRIES, most_deliveries
from tests.life.checks.waiting import may_be_cancelled_for
from tests.life.conduct import REFUSALS, SYNC_INVALID, SYNC_SUCCESSES
from tests.life.journal import NO_ANSWER, CalledBack, Delivered, Json
from tests.life.living import CANCELLED_BY_OVERLAP
from tests.life.plan import TTL


def explained_ends(known: Known) -> Faults:
    """The conduct of the service, or a request, explains how each attempt ended."""
    for name, record in known.records.items():
        if record["status"] == "skipped":
            why = _why_skipped(known, record)
            if why:
                yield f"{name} was skipped, as {record['reason']['detail']}: {why}", record["job_name"]
            continue
        for attempt in range(1, attempts.current(cast(Execution, record)) + 1):
            ended = attempt_of(record, attempt)
            what = f"attempt {attempt} of {name} ended as {ended['status']} {ended.get('error', '')}"
            if not _is_explained(known, record, attempt, ended):
                cause = ended.get("cause", ended.get("summary", ""))
                yield f"{what}: {cause}: nothing explains it", record["job_name"]


def _why_skipped(known: Known, record: Json) -> str | None:
    """What is wrong with the reason; None if it is right."""
    reason = record["reason"]
    if has_waited(record) and not has_begun(record):
        return None  # see tests.life.checks.waiting
    if reason["code"] == "lock_held":
        holder = known.records.get(reason["detail"].rpartition(" ")[2], {})
        started_ms = record["started_at_ms"]
        until_ms = started_ms + known.apart_ms(started_ms)
        return None if may_have_held(known, holder, started_ms, until_ms) else "it did not"
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
    had_no_time = not deliveries and _had_no_time(known, record, ended)
    match ended["status"], error:
        case "success", _:
            return "success" in results if record["async"] else bool(answers & SYNC_SUCCESSES)
        case "fail", "Job.NotificationRejected":
            return bool(answers & REFUSALS)
        case "fail", "Job.AnswerInvalid":
            return bool(answers & SYNC_INVALID)
        case "fail", "NotificationUndelivered" | "Manager.LockLost" | "Manager.NotNotified":
            are_lost = all(is_lost(known, each) for each in deliveries)
            return had_no_time or (are_lost and _was_undeliverable(known, record, error, ended, deliveries))
        case "fail", _:
            return "fail" in results
        case "cancelled", _:
            return _was_cancelled(known, record, deliveries)
        case "timeout", _:
            return had_no_time or _was_silent(known, record, ended, deliveries, callbacks)
        case _:
            return False


def _had_no_time(known: Known, record: Json, ended: Json) -> bool:
    """Whether Step Functions timed out a task whose function was slow, because the machine was.

    Step Functions counts from the start of the task, which may be long before the function begins.
    """
    if is_express(record):
        return False
    is_first = not record.get("attempts") or ended is record["attempts"][0]
    is_by_its_tick = is_first and not has_waited(record)
    began_ms = record["scheduled_time_ms"] if is_by_its_tick else _began_ms(record, ended)
    times = _task_timeouts_ms(known, record)
    has_timed_out = any(began_ms <= at_ms <= ended["finished_at_ms"] for at_ms in times)
    return has_timed_out and known.late_ms(began_ms, ended["finished_at_ms"]) > 0


def _task_timeouts_ms(known: Known, record: Json) -> list[int]:
    """The times at which Step Functions timed out a task. An execution may end before its machine starts."""
    name = _machine_name(known, record["execution_id"])
    return known.life.task_timeouts_ms(name) if name in known.machines else []


def _was_cancelled(known: Known, record: Json, deliveries: list[Delivered]) -> bool:
    """Whether somebody cancelled it, or deleted its job before the attempt was notified.

    Or whether its job was due again, and says that this cancels it.
    """
    if record.get("reason", {}).get("code") == "job_deleted":
        return not deliveries and bool(deletes_of(known, record))
    if record["cause"].startswith(CANCELLED_BY_OVERLAP):
        return may_be_cancelled_for(known, record)
    asked = known.asked.get(record["execution_id"], [])
    return any(each.what == "cancel" and each.status in (200, NO_ANSWER) for each in asked)


def _was_undeliverable(
    known: Known, record: Json, error: str, ended: Json, deliveries: list[Delivered]
) -> bool:
    """Whether a notification was sent until its tries were used up, its lock expired, or it was stopped."""
    if error == "Manager.NotNotified":
        # The sweep starts an Express attempt up to a minute late: perhaps after the end of its execution.
        longest_ms = 1000 * record["max_duration_seconds"]
        is_over = is_express(record) and ended["finished_at_ms"] - record["started_at_ms"] >= longest_ms
        return not deliveries and (was_stopped(known, record) or is_over)
    late_ms = known.late_ms(record["started_at_ms"], ended["finished_at_ms"])
    if error == "NotificationUndelivered":
        most = most_deliveries(record, deliveries)
        lasted_ms = ended["finished_at_ms"] - record["started_at_ms"]
        is_near_the_end = lasted_ms >= 1000 * (record["max_duration_seconds"] - SECONDS_TO_BEGIN_AGAIN)
        # On a slow machine, a connection that takes too long brings no delivery.
        fewer_are_right = late_ms > 0 or (is_near_the_end and len(deliveries) >= TRIES)
        return len(deliveries) == most or (fewer_are_right and len(deliveries) < most)
    # Without a delivery, a function died after it had taken the lock.
    last_ms = max([each.sent_ms for each in deliveries], default=record["started_at_ms"])
    waited = ended["finished_at_ms"] - last_ms
    return bool(waited >= record["ttl_seconds"] * 1000 - CLOCK_MS - late_ms)


def _was_silent(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the service was silent for too long or took too long, or the machine was stopped by hand."""
    ended_ms = ended["finished_at_ms"]
    if was_stopped(known, record):
        return True
    if is_express(record) and record["async"]:
        return _was_swept_in_time(known, record, ended, deliveries, callbacks)
    if is_express(record) and ended_ms - record["started_at_ms"] >= 1000 * record["max_duration_seconds"]:
        return True  # the sweep ends also one whose service asked to be called later than that
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


def _was_swept_in_time(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the sweep ended an Express attempt after its deadline, and not much later."""
    ended_ms, ttl_ms = ended["finished_at_ms"], int(record["ttl_seconds"]) * 1000
    late_ms = known.late_ms(record["started_at_ms"], ended_ms)
    beats = [each for each in callbacks if each.status == 200 and each.sent_ms < ended_ms]
    shortest_ms = min([ttl_ms, *(1000 * each.body.get("extend_seconds", TTL) for each in beats)])
    last_ms = max([each.sent_ms for each in [*deliveries, *beats]], default=0)
    heard_ms = max([each.ended() for each in [*deliveries, *beats]], default=0)
    over_ms = record["started_at_ms"] + 1000 * record["max_duration_seconds"]
    is_late_enough = ended_ms + CLOCK_MS + late_ms >= min(last_ms + shortest_ms, over_ms)
    # The sweep first looks a minute after the notification.
    first_look_ms = _began_ms(record, ended) + SWEEP_MS + 60_000
    deadline_ms = min(heard_ms + ttl_ms, over_ms)
    return bool(is_late_enough and ended_ms <= max(first_look_ms, deadline_ms + SWEEP_MS) + late_ms)


def _was_silent_for_too_long(
    known: Known, record: Json, ended: Json, deliveries: list[Delivered], callbacks: list[CalledBack]
) -> bool:
    """Whether the service was silent for its whole limit when Step Functions timed out its task.

    A callback that was sent before that time, and answered after it, may have been too late.
    """
    times = _task_timeouts_ms(known, record)
    ended_ms = ended["finished_at_ms"]
    timed_out_ms = max((at_ms for at_ms in times if at_ms <= ended_ms), default=ended_ms)
    limit_ms = 1000 * int(record.get("heartbeat_interval_seconds") or record["ttl_seconds"])
    # Step Functions counts from the start of the task. run_execution may begin later.
    began_ms = max(_began_ms(record, ended), *(each.ended() for each in deliveries[:-1]), 0)
    was_silent = timed_out_ms - began_ms >= limit_ms - CLOCK_MS
    has_called = any(
        each.status == 200
        and each.sent_ms > timed_out_ms - limit_ms + CLOCK_MS
        and each.ended() < timed_out_ms
        for each in callbacks
    )
    return was_silent and not has_called


def _began_ms(record: Json, ended: Json) -> int:
    """The earliest time at which an attempt of a record can have begun."""
    earlier = [
        each for each in record.get("attempts", []) if each["finished_at_ms"] < ended["finished_at_ms"]
    ]
    began: int = 1000 * earlier[-1]["next_attempt_at"] if earlier else record["started_at_ms"]
    return began


def machines(known: Known) -> Faults:
    """The status in Step Functions agrees with the record.

    The machine of an execution that has to wait ends. Another one runs it, unless it ends while it waits.
    """
    for name, record in known.records.items():
        if has_waited(record) and known.machines.get(name, "SUCCEEDED") not in ("SUCCEEDED", "ABORTED"):
            yield f"{name} had to wait, and its first machine is {known.machines[name]}", record["job_name"]
        if is_express(record) or (has_waited(record) and not has_begun(record)):
            continue  # nothing tells how its machine ended; a Standard one that was started too left it
        machine = known.machines.get(_machine_name(known, name), "none")
        was_stopped = any(each.what == "stop the machine" for each in known.asked.get(name, []))
        ended_well = record["status"] in ("success", "skipped")
        expected = {"SUCCEEDED"} if ended_well else {"FAILED", "ABORTED"}
        if machine not in expected and not (was_stopped and machine == "ABORTED"):
            yield f"{name} is {record['status']}, its machine {machine}", record["job_name"]
    for name in known.machines:
        if name not in known.records and name.removesuffix(AFTER_WAITING) not in known.records:
            yield f"{name} has a machine, but no record", None


def _machine_name(known: Known, name: str) -> str:
    """The name of the machine that runs a Standard execution. See jobmanager.executions.moved.machine_names.

    Only the machine of a job that was Express before and moved has the other name.
    """
    if has_waited(known.records[name]):
        return machine_names(cast(Execution, known.records[name]))[0]
    first = name.removesuffix(f"-{MOVED}")
    is_after_express = first != name and is_express(known.records.get(first, {}))
    return first if is_after_express and name not in known.machines else name
