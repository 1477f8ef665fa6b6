"""Sends one callback to the manager."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.request import OpenerDirector

NOBODY_ANSWERED: Final = 0
_MAX_ANSWER_BYTES: Final = 64 * 1024
_LATER: Final = frozenset({408, 425, 429})


class CallbackAnswer:
    """The manager's answer: ``status``, which is 0 if nobody answered, and ``body``, an object.

    ``retry_after_seconds`` is what the answer asks for, or 0.
    """

    __slots__ = ("body", "retry_after_seconds", "status")

    def __init__(
        self, status: int, body: Mapping[str, Any] | None = None, retry_after_seconds: float = 0
    ) -> None:
        self.status = status
        self.body: dict[str, Any] = dict(body or {})
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_taken(self) -> bool:
        """Whether the manager has taken the callback."""
        return 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the execution or the attempt is over, or another execution holds the lock."""
        return self.status == 410

    @property
    def is_worth_repeating(self) -> bool:
        """Whether the manager may take the same callback later.

        The manager never redirects, so a redirect comes from a proxy or a captive portal.
        """
        return self.status < 200 or self.status in _LATER or 300 <= self.status < 400 or self.status >= 500

    @property
    def reason(self) -> str:
        """What the answer says, for a log."""
        said = self.body.get("detail") or self.body.get("title") or self.body.get("message") or ""
        errors = self.body.get("errors")
        more = f" {errors}" if errors else ""
        return f"HTTP {self.status}: {said}{more}"[:1000] if self.status else f"no answer: {said}"[:1000]


def post(
    url: str, body: Mapping[str, Any], timeout_seconds: float, trace_header: str | None = None
) -> CallbackAnswer:
    """Posts once, through the proxy of the environment. It does not raise for what the network does."""
    import json
    from http.client import HTTPException
    from urllib.request import Request

    headers = {"content-type": "application/json", "user-agent": "sjm-receiver"}
    if trace_header and trace_header.isascii() and trace_header.isprintable():
        headers["x-amzn-trace-id"] = trace_header
    try:
        request = Request(url, json.dumps(body).encode(), headers, method="POST")
        with _opener().open(request, timeout=timeout_seconds) as answer:
            try:
                content = answer.read(_MAX_ANSWER_BYTES)
            except (OSError, HTTPException):
                content = b""  # the status has arrived, and counts
            return CallbackAnswer(
                answer.status, _object(content), _seconds(answer.headers.get("retry-after"))
            )
    except (OSError, HTTPException, ValueError) as error:
        # The error may name the URL, which is a secret of the attempt.
        return CallbackAnswer(NOBODY_ANSWERED, {"detail": f"{type(error).__name__}: {_cause(error, url)}"})


def import_all() -> None:
    """Imports what :func:`post` imports when it is used.

    A process that is forked while another thread imports a module can never import it: the lock is copied,
    and the thread is not. So a thread that starts before a server forks its workers must import nothing.
    """
    from importlib import import_module

    for module in ("email.utils", "encodings.idna", "http.client", "json"):
        import_module(module)
    _opener()


@functools.cache
def _opener() -> OpenerDirector:
    """Opens http and https. It follows no redirect: that would be a GET, and its 200 no answer."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _cause(error: Exception, url: str) -> str:
    from http.client import InvalidURL

    if isinstance(error, InvalidURL):
        return "the callback URL is invalid"  # its text shows a part of the URL
    return str(getattr(error, "reason", error)).replace(url, "the callback URL")


def _object(content: bytes) -> dict[str, Any]:
    import json

    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(retry_after: str | None, now: Callable[[], float] = time.time) -> float:
    """The seconds of a Retry-After header, a number or a date; 0 without a valid one."""
    value = (retry_after or "").strip()
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, TypeError, OverflowError):
        return 0.0
