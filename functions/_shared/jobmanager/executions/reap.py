"""The sweep: ends or continues executions that nothing else ends or continues.

It looks at an open execution when its ``sweep_at`` has passed, which is cheap to keep: a heartbeat moves only
``lock_expires_at``, and the sweep moves ``sweep_at`` after it.

Nothing waits for an Express execution. So the sweep starts its next attempt, and another machine execution if
the service of an attempt was never notified: it died, or the service asked to be notified later. The new one
takes over from the one that the record names, so of several only one goes on.

It also publishes ``execution.late`` of an execution that runs longer than ``warn_after_seconds``, whose
``sweep_at`` is no later than that: see :mod:`jobmanager.executions.warning`.

Step Functions times out the tasks that it waits for, and finish_execution settles them. The reaper ends the
executions that are overdue by more than a grace period, for one of these reasons:

- A heartbeat has set a deadline (``extend_seconds``), and the service has been silent past it.
- The execution has run longer than ``max_duration_seconds``.
- Its Step Functions execution never started, was stopped, or is gone.
- finish_execution has failed in every attempt.

Until a heartbeat of the current attempt has come, a Standard machine decides, as long as it runs: silence
counts from the notification, and only the state machine knows whether it is still trying to deliver one. It
waits up to half an hour for capacity of Lambda. If it is gone, and the service was never notified of the
attempt, the execution ends as ``fail`` with ``Manager.NotNotified``.

The reaper need not search for locks: a lock is taken with an open record, and freed before the record is
closed.

An execution that waits for its turn has nothing that runs. The sweep skips it once its job's
``starting_deadline_seconds`` have passed. Before, it keeps its lock, and asks now and then whether its turn
has come, in case that nobody gave it (:mod:`jobmanager.executions.turn`). If the turn was given, but no
machine was started, it starts the machine.

It ends several executions at a time. A malformed record is logged and counted, and does not stop the others.

It is safe beside callbacks, state machines and another reaper. Each record is read consistently, and
``timeout`` is recorded only if the execution still runs and is still overdue. So a callback or a heartbeat
that arrives before wins. The other steps are safe to repeat. If the reaper dies half way, the execution stays
open for its next run.

If another attempt follows the timeout, the waiting task is signalled, and its state machine continues. If it
is gone, the next attempt does not begin, the execution becomes overdue again, and the reaper ends it without
another attempt. The next attempt of an Express execution is started by a later sweep.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import sns, step_functions
from jobmanager.core.clock import iso
from jobmanager.core.errors import AwsCallFailed, ManagerError
from jobmanager.core.settings import number_setting
from jobmanager.executions import attempts, store
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.handing_over import ask_for_turn
from jobmanager.executions.machine import is_machine_running, start_machine_of, stop_machine
from jobmanager.executions.outcome import error_and_cause, record_outcome
from jobmanager.executions.record import (
    POSTPONED,
    RUNNING,
    WAITING,
    Execution,
    Result,
    expires_at,
    is_express,
    is_open,
    next_look_at_waiting,
    not_after_warning,
)
from jobmanager.executions.settle import settle
from jobmanager.executions.task_signal import signal
from jobmanager.executions.waiting import (
    keep_lock_while_waiting,
    skip_waiting,
    why_too_late,
)
from jobmanager.executions.warning import is_warning_due, warn
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger
from jobmanager.runtime.stage_metrics import count
from jobmanager.runtime.tracing import trace_in_threads

# Enough for the six or so calls for one execution, even if each is slow and retried.
_TIME_FOR_ONE_MS = 60_000
_AT_ONCE = 8
# A machine execution that does not notify the service for so long is taken for dead.
_SECONDS_TO_RESTART = 60
# An execution whose turn has come, and that no machine begins, ends when it is overdue by so much.
_SECONDS_TO_BEGIN = 600
# A sweep that dies while it publishes a warning leaves it to one that comes so much later.
_SECONDS_TO_WARN = 30

type Done = Literal["reaped", "retried", "closed", "restarted", "left", "failed"]


def reap(at_ms: int, remaining_ms: Callable[[], int]) -> dict[str, int]:
    """Looks after the executions that are due; returns how many it ``reaped``, ``retried`` and so on.

    A reaped execution timed out. A retried one continues with its next attempt. A closed one had ended
    before, and is now settled. A restarted one got another machine execution. When the time is nearly up, the
    reaper stops, and its next run finds the rest.
    Raises AwsCallFailed at the end if some could not be ended; the next run retries those.
    """
    overdue_before = at_ms // 1000 - number_setting("REAP_GRACE_SECONDS")
    done: Counter[Done] = Counter()
    sns(), step_functions()  # created here and cached, so that the threads do not each create them
    with ThreadPoolExecutor(_AT_ONCE, initializer=trace_in_threads()) as pool:
        for execution_ids in batched(store.due_for_sweep(at_ms // 1000), _AT_ONCE, strict=False):
            if remaining_ms() < _TIME_FOR_ONE_MS:
                logger.warning("some overdue executions were left for the next run")
                break
            done.update(pool.map(lambda each: _end_or_log(each, overdue_before, at_ms), execution_ids))
    if done["failed"]:
        raise AwsCallFailed(f"{done['failed']} overdue executions were not ended; the next run retries them")
    return {name: done[name] for name in ("reaped", "retried", "closed", "restarted")}


def _end_or_log(execution_id: str, overdue_before: int, at_ms: int) -> Done:
    """Ends an execution; whatever goes wrong is logged, so that the other executions are ended."""
    logger.thread_safe_append_keys(execution_id=execution_id)
    try:
        return _end(execution_id, overdue_before, at_ms)
    except Exception as error:
        is_expected = isinstance(error, ClientError | BotoCoreError | ManagerError)
        extra = {"error": str(error) if is_expected else repr(error)}
        logger.error("overdue execution was not ended", extra=extra, exc_info=not is_expected)
        return "failed"
    finally:
        logger.thread_safe_clear_keys()


def _end(execution_id: str, overdue_before: int, at_ms: int) -> Done:
    record = store.find(execution_id)
    if record is None or not is_open(record):
        return "left"
    logger.thread_safe_append_keys(service_name=record["service_name"], job_name=record["job_name"])
    return _end_if_overdue(record, overdue_before, at_ms)


def _end_if_overdue(record: Execution, overdue_before: int, at_ms: int) -> Done:
    if record["status"] == WAITING:
        return _look_at_waiting(record, at_ms)
    if record["status"] == RUNNING:
        if record["lock_expires_at"] >= overdue_before or _may_still_begin(record, overdue_before):
            return _look_after(record, at_ms)
        ended = _time_out(record, overdue_before, at_ms)
        if ended is None:
            return "left"
        if ended["status"] == RUNNING:
            if not is_express(ended):
                signal(ended)
            return "retried"
        done: Done = "reaped"
    elif record["finished_at_ms"] // 1000 < overdue_before:
        ended, done = record, "closed"
    else:
        return "left"
    if not is_express(record) and "lock_expires_at" in record:
        stop_machine(record, *_stop_error_and_cause(ended))
    settle(ended, at_ms)
    logger.info(done, extra={"status": ended["status"]})
    return done


def _look_at_waiting(record: Execution, at_ms: int) -> Done:
    """Ends a waiting execution that may not start any more, or asks whether its turn has come."""
    job = jobs.find_without_large_values(record["service_name"], record["job_name"])
    too_late = None if job is None else why_too_late(record, job, at_ms)
    if too_late is not None:
        ended = skip_waiting(record, too_late, at_ms)
        if ended is not None:
            settle(ended, at_ms)
        return "left" if ended is None else "reaped"
    keep_lock_while_waiting(record, at_ms)
    ask_for_turn(record)
    if job is not None:
        kept_until = expires_at(at_ms) + record["max_duration_seconds"]
        _look_again(record, next_look_at_waiting(record, job, at_ms), kept_until=kept_until)
    return "left"


def _look_after(record: Execution, at_ms: int) -> Done:
    """Goes on with an execution that is not overdue, or decides when to look at it again."""
    now = at_ms // 1000
    if record.get("sweep_at", now) > now:
        return "left"  # the index is behind: the execution has just gone on
    if is_warning_due(record, now):
        claimed = _look_again(record, now + _SECONDS_TO_WARN)
        if claimed is None:
            return "left"
        record = warn(claimed, at_ms)
    if _has_no_machine(record, now):
        if _look_again(record, now + _SECONDS_TO_RESTART) is None:
            return "left"
        start_machine_of(record)
        logger.info("restarted", extra={"attempt": attempts.current(record)})
        return "restarted"
    next_look = not_after_warning(record, _next_deadline(record, now), at_ms)
    if next_look > now:
        _look_again(record, next_look, " AND lock_expires_at >= :next")
    return "left"


def _next_deadline(record: Execution, now: int) -> int:
    if is_express(record) and _waits_for_attempt(record, now):
        return record["attempts"][-1]["next_attempt_at"]
    return record["lock_expires_at"]


def _waits_for_attempt(record: Execution, now: int) -> bool:
    return attempts.is_between_attempts(record) and record["attempts"][-1]["next_attempt_at"] > now


def _has_no_machine(record: Execution, now: int) -> bool:
    """Whether the service of an attempt is to be notified, and nothing does so.

    That of an Express execution is found so. A Standard one has its machine from its start, unless it waited
    and the function died that was to start the machine. Its name makes it safe to start it once more.

    Call it once ``sweep_at`` has come, which is the time of a next attempt unless a warning is due before.
    """
    if not is_express(record):
        return _never_began(record)
    if attempts.is_delivered(record) or _waits_for_attempt(record, now):
        return False
    # The function of a sync job may still wait for the answer, unless the service asked to be called later.
    return record["async"] or record.get("machine_execution") in (None, POSTPONED)


def _never_began(record: Execution) -> bool:
    """Whether it waited, its turn came, and no machine has prepared its notification since."""
    return "waiting_since_ms" in record and "callback_hashes" not in record


def _may_still_begin(record: Execution, overdue_before: int) -> bool:
    """Whether an overdue execution gets a machine, because functions died before they started one.

    No service was notified, so none is late. If nothing begins it for too long, it ends as not notified.
    """
    return _never_began(record) and record["lock_expires_at"] >= overdue_before - _SECONDS_TO_BEGIN


def _look_again(
    record: Execution, sweep_at: int, unless_moved: str = "", kept_until: int | None = None
) -> Execution | None:
    """Sets ``sweep_at``; None if the execution has ended, or if another sweep or a heartbeat was faster.

    ``kept_until``: until when DynamoDB keeps the record of an execution that may wait for longer than any
    runs.
    """
    if "sweep_at" not in record:
        return None
    values = {":next": sweep_at, ":seen": record["sweep_at"], ":status": record["status"]}
    kept = {} if kept_until is None else {":kept": kept_until}
    return store.update_if(
        record["execution_id"],
        f"SET sweep_at = :next{', expires_at = :kept' if kept else ''}",
        f"#status = :status AND sweep_at = :seen{unless_moved}",
        {**values, **kept},
    )


def _time_out(record: Execution, overdue_before: int, at_ms: int) -> Execution | None:
    """Records the end; returns the record.

    None if a callback or another reaper was first, or if the state machine decides.
    """
    is_notified = "service_invoked_at_ms" in record
    if is_express(record):
        is_notified = attempts.is_delivered(record) or (is_notified and _is_known_to_be_notified(record))
    elif not attempts.is_delivered(record) and is_machine_running(record):
        return None
    if is_notified:
        ended = end_attempt(record, "timeout", _overdue_result(record), at_ms, overdue_before)
    elif is_express(record):
        result = attempts.not_notified(record, "no state machine confirmed it; reaped")
        ended = end_attempt(record, "fail", result, at_ms, overdue_before)
    else:
        # No task waits, so no other attempt can follow.
        result = attempts.not_notified(record, "its state machine does not run; reaped")
        ended = record_outcome(record, "fail", result, at_ms, overdue_before, attempts.current(record))
    # The sweep is what ends an Express execution whose service is silent. That is nothing to look into.
    if ended is not None and not (is_express(record) and is_notified):
        count("Reaped")
    return ended


def _is_known_to_be_notified(record: Execution) -> bool:
    """Whether the service of an Express attempt was notified, although it has not called back.

    A machine that has begun a sync attempt calls its service at once, and then waits. One that has begun an
    async attempt may have died before the call. A postponed notification is still to be sent, so only its
    longest duration ends it as a timeout.
    """
    if record.get("machine_execution") == POSTPONED:
        return _has_lasted_too_long(record)
    return not record["async"]


def _has_lasted_too_long(record: Execution) -> bool:
    """Whether ``max_duration_seconds`` set the deadline of an overdue execution."""
    over_at = record["started_at_ms"] // 1000 + record["max_duration_seconds"]
    return record["lock_expires_at"] >= over_at


def _overdue_result(record: Execution) -> Result:
    longest = record["max_duration_seconds"]
    if _has_lasted_too_long(record):
        error, cause = "Job.Timeout", f"no result within max_duration_seconds, {longest} seconds"
    else:
        since = iso(record["lock_expires_at"] * 1000)
        error, cause = "Job.HeartbeatTimeout", f"no heartbeat and no result until {since}"
    return {"error": error, "cause": f"{cause}; reaped"}


def _stop_error_and_cause(ended: Execution) -> tuple[str, str]:
    if ended["status"] in ("success", "skipped"):
        return "Manager.ExecutionNotFinished", f"the execution had ended as {ended['status']}; reaped"
    return error_and_cause(ended)
