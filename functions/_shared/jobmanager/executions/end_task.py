"""Settles an execution that has ended, and ends the task that waits for it.

The function that recorded the outcome settles the execution at once. If that fails, the task fails as
``NotSettled``, and the state machine settles the execution, with retries. If that signal fails, or if the
function dies, the task's limits end the task, and the state machine settles the execution. In the end,
reap_executions does.
"""

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.errors import ManagerError
from jobmanager.executions.record import RUNNING, Execution, is_open
from jobmanager.executions.settle import settle
from jobmanager.executions.task_signal import not_settled, signal
from jobmanager.runtime.logs import logger


def end_task(record: Execution, at_ms: int) -> None:
    """Settles the execution unless it is settled, and signals its task; or signals that an attempt ended.

    ``record`` is the execution as it was just read or written, with the token of the task that waits. Safe to
    repeat. Raises an error only if nothing else follows up: the caller must fail, so that it is repeated.
    """
    if record["status"] == RUNNING or not is_open(record):
        if "task_token" in record:
            signal(record)
        return
    try:
        settle(record, at_ms, (lambda: signal(record)) if "task_token" in record else None)
    except (ClientError, BotoCoreError, ManagerError) as error:
        why = f"{type(error).__name__}: {error}"
        if "task_token" not in record or not_settled(record["task_token"], why) == "task over":
            raise
        logger.error("the state machine settles the execution", extra={"error": why})
