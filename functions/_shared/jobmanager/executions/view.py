"""An execution as the API shows it."""

import json
from typing import Any

from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts, store
from jobmanager.executions.record import (
    RUNNING,
    WAITING,
    Execution,
    first_invoked_at_ms,
    invocation_latency_ms,
)

_SHOWN = (
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "status",
    "reason",
    "schedule",
    "time_zone",
    "invocation_type",
    "invocation_target",
    "scheduled_time",
    "scheduled_time_ms",
    "starts_at",
    "waiting_since_ms",
    "may_start_at_ms",
    "started_at_ms",
    "service_invoked_at_ms",
    "finished_at_ms",
    "progress",
    "summary",
    "cause",
    "fault",
    "correlation_id",
    "exclusive",
    "limit",
    "fencing_token",
    "warn_after_seconds",
    "warned_at_ms",
    "started_by",
    "backfill_of",
    "rerun_of",
    "reruns",
    "parents",
    "children",
)
_SHOWN_WHOLE = ("payload", "state")


def whole_view(record: Execution) -> dict[str, Any]:
    """Returns an execution as the API shows it, with its payload and its state; reads large ones."""
    return execution_view(store.whole(record, "payload", "state"))


def execution_view(record: Execution, whole: bool = True) -> dict[str, Any]:
    """Returns an execution as the API shows it.

    Unless ``whole``, it lacks payload and state, and long errors are shortened.
    """
    view = picked(record, _SHOWN + (_SHOWN_WHOLE if whole else ()))
    view["workflow_type"] = record.get("workflow_type", "standard")
    if "error" in record:
        view["error"] = json.loads(record["error"])
    if not whole:
        view |= {name: attempts.shortened_text(view[name]) for name in ("error", "cause") if name in view}
    if record["status"] == RUNNING:
        view["lock_expires_at"] = iso(record["lock_expires_at"] * 1000)
    if first_invoked_at_ms(record) is not None:
        view["invocation_latency_ms"] = invocation_latency_ms(record)
    if "service_invoked_at_ms" in record and "finished_at_ms" in record:
        view["duration_ms"] = record["finished_at_ms"] - record["service_invoked_at_ms"]
    return view | _attempts_view(record, whole)


def _attempts_view(record: Execution, whole: bool) -> dict[str, Any]:
    if record["status"] in ("skipped", WAITING):
        return {}
    view: dict[str, Any] = {"attempt": attempts.latest(record)}
    if "retry" in record and whole:
        view["attempts"] = attempts.views(record)
    if record["status"] == RUNNING and attempts.is_between_attempts(record):
        view["next_attempt_at"] = attempts.next_attempt_at(record)
    return view
