"""Keeps to ``per_second`` of a limit: each execution gets a time, and an SQS queue keeps it until then.

SQS delays a message by whole seconds, for 15 minutes at most. A message that comes too early is sent again:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html

How long it takes from a start to its notification differs. So right before each notification, the function
reserves the next time at which one may be sent, and waits for that.
"""

import json
import time
from typing import TypedDict

from jobmanager.aws.clients import sqs
from jobmanager.core.clock import now_ms
from jobmanager.core.settings import setting
from jobmanager.executions.handing_over import ask_for_turn_at_its_time
from jobmanager.executions.record import Execution
from jobmanager.limits import store as limits

_LONGEST_DELAY_SECONDS = 900
EARLY_MS = 1000
"""An execution is started up to this long before its time, and waits in the function that notifies."""
# A longer wait in the function would cost more than the even spacing is worth.
_LONGEST_WAIT_MS = 20_000


class Timed(TypedDict):
    """A message about an execution that waits for its time (ms since 1970)."""

    waiting_execution: str
    may_start_at_ms: int


def send_at_its_time(record: Execution, at_ms: int) -> None:
    """Has a waiting execution started when its time comes. Safe to repeat."""
    may_start_at_ms = record["may_start_at_ms"]
    send({"waiting_execution": record["execution_id"], "may_start_at_ms": may_start_at_ms}, at_ms)


def send(message: Timed, at_ms: int) -> None:
    """Sends a message to the queue, which delivers it at its time, or after 15 minutes if that is earlier."""
    delay_seconds = (message["may_start_at_ms"] - at_ms) // 1000
    sqs().send_message(
        QueueUrl=setting("SPREAD_QUEUE_URL"),
        MessageBody=json.dumps(message),
        DelaySeconds=min(max(delay_seconds, 0), _LONGEST_DELAY_SECONDS),
    )


def start_or_send_again(message: Timed, at_ms: int) -> None:
    """Asks that the execution of a message is started; sends the message again if it comes too early."""
    if message["may_start_at_ms"] > at_ms + EARLY_MS:
        send(message, at_ms)
    else:
        ask_for_turn_at_its_time(message["waiting_execution"])


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
