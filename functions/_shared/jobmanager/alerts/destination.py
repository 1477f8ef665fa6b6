"""Sends a message to the route's destination, whose URL or key is in a parameter of SSM.

Nothing here logs a URL, a key or what a destination answered.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable
from typing import Any

from jobmanager.alerts import pagerduty, slack, teams, webhook
from jobmanager.alerts.group import Message
from jobmanager.aws.clients import ssm
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import ManagerError
from jobmanager.core.settings import setting
from jobmanager.delivery.signature import webhook_headers
from jobmanager.targets.target import TargetRefused
from jobmanager.targets.webhook import Answer, NoAnswer, post

POST_SECONDS = 10
_PARAMETER_SECONDS = 300

type Request = tuple[str, dict[str, Any], dict[str, str]]
"""URL, body and headers."""


class AlertUndelivered(ManagerError):
    """The destination did not take a message. The text names neither URL nor key."""

    def __init__(self, text: str, retry_after_seconds: float = 0) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class _Parameters:
    """The values of parameters, which are read again after five minutes, or once a message was refused."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, str]] = {}

    def value(self, name: str) -> str:
        until, value = self._values.get(name, (0.0, ""))
        if time.monotonic() >= until:
            answer = ssm().get_parameter(Name=name, WithDecryption=True)
            value = answer["Parameter"]["Value"].strip()
            self._values[name] = (time.monotonic() + _PARAMETER_SECONDS, value)
        return value

    def forget(self) -> None:
        self._values.clear()


_parameters = _Parameters()


def send(message: Message) -> None:
    """Sends a message once. Raises AlertUndelivered, and ClientError if a parameter cannot be read."""
    url, body, headers = _REQUESTS[setting("ALERT_KIND")](message)
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if "webhook-id" in headers:
        headers = webhook_headers([_signing_secret()], headers["webhook-id"], now_ms(), content)
    try:
        answer = post(url, content, headers, POST_SECONDS, hides_path=True)
    except (NoAnswer, TargetRefused) as error:
        _parameters.forget()
        raise AlertUndelivered(str(error)) from None
    if not answer.is_success:
        _parameters.forget()
        raise _refused(answer)


def _refused(answer: Answer) -> AlertUndelivered:
    return AlertUndelivered(f"the destination answered {answer.status}", answer.retry_after_seconds)


def _to_slack(message: Message) -> Request:
    return _secret(), slack.body(message, setting("ALERT_SOURCE")), {}


def _to_teams(message: Message) -> Request:
    return _secret(), teams.body(message, setting("ALERT_SOURCE")), {}


def _to_pagerduty(message: Message) -> Request:
    body = pagerduty.body(message, setting("ALERT_SOURCE"), _secret(), setting("PAGERDUTY_SEVERITY"))
    return setting("PAGERDUTY_URL"), body, {}


def _to_webhook(message: Message) -> Request:
    return (
        _secret(),
        webhook.body(message, setting("ALERT_SOURCE")),
        {"webhook-id": webhook.webhook_id(message)},
    )


_REQUESTS: dict[str, Callable[[Message], Request]] = {
    "slack": _to_slack,
    "teams": _to_teams,
    "pagerduty": _to_pagerduty,
    "webhook": _to_webhook,
}


def _secret() -> str:
    return _parameters.value(setting("PARAMETER_NAME"))


def _signing_secret() -> bytes:
    """Returns the key that signs. Raises AlertUndelivered if the parameter holds none."""
    try:
        return base64.b64decode(
            _parameters.value(setting("SIGNING_PARAMETER_NAME")).removeprefix("whsec_"), validate=True
        )
    except binascii.Error:
        _parameters.forget()
        raise AlertUndelivered(
            "the signing secret cannot be read: expected whsec_ and base64 in its parameter"
        ) from None
