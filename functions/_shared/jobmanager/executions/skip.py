"""Publishes the event of an execution that was skipped when it began.

A module of its own, because functions that settle executions do not need what begins one.
"""

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.executions import store
from jobmanager.executions.events import publish_event
from jobmanager.executions.metrics import count_outcome
from jobmanager.executions.record import Execution
from jobmanager.runtime.logs import logger


def publish_skip(record: Execution, at_ms: int) -> Execution:
    """Publishes and counts an execution that was skipped when it began; returns its record.

    If SNS does not take the event, the record is opened again. Then it is settled as any other, with all
    retries, and at last the sweep finds it. Safe to repeat: the skip is published, and counted, at least
    once.
    """
    try:
        publish_event(record, at_ms)
    except (ClientError, BotoCoreError) as error:
        logger.warning("execution.skipped was not published", extra={"error": str(error)})
        return store.reopen(record, at_ms) or record
    count_outcome(record)
    return record
