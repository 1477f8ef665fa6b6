"""POST /callback/{callback_token}: a service reports a heartbeat, or how its job ended.

The outcome is written to the execution's record before Step Functions is told and before the service is
answered: what was answered with 200 is never lost. A final callback may be repeated as often as the service
likes; if the function died before it told Step Functions, the repetition does.

Each attempt has a callback_url of its own. Once an attempt has ended, its callbacks are 410, whether another
follows or not: whoever works on it still shall stop.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, json_body, path_parameter
from jobmanager.aws.clients import step_functions
from jobmanager.callbacks.body import callback_errors
from jobmanager.callbacks.token import attempt_of, is_genuine, split_token
from jobmanager.core.clock import iso, now_ms
from jobmanager.core.errors import BadRequest, Forbidden, Gone
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.metrics import count_heartbeat
from jobmanager.executions.outcome import signal, stored_result
from jobmanager.executions.store import Execution
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step
from jobmanager.runtime.tracing import annotate

_RESULT_FIELDS = ("summary", "state", "error", "correlation_id", "progress")


def authenticate(token: str) -> tuple[Execution, int]:
    """The execution and the attempt whose token this is; raises Forbidden, always in the same words."""
    execution_id, secret = split_token(token)
    record = executions.find(execution_id)
    if record is None or not is_genuine(secret, record.get("callback_hashes", [])):
        raise Forbidden("This callback token is not one of ours. Use the callback_url of the notification.")
    return record, attempt_of(secret)


def apply_callback(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    """Applies a valid callback and answers the record as it is then; raises Gone if the attempt is over."""
    if body["status"] == "processing":
        return _heartbeat(record, attempt, body, at_ms)
    return _finish(record, attempt, body, at_ms)


def _heartbeat(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    if attempt != attempts.current(record):
        raise _gone(record["execution_id"], attempt)
    seconds = int(body["extend_seconds"] if "extend_seconds" in body else record["ttl_seconds"])
    expires_at = executions.lock_until(
        record["started_at_ms"], at_ms, seconds, record["max_duration_seconds"]
    )
    _hold_lock(record, attempt, expires_at)
    update = "SET lock_expires_at = :until, last_heartbeat_at_ms = :now"
    condition, values = executions.is_at_attempt(attempt)
    if "progress" in body:
        update, values[":progress"] = f"{update}, progress = :progress", round(body["progress"], 3)
    alive = executions.update_if(
        record["execution_id"],
        f"{update} ADD heartbeats :one",
        condition,
        {":until": expires_at, ":now": at_ms, ":one": 1, **values},
    )
    if alive is None:
        raise _gone(record["execution_id"], attempt)
    client = step_functions()
    try:
        client.send_task_heartbeat(taskToken=alive["task_token"])
    except (client.exceptions.TaskTimedOut, client.exceptions.TaskDoesNotExist):
        # Between two deliveries of a notification there is no task to tell. If it has timed out instead, the
        # next heartbeat will find it settled.
        logger.info("nobody waits for this heartbeat")
    logger.info("heartbeat", extra={"progress": body.get("progress")})
    count_heartbeat(alive)
    return alive


def _finish(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    result = {name: body[name] for name in _RESULT_FIELDS if name in body}
    if "progress" in result:
        result["progress"] = round(result["progress"], 3)
    ended = None
    if attempt == attempts.current(record):
        _hold_lock(record, attempt, at_ms // 1000 + record["ttl_seconds"])
        ended = end_attempt(record, body["status"], result, at_ms)
    if ended is None:
        ended = executions.find(record["execution_id"]) or record
        if not _is_repetition(ended, attempt, body["status"], result):
            raise _gone(record["execution_id"], attempt)
    if "task_token" in ended:
        signal(ended)
    logger.info("result", extra={"status": body["status"]})
    return ended


def _hold_lock(record: Execution, attempt: int, expires_at: int) -> None:
    """Keeps the lock of an exclusive job until Step Functions has been told; Gone if it has passed on."""
    if not record["exclusive"] or record["status"] != executions.RUNNING:
        return
    until = attempts.holds_lock_until(record, expires_at)
    held = jobs.extend_lock(record["service_name"], record["job_name"], record["execution_id"], until)
    if not held:
        raise _gone(record["execution_id"], attempt)


def _is_repetition(record: Execution, attempt: int, status: str, result: dict[str, Any]) -> bool:
    ended, stored = record, stored_result(result)
    if attempt < attempts.current(record):
        ended, stored = record["attempts"][attempt - 1], attempts.shortened(stored)
    names = ("summary", "state", "error", "correlation_id")
    return ended["status"] == status and all(ended.get(name) == stored.get(name) for name in names)


def _gone(execution_id: str, attempt: int) -> Gone:
    record = executions.find(execution_id)
    if record is None:
        return Gone("The execution is over, and its record has expired.")
    if record["status"] == executions.RUNNING and attempt < attempts.current(record):
        status = record["attempts"][attempt - 1]["status"]
        detail = f"Attempt {attempt} has ended as {status}, and another follows: stop working on this one."
        return Gone(detail, execution_status=record["status"])
    if record["status"] == executions.RUNNING:
        detail = "The lock has passed to another execution: stop working on this one."
        return Gone(detail, execution_status=record["status"])
    return Gone(f"The execution has ended as {record['status']}.", execution_status=record["status"])


def callback_view(record: Execution) -> dict[str, Any]:
    """What a callback is answered with."""
    view = {
        "execution_id": record["execution_id"],
        "attempt": attempts.latest(record),
        "status": record["status"],
        "lock_expires_at": iso(record["lock_expires_at"] * 1000),
    }
    if "progress" in record:
        view["progress"] = record["progress"]
    if record["status"] == executions.RUNNING and attempts.is_waited_for(record):
        view["next_attempt_at"] = attempts.next_attempt_at(record)
    return view


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with status, progress and lock_expires_at; else 400, 403, 410 or 415."""
    record, attempt = authenticate(path_parameter(event, "callback_token"))
    about = {name: record[name] for name in ("service_name", "job_name", "execution_id")}
    logger.append_keys(attempt=attempt, **about)
    annotate(about)
    body = json_body(event)
    if errors := callback_errors(body, record["ttl_seconds"]):
        raise BadRequest(f"{len(errors)} of the callback's fields are not as expected", errors=errors)
    return answer(200, callback_view(apply_callback(record, attempt, body, now_ms())))
