"""Keeps to ``per_second`` of a limit: an execution gets a time, and a queue of SQS keeps it until then.

SQS delays a message by whole seconds, for 15 minutes at most. One that comes before its time is sent again.
Starts take different times until they notify. So right before each notification, the function takes the next
time at which one may be sent, which is at most moments away:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

import json
import time
from collections.abc import Mapping
from typing import Any, cast

from jobmanager.aws.clients import sqs
from jobmanager.core.clock import now_ms
from jobmanager.core.settings import setting
from jobmanager.executions.record import Execution
from jobmanager.limits import store as limits

_LONGEST_DELAY_SECONDS = 900
# A function that waited longer would cost more than the order is worth.
_LONGEST_WAIT_MS = 20_000


def send_at_its_time(record: Execution, at_ms: int) -> None:
    """Sends the message that starts an execution which waits for its time. Safe to repeat."""
    delay_ms = min(max(record["may_start_at_ms"] - at_ms, 0), _LONGEST_DELAY_SECONDS * 1000)
    sqs().send_message(
        QueueUrl=setting("SPREAD_QUEUE_URL"),
        MessageBody=json.dumps({"waiting_execution": record["execution_id"]}),
        DelaySeconds=delay_ms // 1000,
    )


def waiting_execution(message: Mapping[str, Any]) -> str | None:
    """Returns the execution_id in a message of :func:`send_at_its_time`; None if it is another message."""
    return cast(str | None, message.get("waiting_execution"))


def wait_to_notify(record: Execution) -> None:
    """Waits until the service may be notified, if the job names a limit with ``per_second``."""
    if "limit" not in record:
        return
    limit = limits.find(record["service_name"], record["limit"])
    if limit is None or "per_second" not in limit:
        return
    at_ms = now_ms()
    may_call_at_ms = limits.reserve(limit, "next_call_ms", at_ms)
    time.sleep(min(max(may_call_at_ms - at_ms, 0), _LONGEST_WAIT_MS) / 1000)
