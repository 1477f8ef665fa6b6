"""Notifies the service that its job is due.

The task token and the hash of a fresh callback secret are stored before anything is sent, so a callback can
come as early as it likes. Repeatable: each attempt has its own secret, and an execution that has ended
meanwhile is not notified; Step Functions is told how it ended instead.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import executions, jobs
from jobmanager.callback_token import callback_url, hash_of, new_secret
from jobmanager.clock import now_ms
from jobmanager.errors import ManagerError
from jobmanager.logs import logger
from jobmanager.notification import Rejected, notification, send
from jobmanager.outcome import record_outcome, signal
from jobmanager.settings import setting
from jobmanager.steps import step


def notify(execution: dict[str, Any], task_token: str, at_ms: int) -> None:
    """Notifies the service, or settles what cannot be notified.

    ``execution`` is what begin_execution answered. Raises NotificationUndelivered where a retry may help.
    """
    secret = new_secret()
    record = _prepare(execution, task_token, hash_of(secret), at_ms)
    if record is not None:
        body = notification(
            record, callback_url(setting("CALLBACK_BASE_URL"), record["execution_id"], secret)
        )
        try:
            send(record, body)
        except Rejected as rejection:
            logger.info("notification rejected", extra={"cause": str(rejection)})
            result = {"error": "Job.NotificationRejected", "cause": str(rejection)}
            record_outcome(record["execution_id"], "fail", result, at_ms)
        else:
            logger.info("notified", extra={"invocation_latency_ms": body["invocation_latency_ms"]})
            return
    _signal_how_it_ended(execution["execution_id"], task_token)


def _prepare(
    execution: dict[str, Any], task_token: str, secret_hash: str, at_ms: int
) -> executions.Execution | None:
    """The record, ready for callbacks; None if the execution has ended."""
    lock_expires_at = at_ms // 1000 + execution["ttl_seconds"]
    record = executions.update_if(
        execution["execution_id"],
        "SET task_token = :token, service_invoked_at_ms = :now, lock_expires_at = :until,"
        " callback_hashes = list_append(if_not_exists(callback_hashes, :none), :hash)",
        "#status = :running",
        {
            ":token": task_token,
            ":now": at_ms,
            ":until": lock_expires_at,
            ":none": [],
            ":hash": [secret_hash],
            ":running": executions.RUNNING,
        },
    )
    if record is None or not record["exclusive"]:
        return record
    if jobs.extend_lock(record["service_name"], record["job_name"], record["execution_id"], lock_expires_at):
        return record
    reason = "the lock expired before the service could be notified"
    record_outcome(record["execution_id"], "skipped", {"reason": reason}, at_ms)
    return None


def _signal_how_it_ended(execution_id: str, task_token: str) -> None:
    record = executions.find(execution_id)
    if record is None:
        raise ManagerError(f"the record of {execution_id} is gone")
    signal({**record, "task_token": task_token})


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """``{execution, task_token}``; see :func:`notify`."""
    notify(event["execution"], event["task_token"], now_ms())
