"""The callbacks of one attempt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sjm.receiver.callback import CallbackAnswer, post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sjm.receiver.notification import Notification

logger = logging.getLogger("sjm.receiver")


class Callbacks:
    """Posts to the callback URL of one attempt, which is a secret: it is never logged."""

    __slots__ = ("_on_callback", "_trace_header", "_url", "name")

    def __init__(
        self,
        url: str,
        name: str,
        trace_header: str | None = None,
        on_callback: Callable[[Mapping[str, Any], CallbackAnswer], None] | None = None,
    ) -> None:
        self._url = url
        self.name = name
        self._trace_header = trace_header
        self._on_callback = on_callback

    def post(self, body: Mapping[str, Any], timeout_seconds: float) -> CallbackAnswer:
        """Posts once; an answer of status 0 means that nobody answered."""
        answer = post(self._url, body, timeout_seconds, self._trace_header)
        if self._on_callback:
            try:
                self._on_callback(body, answer)
            except Exception:  # a fault in a service's metrics is none of the job's
                logger.exception("%s: on_callback failed", self.name)
        return answer

    def __repr__(self) -> str:
        return f"<Callbacks of {self.name}>"


def name_of(notification: Notification) -> str:
    """An attempt's name in the log."""
    execution_id, attempt = notification.key
    return f"{notification.job_name} {execution_id} attempt {attempt}"
