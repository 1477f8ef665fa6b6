"""What a service is sent, and how: by webhook or by SNS."""

import json
from typing import Any

import urllib3
from botocore.exceptions import ClientError

from jobmanager.aws import sns
from jobmanager.errors import NotificationUndelivered
from jobmanager.executions import Execution, invocation_latency_ms

_ANSWER_WITHIN_SECONDS = 10.0
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

# One pool for all invocations of a warm function. No redirects, and no retries but the state machine's.
_WEB = urllib3.PoolManager(retries=False)


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


def send(record: Execution, body: dict[str, Any]) -> None:
    """Delivers a notification once; raises NotificationUndelivered where a retry may help, else Rejected."""
    text = json.dumps(body, ensure_ascii=False)
    if record["invocation_type"] == "http":
        _post(record["invocation_target"], text)
    else:
        _publish(record["invocation_target"], text, body)


def _post(url: str, text: str) -> None:
    try:
        answer = _WEB.request(
            "POST",
            url,
            body=text.encode("utf-8"),
            headers={"content-type": "application/json", "user-agent": "serverless-job-manager"},
            timeout=urllib3.Timeout(total=_ANSWER_WITHIN_SECONDS),
            redirect=False,
            preload_content=False,
        )
    except urllib3.exceptions.LocationValueError as error:
        raise Rejected(f"the target is not a web address: {error}") from None
    except urllib3.exceptions.HTTPError as error:
        raise NotificationUndelivered(f"the target was not reached: {type(error).__name__}") from None
    # What the service answers is not read: only its status counts.
    answer.close()
    if answer.status in _LATER:
        raise NotificationUndelivered(f"the target answered HTTP {answer.status}")
    if not 200 <= answer.status < 300:
        raise Rejected(f"the target answered HTTP {answer.status}")


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
