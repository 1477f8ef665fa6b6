"""A Lambda function behind an HTTP API or a function URL.

Lambda may freeze the function as soon as it has answered, and threads stand still then:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-invoke
So the work is done in an invocation of its own, which the function starts asynchronously:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

import binascii
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.answer import Answer, duplicate, refusal, tested
from sjm.receiver.doors.in_lambda import Works, deadline_of
from sjm.receiver.errors import Refused
from sjm.receiver.notification import Notification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sjm.receiver.receiver import Receiver
    from sjm.receiver.work import Job

logger = logging.getLogger("sjm.receiver")

_WORK: Final = "sjm_receiver_work"
_ANSWER_SECONDS: Final = 9.0  # the manager waits 10


def lambda_http(receiver: Receiver, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Answers an HTTP request, or works on what such a request asked for.

    An event from outside cannot ask for work: what callers send is a string in the event's ``body``. Whoever
    may invoke the function itself may also ask for work.
    """
    if _WORK in event:
        _work(receiver, event[_WORK], context)
        return {}
    answer = _answer(receiver, event, context)
    return {
        "statusCode": answer.status,
        "headers": answer.headers,
        "body": answer.body.decode(),
        "isBase64Encoded": False,
    }


def _answer(receiver: Receiver, event: Mapping[str, Any], context: Any) -> Answer:
    """Format 2.0, and 1.0, which a REST API sends.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    http = (event.get("requestContext") or {}).get("http") or {}
    if (http.get("method") or event.get("httpMethod")) != "POST":
        return refusal(405, "a notification is a POST", {"allow": "POST"})
    try:
        notification = receiver.verified(_content(event), event.get("headers") or {})
        job = receiver.handler_of(notification)
    except Refused as error:
        return receiver.refused(error)
    if notification.is_test:
        return tested()
    deadline = deadline_of(receiver, context)
    if notification.is_sync:
        return receiver.answer_sync(job, notification, deadline=deadline)
    if job.short:
        return _work_at_once(receiver, job, notification, min(deadline, time.monotonic() + _ANSWER_SECONDS))
    return _invoke_itself(receiver, notification, context)


def _content(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode()
    try:
        return binascii.a2b_base64(body)
    except ValueError:
        raise Refused(400, "the body is not base64, as the event says") from None


def _work_at_once(receiver: Receiver, job: Job, notification: Notification, deadline: float) -> Answer:
    works = Works(receiver.engine, deadline)
    if receiver.engine.is_running(notification):
        return duplicate()
    try:
        if not works.begin(job, notification):
            return receiver.busy("the function has no time left")
    except Exception:
        logger.exception("%r: cannot be claimed", notification)
        return receiver.busy("the service cannot note that it has taken this attempt")
    works.wait()
    return Answer(202, "accepted")


def _invoke_itself(receiver: Receiver, notification: Notification, context: Any) -> Answer:
    import json

    work = {"notification": notification.fields, "trace_header": notification.trace_header}
    try:
        _client().invoke(
            FunctionName=context.invoked_function_arn,
            InvocationType="Event",
            Payload=json.dumps({_WORK: work}).encode(),
        )
    except Exception:
        logger.exception(
            "the function cannot invoke itself: its role needs lambda:InvokeFunction on %s",
            context.invoked_function_arn,
        )
        return receiver.busy("the function cannot invoke itself")
    return Answer(202, "accepted")


def _work(receiver: Receiver, work: Mapping[str, Any], context: Any) -> None:
    """Works in an invocation of its own. Lambda repeats it if it fails, and a duplicate is dropped."""
    notification = Notification(work["notification"], work.get("trace_header"))
    works = Works(receiver.engine, deadline_of(receiver, context))
    if not works.begin(receiver.handler_of(notification), notification):
        raise TimeoutError("the function's timeout leaves no time to work")
    works.wait()


@functools.cache
def _client() -> Any:
    """Made once: it costs time, and later invocations use its connection again."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "lambda", config=Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 2})
    )
