"""The attempts of an execution as a drawing: one bar for each, with the waits between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sjm.client import Attempt, Execution

WIDTH = 1000
_NARROWEST = 3.0


@dataclass(frozen=True)
class Bar:
    """One attempt, and where its bar is in a drawing that is ``WIDTH`` wide. None: it has not begun."""

    attempt: Attempt
    x: float | None
    width: float
    duration_ms: int | None


def attempts_of(run: Execution, now_ms: int) -> list[Bar]:
    """The attempts of an execution, in order. One without ``retry`` has one; what did not begin has none."""
    if run["status"] in ("skipped", "waiting"):
        return []
    attempts = run.get("attempts") or [_only(run)]
    began = [each["service_invoked_at_ms"] for each in attempts if "service_invoked_at_ms" in each]
    first = min(began, default=run["started_at_ms"])
    last = max([_end(each, now_ms) for each in attempts], default=now_ms)
    scale = (WIDTH - _NARROWEST) / max(last - first, 1)
    return [_bar(each, first, scale, now_ms) for each in attempts]


def _only(run: Execution) -> Attempt:
    names = (
        "status",
        "service_invoked_at_ms",
        "finished_at_ms",
        "progress",
        "summary",
        "error",
        "cause",
        "fault",
    )
    source: Mapping[str, Any] = run
    return cast(
        Attempt, {"attempt": run.get("attempt", 1), **{name: source[name] for name in names if name in run}}
    )


def _bar(attempt: Attempt, first: int, scale: float, now_ms: int) -> Bar:
    began = attempt.get("service_invoked_at_ms")
    if began is None:
        return Bar(attempt, None, 0, None)
    took = max(0, _end(attempt, now_ms) - began)
    # Clocks may disagree, so an attempt may seem to begin after the last one ended.
    x = min((began - first) * scale, WIDTH - _NARROWEST)
    width = min(max(took * scale, _NARROWEST), WIDTH - x)
    return Bar(attempt, round(x, 1), round(width, 1), took)


def _end(attempt: Attempt, now_ms: int) -> int:
    return attempt.get("finished_at_ms", now_ms)
