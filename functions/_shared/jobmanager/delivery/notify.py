"""Begins an execution, and notifies its service that the job is due.

The task token and the hash of a new callback secret are stored before the notification is sent, so that a
callback may arrive at any time. The insert of the record stores them. Every later try of the same execution
stores its own. If the execution or the attempt has ended meanwhile, the service is not notified, and its end
is signalled to Step Functions. An Express machine has no token: see :mod:`jobmanager.delivery.machines`.

A tick passes the limits of the task from an index, so the job may have changed before the execution begins.
The record is right then: before the service is notified, the task ends, and another begins with the limits of
the record. That costs two transitions.

After the job was deleted, no attempt begins, even if a job with the same name was created again: the
execution ends as cancelled. A first attempt that is in time begins all the same, because the job existed just
before. After a pause, the attempts continue.

A heartbeat proves that the notification was delivered, even if a gateway answered 504 instead of the service.
Then nothing is sent again, and the task waits for callbacks.

The answer of a sync job is recorded, settled and signalled to Step Functions, as after a callback. If the
function dies before that, the service is called again. If the answer cannot be recorded, the service is not
called again; the attempt fails. The same holds if a 2xx answer cannot be read: the service has done its work,
so no other attempt follows.

A busy service may say with ``Retry-After`` when it wants to be notified again. The intervals of a
state's ``Retry`` are fixed (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html),
and a function that slept would hold some of the account's concurrency for each waiting execution. So the
machine is sent to the state in which it waits for a next attempt, which costs two transitions.
"""

from collections.abc import Mapping
from math import ceil
from random import uniform
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.callbacks.token import callback_url, hash_of, new_secret
from jobmanager.core.clock import clock_from, iso, now_ms
from jobmanager.core.errors import AnswerNotRecorded, ManagerError, NotificationUndelivered
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.delivery.machines import Machine
from jobmanager.delivery.notification import Rejected, notification, send
from jobmanager.delivery.sync_answer import AnswerInvalid, result_of
from jobmanager.executions import attempts, store
from jobmanager.executions.begin import publish_begun
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.handing_over import is_or_was_waiting
from jobmanager.executions.lock_extension import hold_lock
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.moved import due_once_more
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.pacing import wait_to_notify
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import (
    RUNNING,
    Due,
    Execution,
    Result,
    Status,
    is_skipped_at_begin,
    lock_expiry,
)
from jobmanager.executions.skip import publish_skip
from jobmanager.executions.time_limits import silence_seconds
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, is_deleted
from jobmanager.runtime.logs import logger
from jobmanager.targets.webhook import AnswerTimedOut

_MAX_TRIES = 3
_MAX_POSTPONEMENTS = 5
_SECONDS_TO_BEGIN_AGAIN = 5
_SHORT_SILENCE_SECONDS = 60
# If a first attempt begins later than this, its job must still exist.
_IN_TIME_MS = 60_000
# execution.started is published by the first try, and by the second, because the first may have died before.
_TRIES_TO_PUBLISH = 2


def run(execution: Mapping[str, Any], machine: Machine, at_ms: int) -> None:
    """Begins the execution if it has not begun, and notifies the service as :func:`notify` does.

    ``execution`` is the input of the state machine. If it has ``started_at_ms``, it is that of an execution
    that has begun, from :func:`machine_input`. A skipped execution ends here.
    """
    if "started_at_ms" in execution:
        notify(execution, machine, at_ms)
        return
    due, secret = cast(Due, execution), new_secret(1)
    record, is_new, job = begin_to_notify(due, machine.callback_fields(hash_of(secret)), at_ms)
    if not is_new and (moved := due_once_more(due, record)):
        run(moved, machine, at_ms)
        return
    if is_or_was_waiting(record):
        # Another machine runs it, or will: this one ends.
        machine.leave(record)
        return
    if not is_new and not machine.runs(record):
        _leave(record, machine)
        return
    if is_new:
        publish_begun(record, at_ms)
    if is_skipped_at_begin(record):
        machine.end(publish_skip(record, at_ms), at_ms)
        return
    is_running = record["status"] == RUNNING and attempts.current(record) == 1
    begun = {**machine_input(record), "attempt": 1}
    if is_running and machine.begins_again(execution, begun, at_ms):
        return
    if is_new:
        _notify(begun, record, job, secret, machine, at_ms)
    else:
        notify(begun, machine, at_ms)


