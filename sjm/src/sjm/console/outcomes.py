"""What an execution says about itself, in a sentence."""

import json
from typing import Any

from sjm.client import Execution
from sjm.client.types import Status
from sjm.console import words

WAITING: Status = "waiting"
RUNNING: Status = "running"
NOT_ENDED = (WAITING, RUNNING)
FAILED: tuple[Status, ...] = ("fail", "timeout")
STATUSES: tuple[Status, ...] = (*NOT_ENDED, "success", *FAILED, "skipped", "cancelled")


def why(execution: Execution) -> str:
    """Why it ended so, or waits: its error and cause, the reason of a skip or a wait, or its summary."""
    if "reason" in execution:
        return execution["reason"]["detail"]
    parts = [_error(execution.get("error")), execution.get("cause", "")]
    told = [part.strip() for part in parts if part.strip()]
    # The cause often repeats the error, or the summary.
    if len(told) == 2 and (told[0] in told[1] or told[1] in told[0]):
        told = [max(told, key=len)]
    summary = execution.get("summary", "").strip()
    if summary and not any(summary in part for part in told):
        told.append(summary)
    return " · ".join(told)


def holds_lock(execution: Execution) -> bool:
    """Whether a running execution keeps others of its job from starting."""
    return execution["status"] == RUNNING and execution.get("exclusive", False)


def is_silent(execution: Execution, now_ms: float) -> bool:
    """Whether a running execution should have reported by now, and has not."""
    expires_ms = words.ms_of(execution.get("lock_expires_at"))
    return execution["status"] == RUNNING and expires_ms is not None and expires_ms < now_ms


def percent(progress: float) -> str:
    """A progress as services report it, such as ``73 %``."""
    return f"{progress:g} %"


def _error(error: Any) -> str:
    if error is None:
        return ""
    if isinstance(error, str):
        return error
    if isinstance(error, dict) and isinstance(error.get("name"), str):
        message = error.get("message")
        return f"{error['name']}: {message}" if isinstance(message, str) else error["name"]
    return json.dumps(error, ensure_ascii=False)
