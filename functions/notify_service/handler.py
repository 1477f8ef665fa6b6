"""Notifies the service that its job is due.

The task token and the hash of a fresh callback secret are stored before anything is sent, so a callback can
come as early as it likes. Repeatable: each time has its own secret, and an execution or an attempt that has
ended meanwhile is not notified; Step Functions is told how it ended instead. A sync job's answer is recorded,
and told to Step Functions, as a callback would be; if the function dies before that, the service is called
again. If the answer is there and cannot be recorded, it is not: the attempt fails.
"""

import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import step_functions
from jobmanager.callbacks.token import callback_url, hash_of, new_secret
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import AnswerNotRecorded, ManagerError
from jobmanager.core.settings import setting
from jobmanager.delivery.notification import Rejected, notification, send
from jobmanager.delivery.sync_answer import AnswerInvalid, result_of
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.machine_input import heartbeat_seconds
from jobmanager.executions.outcome import record_outcome, signal
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step
from jobmanager.targets.webhook import Unanswered

_WORTH_A_HEARTBEAT_SECONDS = 60


def notify(execution: dict[str, Any], task_token: str, at_ms: int) -> None:
    """Notifies the service, or settles what cannot be notified; of a sync job also its answer.

    ``execution`` is what begin_execution answered. Raises NotificationUndelivered where a retry may help.
    """
    secret = new_secret(execution.get("attempt", 1))
    record = _prepare(execution, task_token, hash_of(secret), at_ms)
    if record is not None and not _deliver(record, secret, at_ms):
        return
    _signal_how_it_ended(execution["execution_id"], task_token)


def _deliver(record: executions.Execution, secret: str, at_ms: int) -> bool:
    """Sends the notification; whether the attempt is over by that, with its end recorded."""
    _count_silence_from_now(record)
    url = callback_url(setting("CALLBACK_BASE_URL"), record["execution_id"], secret)
    body = notification(record, url if record["async"] else None)
    try:
        answer = send(record, body)
        if answer is None or record["async"]:
            logger.info("notified", extra={"invocation_latency_ms": body["invocation_latency_ms"]})
            return False
        status, result = "success", result_of(answer)
    except Rejected as rejection:
        status, result = "fail", {"error": "Job.NotificationRejected", "cause": str(rejection)}
    except AnswerInvalid as invalid:
        status, result = "fail", {"error": "Job.AnswerInvalid", "cause": str(invalid)}
    except Unanswered as silence:
        status, result = "timeout", {"error": "Job.Timeout", "cause": str(silence)}
    logger.info("answered", extra={"status": status, "cause": result.get("cause")})
    _record(record, status, result)
    return True


def _count_silence_from_now(record: executions.Execution) -> None:
    """Step Functions counts it since the task began, so also what a cold start has taken, if it is not told.

    Only where these seconds are worth a call; the service is notified, whatever becomes of it.
    """
    if record["async"] and heartbeat_seconds(record) <= _WORTH_A_HEARTBEAT_SECONDS:
        try:
            step_functions().send_task_heartbeat(taskToken=record["task_token"])
        except (ClientError, BotoCoreError) as error:
            logger.warning("silence counts since the task began", extra={"error": str(error)})


def _record(record: executions.Execution, status: str, result: dict[str, Any]) -> None:
    """Writes how the attempt ended; of a sync job at all costs, as its service has done its work."""
    for pause_seconds in (1, 3, None):
        try:
            end_attempt(record, status, result, now_ms())
        except (ClientError, BotoCoreError) as error:
            if record["async"]:
                raise
            logger.error("the answer was not recorded", extra={"status": status, "error": str(error)})
            if pause_seconds is None:
                raise AnswerNotRecorded(f"the answer, {status}, could not be recorded: {error}") from error
            time.sleep(pause_seconds)
        else:
            return


def _prepare(
    execution: dict[str, Any], task_token: str, secret_hash: str, at_ms: int
) -> executions.Execution | None:
    """The record, ready for callbacks; None if the execution, or the attempt, has ended."""
    lock_expires_at = executions.lock_until(
        execution["started_at_ms"], at_ms, execution["ttl_seconds"], execution["max_duration_seconds"]
    )
    condition, values = executions.is_at_attempt(execution.get("attempt", 1))
    record = executions.update_if(
        execution["execution_id"],
        "SET task_token = :token, service_invoked_at_ms = :now, lock_expires_at = :until,"
        " callback_hashes = list_append(if_not_exists(callback_hashes, :none), :hash)",
        condition,
        {
            **values,
            ":token": task_token,
            ":now": at_ms,
            ":until": lock_expires_at,
            ":none": [],
            ":hash": [secret_hash],
        },
    )
    if record is None or not record["exclusive"]:
        return record
    until = attempts.holds_lock_until(record, lock_expires_at)
    if jobs.extend_lock(record["service_name"], record["job_name"], record["execution_id"], until):
        return record
    record_outcome(record, *_outcome_without_the_lock(record), at_ms)
    return None


def _outcome_without_the_lock(record: executions.Execution) -> tuple[str, dict[str, Any]]:
    """Nobody was notified if it was the first try of the first attempt: each has a secret of its own."""
    if len(record["callback_hashes"]) == 1:
        return "skipped", {"reason": "the lock expired before the service could be notified"}
    cause = f"the lock expired before the notification of attempt {attempts.current(record)} was delivered"
    return "fail", {"error": "Manager.LockLost", "cause": cause}


def _signal_how_it_ended(execution_id: str, task_token: str) -> None:
    record = executions.find(execution_id)
    if record is None:
        raise ManagerError(f"the record of {execution_id} is gone")
    signal({**record, "task_token": task_token})


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """``{execution, task_token}``; see :func:`notify`."""
    notify(event["execution"], event["task_token"], now_ms())