def notify(execution: Mapping[str, Any], machine: Machine, at_ms: int) -> None:
    """Notifies the service. Records the answer of a sync job, or the failure if the service rejects the call.

    ``execution`` is the input of the attempt. Raises NotificationUndelivered if a retry may help.
    """
    clock = clock_from(at_ms)
    secret = new_secret(execution.get("attempt", 1))
    job = jobs.find(execution["service_name"], execution["job_name"])
    found = _find(execution["execution_id"])
    if not machine.fits(found):
        _leave(found, machine)
        return
    is_called_off = _call_off(execution, found, job, at_ms)
    if not machine.still_waits():
        return
    record = None if is_called_off else _prepare(execution, found, machine, hash_of(secret), clock())
    if record is None:
        _wait_or_end(execution, machine, clock())
        return
    if execution.get("attempt", 1) == 1 and len(record["callback_hashes"]) <= _TRIES_TO_PUBLISH:
        publish_begun(record, at_ms)
    _notify(execution, record, job, secret, machine, at_ms)


def _leave(record: Execution, machine: Machine) -> None:
    logger.info("another machine execution runs it")
    machine.leave(record)


def _notify(
    execution: Mapping[str, Any],
    record: Execution,
    job: Job | None,
    secret: str,
    machine: Machine,
    at_ms: int,
) -> None:
    """Sends the notification; ends the task if nothing is left to wait for."""
    try:
        ended = _deliver(record, job, secret, machine, at_ms)
    except NotificationUndelivered as undelivered:
        if _postpone(execution, record, machine, undelivered.retry_after_seconds):
            return
        if machine.may_try_again(record, now_ms()):
            raise
        _give_up(record, undelivered)
        ended = True
    if ended:
        _wait_or_end(execution, machine, now_ms())


def _call_off(execution: Mapping[str, Any], record: Execution, job: Job | None, at_ms: int) -> bool:
    """Ends the execution if its attempt has not begun and must not begin any more; returns whether it did."""
    number = execution.get("attempt", 1)
    passed_ms = at_ms - execution["started_at_ms"]
    if number == 1 and passed_ms < _IN_TIME_MS:
        return False
    longest = execution["max_duration_seconds"]
    is_too_late = passed_ms >= longest * 1000
    if not is_too_late and not _was_deleted(job, execution):
        return False
    if "service_invoked_at_ms" in record:
        return False
    status: Status
    result: Result
    if is_too_late:
        status = "fail"
        result = attempts.not_notified(record, f"max_duration_seconds, {longest}, had passed")
    else:
        detail = f"the job was deleted before attempt {number} began"
        status, result = "cancelled", {"reason": Reason(code="job_deleted", detail=detail), "cause": detail}
    return record_outcome(record, status, result, at_ms, attempt=number) is not None


def _was_deleted(job: Job | None, execution: Mapping[str, Any]) -> bool:
    """Whether the job was deleted, even if a job with the same name was created since."""
    if job is None or is_deleted(job):
        return True
    return bool(job["created_at"] != execution.get("job_created_at", job["created_at"]))


def _deliver(record: Execution, job: Job | None, secret: str, machine: Machine, at_ms: int) -> bool:
    """Sends the notification; True if that ended the attempt, and the outcome is recorded."""
    wait_to_notify(record)
    is_short = record["async"] and silence_seconds(record) <= _SHORT_SILENCE_SECONDS
    if is_short and not machine.still_waits():
        return False
    url = callback_url(setting("CALLBACK_BASE_URL"), record["execution_id"], secret)
    last = job.get("last_successful_execution") if job else None
    body = notification(record, url if record["async"] else None, last)
    status: Status
    result: Result
    may_be_retried = True
    try:
        answer = send(record, body)
        if answer is None or record["async"]:
            logger.info("service notified", extra={"invocation_latency_ms": body["invocation_latency_ms"]})
            machine.confirm(record)
            return False
        status, result = "success", cast(Result, result_of(answer))
    except NotificationUndelivered as failure:
        if not _came_through(record):
            raise
        logger.info("service notified", extra={"cause": f"it has called back, although {failure}"})
        return False
    except Rejected as rejection:
        status, result = "fail", {"error": "Job.NotificationRejected", "cause": str(rejection)}
    except AnswerInvalid as invalid:
        status, result = "fail", {"error": "Job.AnswerInvalid", "cause": str(invalid)}
        may_be_retried = False
    except AnswerTimedOut as silence:
        status, result = "timeout", {"error": "Job.Timeout", "cause": str(silence)}
    logger.info("service answered", extra={"status": status, "cause": result.get("cause")})
    _record(record, status, result, may_be_retried)
    return True


def _postpone(execution: Mapping[str, Any], record: Execution, machine: Machine, seconds: float) -> bool:
    """Lets the notification wait as long as the service asked, and up to a tenth longer, to spread the load.

    The wait ends before the execution's deadline, and the number of waits is limited. False if the
    notification is to be retried without such a wait.
    """
    now = now_ms() / 1000
    until = min(ceil(now + seconds * uniform(1, 1.1)), record["lock_expires_at"] - _SECONDS_TO_BEGIN_AGAIN)
    if not seconds or until <= now or machine.postponed(execution, record) >= _MAX_POSTPONEMENTS:
        return False
    try:
        machine.postpone(execution, record, until, ceil(until - now))
    except (ClientError, BotoCoreError) as error:
        logger.warning("the service's Retry-After is not honoured", extra={"error": str(error)})
        return False
    logger.info("the service asked to be notified later", extra={"until": iso(until * 1000)})
    return True


