"""Answers a repeated request as the first time.

AWS: "Unique, case-sensitive identifier you provide to ensure the idempotency of the request."
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
No page says how long a token is remembered, or what happens to another request with the same token. Here a
token is remembered for ten minutes, and the other request is a ConflictException.
"""

import json
from collections.abc import Callable

from local.aws_behaviour.scheduler.requests import Refused, Request, Response

REMEMBERED_SECONDS = 600


class ClientTokens:
    """The answers to successful requests that had a token."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], tuple[float, str, Response]] = {}

    def once(
        self, scope: tuple[str, ...], request: Request, now: float, act: Callable[[], Response]
    ) -> Response:
        """The remembered answer to this request, or that of ``act``. Raises Refused.

        ``scope`` is what a token belongs to: an account and a region.
        """
        if request.client_token is None:
            return act()
        for old in [key for key, (at, _, _) in self._answers.items() if at <= now - REMEMBERED_SECONDS]:
            del self._answers[old]
        key = (*scope, request.operation, request.client_token)
        asked = json.dumps(request.parameters, sort_keys=True)
        if key in self._answers:
            _, before, answer = self._answers[key]
            if before != asked:
                raise Refused("ConflictException", "The ClientToken was used for another request.", 409)
            return answer
        answer = act()
        if answer[0] == 200:
            self._answers[key] = now, asked, answer
        return answer

    def reset(self) -> None:
        """Forgets all tokens."""
        self._answers.clear()
