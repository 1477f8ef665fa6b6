"""What a service is sent, and how: by webhook or by SNS."""

import json
import socket
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Timer
from time import monotonic
from typing import Any

from botocore.exceptions import ClientError

from jobmanager.aws import sns
from jobmanager.errors import NotificationUndelivered
from jobmanager.executions import Execution, invocation_latency_ms
from jobmanager.web_target import (
    Connect,
    Resolver,
    TargetRefused,
    TargetUnknown,
    WebTarget,
    checked_addresses,
    open_socket,
    system_resolver,
    tls,
    web_target,
)

_ANSWER_WITHIN_SECONDS = 10.0
_HEADERS = {
    "content-type": "application/json",
    "user-agent": "serverless-job-manager",
    "connection": "close",
}
_LATER = frozenset({429, *range(500, 600)})
_MOST_CAUSE_CHARACTERS = 500

# Retrying SNS cannot help with these:
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_Errors
_SNS_REFUSALS = frozenset(
    {
        "AuthorizationError",
        "AuthorizationErrorException",
        "AccessDenied",
        "AccessDeniedException",
        "EndpointDisabled",
        "EndpointDisabledException",
        "InvalidParameter",
        "InvalidParameterException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "InvalidSecurity",
        "InvalidSecurityException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "KMSDisabled",
        "KMSDisabledException",
        "KMSInvalidState",
        "KMSInvalidStateException",
        "KMSNotFound",
        "KMSNotFoundException",
        "NotFound",
        "NotFoundException",
        "ValidationException",
    }
)


class Rejected(Exception):
    """The target does not take the notification; the message says what was seen. Retrying is of no use."""


def notification(record: Execution, callback_url: str) -> dict[str, Any]:
    """The body of the webhook, and the message on SNS. Times are in UTC; ``_ms`` counts from 1970."""
    latency_ms = invocation_latency_ms(record)
    ttl_seconds = record["ttl_seconds"]
    sent = {
        "service_name": record["service_name"],
        "job_name": record["job_name"],
        "job_guid": record["job_guid"],
        "execution_id": record["execution_id"],
        "callback_url": callback_url,
        "heartbeat_interval_seconds": record.get("heartbeat_interval_seconds", max(1, ttl_seconds // 3)),
        "ttl_seconds": ttl_seconds,
        "payload": record["payload"],
        "schedule": record["schedule"],
        "scheduled_time": record["scheduled_time"],
        "scheduled_time_ms": record["scheduled_time_ms"],
        "invocation_latency_ms": latency_ms,
        "invocation_latency_pct": round(latency_ms / (ttl_seconds * 1000) * 100, 1),
        "exclusive": record["exclusive"],
        "last_successful_execution": record.get("last_successful_execution", {}),
    }
    if "fencing_token" in record:
        sent["fencing_token"] = record["fencing_token"]
    return sent


def send(
    record: Execution,
    body: dict[str, Any],
    resolve: Resolver = system_resolver,
    connect: Connect = socket.create_connection,
) -> None:
    """Delivers a notification once; raises NotificationUndelivered where a retry may help, else Rejected."""
    text = json.dumps(body, ensure_ascii=False)
    if record["invocation_type"] == "http":
        _post(record["invocation_target"], text, resolve, connect)
    else:
        _publish(record["invocation_target"], text, body)


def _post(url: str, text: str, resolve: Resolver, connect: Connect) -> None:
    try:
        target = web_target(url)
        addresses = checked_addresses(target, resolve)
    except TargetRefused as error:
        raise Rejected(str(error)) from None
    except TargetUnknown as error:
        raise NotificationUndelivered(str(error)) from None
    try:
        status = _status_of_post(target, addresses, text.encode("utf-8"), connect)
    except (OSError, HTTPException) as error:
        raise NotificationUndelivered(f"the target was not reached: {type(error).__name__}") from None
    if status in _LATER:
        raise NotificationUndelivered(f"the target answered HTTP {status}")
    if not 200 <= status < 300:
        raise Rejected(f"the target answered HTTP {status}")


def _status_of_post(target: WebTarget, addresses: list[str], body: bytes, connect: Connect) -> int:
    """POSTs once, follows no redirect and uses no proxy; of the answer only the status and headers are read.

    The connection is made here, of a checked address, so http.client is kept from making one of the name.
    """
    until = monotonic() + _ANSWER_WITHIN_SECONDS
    connection = (
        HTTPSConnection(target.name, target.port, context=tls())
        if target.scheme == "https"
        else HTTPConnection(target.name, target.port)
    )
    connection.auto_open = 0
    opened = connection.sock = open_socket(target, addresses, until, connect)
    # Timeouts of a socket begin anew with each byte; a server that drips its answer is cut off by the clock.
    clock = Timer(until - monotonic(), _cut, (opened,))
    clock.daemon = True
    clock.start()
    try:
        # Who has answered before reading it all may have hung up.
        with suppress(BrokenPipeError):
            connection.request("POST", target.path, body, _HEADERS)
        with connection.getresponse() as answer:
            status = answer.status
        if monotonic() > until:
            raise TimeoutError
        return status
    finally:
        clock.cancel()
        connection.close()
        opened.close()


def _cut(opened: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _publish(topic_arn: str, text: str, body: dict[str, Any]) -> None:
    attributes = {
        name: {"DataType": "String", "StringValue": body[name]}
        for name in ("service_name", "job_name", "job_guid")
    }
    try:
        # A topic may lie in another region than the stage; its own client would then be needed, so say so.
        sns().publish(TopicArn=topic_arn, Message=text, MessageAttributes=attributes)  # type: ignore[arg-type]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _SNS_REFUSALS:
            raise Rejected(
                f"SNS answered {code}: {error.response['Error'].get('Message', '')}"[:_MOST_CAUSE_CHARACTERS]
            ) from None
        raise NotificationUndelivered(f"SNS answered {code}") from None