def _give_up(record: Execution, undelivered: NotificationUndelivered) -> None:
    """Ends the attempt as its machine would, which would be over before it can tell."""
    logger.warning("notification undelivered, and no time for another try", extra={"cause": str(undelivered)})
    result: Result = {"error": NotificationUndelivered.__name__, "cause": str(undelivered)}
    end_attempt(
        record, "fail", result, now_ms(), unless_delivered=True, run_by=record.get("machine_execution")
    )


def _came_through(record: Execution) -> bool:
    """Whether a heartbeat of the attempt has arrived since, and the attempt still runs."""
    now = store.find(record["execution_id"])
    return now is not None and now["status"] == RUNNING and attempts.is_delivered(now)


def _record(record: Execution, status: Status, result: Result, may_be_retried: bool) -> None:
    """Writes how the attempt ended; tries longer for a sync job, because its service has done its work."""
    for number in tries(_MAX_TRIES, 2.0, 4.0):
        try:
            if may_be_retried:
                end_attempt(record, status, result, now_ms())
            else:
                record_outcome(record, status, result, now_ms(), attempt=attempts.current(record))
        except (ClientError, BotoCoreError) as error:
            if record["async"]:
                raise
            logger.error("the answer was not recorded", extra={"status": status, "error": str(error)})
            if number + 1 == _MAX_TRIES:
                raise AnswerNotRecorded(f"the answer, {status}, could not be recorded: {error}") from error
        else:
            return


def _prepare(
    execution: Mapping[str, Any], record: Execution, machine: Machine, secret_hash: str, at_ms: int
) -> Execution | None:
    """Prepares the record for callbacks and returns it.

    None if the execution or the attempt has ended, if its notification is known to have arrived, or if
    another machine execution runs it. The lock is extended first, and shortened last. So a machine execution
    that runs nothing shortens no lock.
    """
    number = execution.get("attempt", 1)
    is_current = record["status"] == RUNNING and attempts.current(record) == number
    if not is_current or attempts.is_delivered(record):
        return None
    lock_expires_at = lock_expiry(
        execution["started_at_ms"], at_ms, execution["ttl_seconds"], execution["max_duration_seconds"]
    )
    if not hold_lock(record, max(lock_expires_at, record["lock_expires_at"])):
        record_outcome(record, *_outcome_without_the_lock(record), at_ms, attempt=number)
        return None
    condition, values = store.is_at_undelivered_attempt(number)
    is_free, of_machine = machine.condition()
    claim, claimed = machine.claim({**record, "lock_expires_at": lock_expires_at}, at_ms)
    prepared = store.update_if(
        execution["execution_id"],
        f"SET {claim}, service_invoked_at_ms = :now, lock_expires_at = :until,"
        " callback_hashes = list_append(if_not_exists(callback_hashes, :none), :hash)",
        condition + is_free,
        {
            **values,
            **of_machine,
            **claimed,
            ":now": at_ms,
            ":until": lock_expires_at,
            ":none": [],
            ":hash": [secret_hash],
        },
    )
    if prepared is not None and lock_expires_at < record["lock_expires_at"]:
        hold_lock(record, lock_expires_at)
    return prepared


def _outcome_without_the_lock(record: Execution) -> tuple[Status, Result]:
    """Returns skipped if the service was never notified: each try adds a secret, so there is none."""
    if "callback_hashes" not in record:
        detail = "the lock expired before the service could be notified"
        return "skipped", {"reason": Reason(code="lock_lost", detail=detail)}
    cause = f"the lock expired before the notification of attempt {attempts.current(record)} was delivered"
    return "fail", {"error": "Manager.LockLost", "cause": cause, "fault": "manager"}


def _wait_or_end(execution: Mapping[str, Any], machine: Machine, at_ms: int) -> None:
    """Ends the task if the execution or the attempt has ended; waits if the service was notified before."""
    record = _find(execution["execution_id"])
    attempt = execution.get("attempt", 1)
    if record["status"] == RUNNING and attempts.current(record) == attempt and attempts.is_delivered(record):
        if machine.wait(execution["execution_id"], attempt):
            logger.info("the service was notified before")
            return
        record = _find(execution["execution_id"])
    machine.end(record, at_ms)


def _find(execution_id: str) -> Execution:
    record = store.find(execution_id)
    if record is None:
        raise ManagerError(f"the record of {execution_id} does not exist any more")
    return record
