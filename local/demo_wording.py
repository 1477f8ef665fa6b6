"""The texts that the demo prints."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from local.api_client import ApiResponse
from local.sample_service import Called, Received

HISTORY_HEADER = ("job", "scheduled", "status", "duration", "latency", "result")


def job_line(job_name: str, text: str) -> str:
    """A line about a job, with the name padded to a column."""
    return f"{job_name:<17} {text}"


def notification_line(event: Received) -> str:
    """A line about a notification."""
    parts = [f"by {event.channel}, {event.latency_seconds:.2f} s after its scheduled_time"]
    if "fencing_token" in event.notification:
        parts.append(f"fencing_token {event.notification['fencing_token']}")
    if state := event.notification["last_successful_execution"].get("state"):
        parts.append(f"last state {state!r}")
    return job_line(event.job_name, ", ".join(parts))


def callback_line(call: Called) -> str:
    """A line about a callback and its answer."""
    sent = [f"{call.body['progress']} %"] if "progress" in call.body else []
    sent += [f"{key} {call.body[key]!r}" for key in ("summary", "state", "error") if key in call.body]
    answered = str(call.answer.status or "no answer")
    if call.body["status"] == "processing" and "lock_expires_at" in call.answer.body:
        answered += f", next one before {call.answer.body['lock_expires_at']}"
    return job_line(call.job_name, f"{', '.join(sent)} -> {answered}")


def history_row(execution: dict[str, Any]) -> tuple[str, ...]:
    """An execution as a row of the history."""
    result = (
        execution.get("summary") or execution.get("error") or execution.get("reason", {}).get("detail", "")
    )
    return (
        execution["job_name"],
        execution["scheduled_time"],
        execution["status"],
        _seconds(execution.get("duration_ms")),
        _seconds(execution.get("invocation_latency_ms")),
        result if isinstance(result, str) else json.dumps(result),
    )


def latency_lines(events: Sequence[Received]) -> list[str]:
    """How long notifications took to arrive, by the service's clock, for each tick and in total."""
    by_tick: dict[str, list[float]] = {}
    for event in events:
        by_tick.setdefault(event.notification["scheduled_time"], []).append(event.latency_seconds)
    lines = [f"tick of {tick}: {_latencies(found)}" for tick, found in by_tick.items()]
    every = [latency for found in by_tick.values() for latency in found]
    return [*lines, f"all ticks: {_latencies(every)}; scheduled_time is in whole seconds"]


def shortened(answer: ApiResponse) -> str:
    """A short text of an API's answer."""
    return f"{answer.status}: {json.dumps(answer.body)[:500]}"


def _latencies(seconds: Sequence[float]) -> str:
    median, most = statistics.median(seconds), max(seconds)
    return f"{len(seconds)} notifications, after {median:.2f} s (median), {most:.2f} s (max)"


def _seconds(milliseconds: int | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1000:.2f} s"
