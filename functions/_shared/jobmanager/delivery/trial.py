"""Tests the target of a job, before the job is saved or on request."""

from collections.abc import Mapping
from secrets import token_hex
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from jobmanager.aws.clients import sns
from jobmanager.core.errors import FieldError, NotificationUndelivered, TargetTestFailed
from jobmanager.delivery.notification import (
    ANSWER_WITHIN_SECONDS,
    Rejected,
    encoded,
    publish,
    signed_headers,
    test_notification,
)
from jobmanager.targets.target import TargetRefused, web_target
from jobmanager.targets.webhook import NoAnswer, post

_ASKED_TOO_OFTEN = 429
_DENIED = ("AuthorizationError", "AuthorizationErrorException", "AccessDenied", "AccessDeniedException")
_UNKNOWN = ("NotFound", "NotFoundException", "InvalidParameter", "InvalidParameterException")
_NOT_OURS = "this stage may not publish to it: have the topic added to notification_topic_arns"


def check_target(service_name: str, job_name: str, job: Mapping[str, Any]) -> None:
    """Sends a test notification to a webhook; raises TargetTestFailed if it fails.

    For a topic it only checks that the topic exists, because its subscribers did not ask for tests.
    """
    if job["invocation_type"] == "http":
        _call(service_name, job_name, job)
    else:
        _check_topic(job["invocation_target"])


def send_test(service_name: str, job_name: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Sends a test notification, also by SNS; raises TargetTestFailed.

    Returns ``{http_status, duration_ms}`` for a webhook, ``{message_id}`` for a topic.
    """
    if job["invocation_type"] == "http":
        return _call(service_name, job_name, job)
    body = test_notification(service_name, job_name, job)
    try:
        return {"message_id": publish(job["invocation_target"], body)}
    except (Rejected, NotificationUndelivered) as error:
        raise _failed(job["invocation_target"], {"error": str(error)}) from None


def _call(service_name: str, job_name: str, job: Mapping[str, Any]) -> dict[str, Any]:
    url = job["invocation_target"]
    content = encoded(test_notification(service_name, job_name, job))
    began = monotonic()
    try:
        headers = signed_headers(service_name, f"test-{token_hex(8)}", content)
        answer = post(url, content, headers, ANSWER_WITHIN_SECONDS)
    except (Rejected, TargetRefused, NoAnswer) as error:
        raise _failed(_shown(url), {"error": str(error)}) from None
    observed = {"http_status": answer.status, "duration_ms": round((monotonic() - began) * 1000)}
    if not answer.is_success:
        raise _failed(_shown(url), observed)
    return observed


def _check_topic(topic_arn: str) -> None:
    """Reads a topic. The role may read exactly those topics to which run_execution may publish."""
    try:
        sns().get_topic_attributes(TopicArn=topic_arn)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _DENIED:
            raise _failed(topic_arn, {"error": _NOT_OURS}) from None
        if code in _UNKNOWN:
            raise _failed(topic_arn, {"error": "there is no such topic"}) from None
        raise


def _shown(url: str) -> str:
    """Returns the URL without possible secrets, because a refusal is also logged."""
    try:
        web_target(url)
    except TargetRefused:
        return "the target"
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _failed(target: str, seen: dict[str, Any]) -> TargetTestFailed:
    what = f"it answered HTTP {seen['http_status']}" if "http_status" in seen else seen["error"]
    if seen.get("http_status") == _ASKED_TOO_OFTEN:
        what += ": it gets too many requests just now, which does not say that anything is wrong with it"
        todo = "Repeat this request later; or, to save the job now, PUT it with test_invocation false."
    else:
        todo = (
            f"A webhook is expected to answer 2xx within {ANSWER_WITHIN_SECONDS:g} seconds. Fix it; or, to"
            " save a job whose target is not up yet, PUT it with test_invocation false."
        )
    detail = f"{target} does not take notifications: {what}. {todo}"
    return TargetTestFailed(detail, seen=seen, errors=[FieldError(pointer="/invocation_target", detail=what)])
