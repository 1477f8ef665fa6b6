"""A Lambda function that reads a queue, which is subscribed to the notifications topic.

A message that is not reported as failed is deleted from the queue:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sjm.receiver.doors.in_lambda import Works, deadline_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sjm.receiver.receiver import Receiver

logger = logging.getLogger("sjm.receiver")


def lambda_sqs(receiver: Receiver, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Works on the messages of a batch at once, and names those that the queue is to deliver again.

    These are messages that are no notifications, which end in the dead-letter queue, and those for which
    there was no time, or whose attempts could not be claimed. A job that fails is no failed message: the
    manager was told, and starts the next attempt.
    """
    works = Works(receiver.engine, deadline_of(receiver, context))
    failed: list[dict[str, str]] = []
    failed_groups: set[str] = set()
    for record in event.get("Records", []):
        group = _group_of(record)
        if group in failed_groups or not _is_begun(receiver, works, record):
            failed.append({"itemIdentifier": record["messageId"]})
            failed_groups |= {group} if group else set()
    works.wait()
    return {"batchItemFailures": failed}


def _group_of(record: Mapping[str, Any]) -> str:
    """The group of a message of a FIFO queue, whose later messages must wait for it; else nothing."""
    is_ordered = str(record.get("eventSourceARN", "")).endswith(".fifo")
    return str((record.get("attributes") or {}).get("MessageGroupId", "")) if is_ordered else ""


def _is_begun(receiver: Receiver, works: Works, record: Mapping[str, Any]) -> bool:
    try:
        trace_header = (record.get("attributes") or {}).get("AWSTraceHeader")
        notification = receiver.trusted(record["body"], trace_header)
        if notification.is_test:
            return True
        if works.begin(receiver.handler_or_failure_of(notification), notification):
            return True
        logger.warning(
            "message %s is left in its queue: the function's timeout, less leave_seconds, is too short",
            record.get("messageId"),
        )
        return False
    except Exception:
        logger.exception("message %s is left in its queue", record.get("messageId"))
        return False
