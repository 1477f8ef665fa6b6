"""How the manager's callback API answers, and how it answers when something is wrong with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sjm.rehearsal.observed import Callback


@dataclass(frozen=True)
class Reply:
    """An answer to a callback. Without a status, the connection is closed without an answer."""

    status: int | None
    retry_after_seconds: int | None = None


Misbehaviour = Callable[[Mapping[str, Any], Sequence[Callback], float], Reply | None]
"""Gets a callback's body, the callbacks before it, and the time. None: answer as the manager does."""


def as_usual(body: Mapping[str, Any], before: Sequence[Callback], now: float) -> Reply | None:
    """Nothing is wrong."""
    return None


def always_gone(body: Mapping[str, Any], before: Sequence[Callback], now: float) -> Reply | None:
    """The execution is over, or another one holds the lock."""
    return Reply(410)


def failing_for_results(times: int, status: int, retry_after_seconds: int | None = None) -> Misbehaviour:
    """The first results get this status."""

    def answer(body: Mapping[str, Any], before: Sequence[Callback], now: float) -> Reply | None:
        is_result = body.get("status") in ("success", "fail")
        if is_result and sum(each.is_result for each in before) < times:
            return Reply(status, retry_after_seconds)
        return None

    return answer


def unreachable_for(seconds: float) -> Misbehaviour:
    """Nobody answers, from the first callback until some seconds after the first result."""

    def answer(body: Mapping[str, Any], before: Sequence[Callback], now: float) -> Reply | None:
        first = next((each.at for each in before if each.is_result), now)
        return Reply(None) if now - first < seconds else None

    return answer
