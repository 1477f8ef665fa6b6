"""Builds notifications, and sends them by webhook or by SNS."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from jobmanager.aws.clients import sns
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import NotificationUndelivered
from jobmanager.core.json_text import dumps
from jobmanager.core.mappings import picked
from jobmanager.core.names import job_guid
from jobmanager.delivery.parents import parents_with_states
from jobmanager.delivery.secrets import NoValidSecret, valid_secrets
from jobmanager.delivery.signature import webhook_headers
from jobmanager.executions import attempts, store
from jobmanager.executions.record import Execution, invocation_latency_ms, invocation_latency_pct
from jobmanager.jobs.definition import LastExecution
from jobmanager.targets.connection import Connect, begin_connecting
from jobmanager.targets.target import Resolver, TargetRefused, system_resolver
from jobmanager.targets.webhook import Answer, AnswerTimedOut, NoAnswer, post

ANSWER_WITHIN_SECONDS = 10.0
_LATER = frozenset({429, *range(500, 600)})
_MAY_ASK_TO_WAIT = (429, 503)
_MAX_CAUSE_CHARACTERS = 500
_ATTRIBUTES = ("service_name", "job_name", "job_guid")
_JOB_FIELDS = ("payload", "async", "exclusive", "ttl_seconds")

# A retry does not help after these errors of SNS:
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
    """The target rejected the notification, and a retry would not help. The message says how it responded."""


def notification(
    record: Execution, callback_url: str | None, last_successful: LastExecution | None
) -> dict[str, Any]:
    """Builds the body of the webhook or the SNS message. Times are in UTC; ``_ms`` counts from 1970.

    ``callback_url`` is None for a sync job, which sends no callbacks. ``last_successful`` is that of the job.
    """
    body = {
        **_fields_of_job(store.whole(record, "payload")),
        "execution_id": record["execution_id"],
        "attempt": attempts.current(record),
        "scheduled_time": record["scheduled_time"],
        "scheduled_time_ms": record["scheduled_time_ms"],
        **picked(record, ("starts_at",)),
        "invocation_latency_ms": invocation_latency_ms(record),
        "invocation_latency_pct": invocation_latency_pct(record),
        "last_successful_execution": last_successful or {},
    }
    if callback_url is not None:
        body["callback_url"] = callback_url
    if "fencing_token" in record:
        body["fencing_token"] = record["fencing_token"]
    if "parents" in record:
        body["parents"] = parents_with_states(record["parents"], len(encoded(body)))
    return body


def test_notification(service_name: str, job_name: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Builds a notification that only tests the target: ``test`` is true, and there is no execution."""
    guid = job_guid(service_name, job_name)
    names = {"service_name": service_name, "job_name": job_name, "job_guid": guid}
    return {"test": True, **_fields_of_job({**job, **names})}


def _fields_of_job(job: Mapping[str, Any]) -> dict[str, Any]:
    schedule = picked(job, ("schedule",))  # a job that runs after others has none
    fields = {name: job[name] for name in _ATTRIBUTES} | schedule
    fields |= {name: job[name] for name in _JOB_FIELDS} | picked(job, ("time_zone",))
    if job["async"]:
        own = job.get("heartbeat_interval_seconds")
        fields["heartbeat_interval_seconds"] = own or max(1, job["ttl_seconds"] // 3)
    return fields


def send(
    record: Execution,
    body: dict[str, Any],
    resolve: Resolver = system_resolver,
    connect: Connect = begin_connecting,
) -> Answer | None:
    """Sends a notification once; returns the answer of a webhook, None for SNS.

    Raises NotificationUndelivered where a retry may help, else Rejected; of a sync job also AnswerTimedOut.
    """
    if record["invocation_type"] == "sns":
        publish(record["invocation_target"], body)
        return None
    is_async = record["async"]
    within = ANSWER_WITHIN_SECONDS if is_async else float(record["ttl_seconds"])
    content = encoded(body)
    headers = signed_headers(record["service_name"], webhook_id(record), content)
    try:
        answer = post(record["invocation_target"], content, headers, within, not is_async, resolve, connect)
    except TargetRefused as error:
        raise Rejected(str(error)) from None
    except NoAnswer as error:
        if isinstance(error, AnswerTimedOut) and not is_async:
            raise
        raise NotificationUndelivered(str(error)) from None
    if answer.status in _LATER:
        asked = answer.retry_after_seconds if answer.status in _MAY_ASK_TO_WAIT else 0
        raise NotificationUndelivered(f"the target answered HTTP {answer.status}", asked)
    if not answer.is_success:
        raise Rejected(f"the target answered HTTP {answer.status}")
    return answer


def encoded(body: dict[str, Any]) -> bytes:
    """Encodes a notification as it is sent and signed."""
    return dumps(body).encode("utf-8")


def webhook_id(record: Execution) -> str:
    """Returns the ``webhook-id``: one for each attempt, the same each time its notification is sent."""
    number = attempts.current(record)
    execution_id: str = record["execution_id"]
    return execution_id if number == 1 else f"{execution_id}-{number}"


def signed_headers(service_name: str, webhook_id: str, content: bytes) -> dict[str, str]:
    """Returns the headers by which the service verifies that a webhook comes from the manager.

    Raises Rejected if the service had a secret once, and none is valid any more.
    """
    at_ms = now_ms()
    try:
        secrets = valid_secrets(service_name, at_ms)
    except NoValidSecret as error:
        raise Rejected(str(error)) from None
    return webhook_headers(secrets, webhook_id, at_ms, content)


def publish(topic_arn: str, body: dict[str, Any]) -> str:
    """Publishes once and returns the id of the message; raises what :func:`send` raises."""
    attributes = {name: {"DataType": "String", "StringValue": body[name]} for name in _ATTRIBUTES}
    if "test" in body:
        attributes["test"] = {"DataType": "String", "StringValue": "true"}
    message = encoded(body).decode("utf-8")
    try:
        # SNS rejects the ARN of a topic in another region, and its message says so.
        answer = sns().publish(TopicArn=topic_arn, Message=message, MessageAttributes=attributes)  # type: ignore[arg-type]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _SNS_REFUSALS:
            raise Rejected(
                f"SNS answered {code}: {error.response['Error'].get('Message', '')}"[:_MAX_CAUSE_CHARACTERS]
            ) from None
        raise NotificationUndelivered(f"SNS answered {code}") from None
    return answer["MessageId"]
