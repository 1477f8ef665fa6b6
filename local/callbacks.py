"""A service's callbacks to the manager: heartbeats and the result of the job.

This module uses only the standard library, so you can copy it. Keep three rules in a client of your own:

* The callback_url is a secret of one execution. Post to it, and never log it.
* A lost heartbeat is harmless, because the next one follows. A final callback (success, fail) must not get
  lost: retry it until it is answered. The manager answers a duplicate with 200 again.
* 410 means that the execution is over, or that its lock has passed to another. Stop working.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOBODY_ANSWERED = 0


@dataclass(frozen=True)
class CallbackAnswer:
    """The manager's answer. The status is NOBODY_ANSWERED if the manager could not be reached."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the callback was accepted."""
        return self.status == 200

    @property
    def worth_repeating(self) -> bool:
        """Whether the manager may accept the same callback later."""
        return self.status in (NOBODY_ANSWERED, 429) or self.status >= 500


class Callbacks:
    """The callbacks of one execution. They continue its notification's trace, if there is a trace header."""

    def __init__(
        self,
        callback_url: str,
        *,
        trace_header: str | None = None,
        retry_delays: Sequence[float] = (1, 2, 4, 8, 16),
        on_callback: Callable[[dict[str, Any], CallbackAnswer], None] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._url = callback_url
        self._headers = {} if trace_header is None else {"X-Amzn-Trace-Id": trace_header}
        self._retry_delays = retry_delays
        self._on_callback = on_callback
        self._sleep = sleep

    def heartbeat(self, progress: float | None = None) -> CallbackAnswer:
        """Report that the job is alive, and its progress from 0 to 100."""
        return self._post(_without_none(status="processing", progress=progress))

    def success(
        self, *, summary: str | None = None, state: str | None = None, correlation_id: str | None = None
    ) -> CallbackAnswer:
        """Report that the job succeeded. The next run receives `state`, to continue from there."""
        return self._post_until_answered(
            _without_none(status="success", summary=summary, state=state, correlation_id=correlation_id)
        )

    def fail(self, error: str | dict[str, Any], *, summary: str | None = None) -> CallbackAnswer:
        """Report that the job failed, and why."""
        return self._post_until_answered(_without_none(status="fail", error=error, summary=summary))

    def _post_until_answered(self, body: dict[str, Any]) -> CallbackAnswer:
        answer = self._post(body)
        for delay in self._retry_delays:
            if not answer.worth_repeating:
                break
            self._sleep(delay)
            answer = self._post(body)
        return answer

    def _post(self, body: dict[str, Any]) -> CallbackAnswer:
        answer = post_json(self._url, body, headers=self._headers)
        if self._on_callback:
            self._on_callback(body, answer)
        return answer


def post_json(
    url: str, body: dict[str, Any], timeout_seconds: float = 15, headers: Mapping[str, str] | None = None
) -> CallbackAnswer:
    """Post once, and return the answer."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            return CallbackAnswer(response.status, _json_object(response.read()))
    except urllib.error.HTTPError as refused:
        with refused:
            return CallbackAnswer(refused.code, _json_object(refused.read()))
    except OSError as unreachable:
        return CallbackAnswer(NOBODY_ANSWERED, {"detail": str(unreachable)})


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {"detail": content.decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"detail": parsed}


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
