"""What is counted of executions, and of the stage's own work; of functions see function_metrics.

Everything is there for the whole stage; what concerns a service, by service too; by job only where the stage
says METRICS_BY_JOB, because each job then costs up to ten metrics.
"""

import json
import re
from typing import Literal

from jobmanager.core.settings import setting
from jobmanager.executions.store import Execution, invocation_latency_ms, invocation_latency_pct
from jobmanager.runtime.emf import Metric, Unit, emit

type StageMetric = Literal["Reaped", "Reconciled", "MissedTicks"]

_NAME_OF_STATUS = {
    "success": "Succeeded",
    "fail": "Failed",
    "timeout": "TimedOut",
    "skipped": "Skipped",
    "cancelled": "Cancelled",
}

# A reason is a sentence; a dimension may have only a few values.
_REASON_OF_A_SKIP = {
    "the lock": "lock",
    "the job is paused": "paused",
    "the job is disabled": "disabled",
    "the job was deleted": "deleted",
    "the job has moved": "moved",
    "the start was": "late",
}

# Not the job's own: the manager failed, or Lambda did. What statemachine.asl.json and finish_execution name.
_ERROR_OF_THE_MANAGER = re.compile(r"(Manager|Lambda|Sandbox|Runtime)\..*|AwsCallFailed|Contended", re.DOTALL)

_OF_THE_STAGE = (("stage",),)


def count(name: StageMetric, value: int = 1) -> None:
    """Counts something of the stage's own work: by stage, of no service."""
    emit([Metric(name, "Count", value, _OF_THE_STAGE)])


def count_heartbeat(record: Execution) -> None:
    """That a service gave a sign of life, and the manager took it."""
    emit([_of_the_service("Heartbeats", "Count", 1)], **_dimensions(record))


def count_retry(record: Execution) -> None:
    """That an attempt ended, and another follows."""
    emit([_of_the_service("Retried", "Count", 1)], **_dimensions(record))


def count_outcome(record: Execution) -> None:
    """How an execution ended, how long it took, and how late it began, also in percent of the ttl.

    What was skipped is counted by reason too, and what failed by the manager's fault as ManagerFailed.
    """
    status = record["status"]
    metrics = [_of_the_service(_NAME_OF_STATUS[status], "Count", 1)]
    dimensions = _dimensions(record)
    if status == "skipped":
        metrics.append(Metric("SkippedBecause", "Count", 1, (("stage", "reason"),)))
        dimensions["reason"] = _reason_of_a_skip(record)
    elif "service_invoked_at_ms" in record:
        duration_ms = record["finished_at_ms"] - record["service_invoked_at_ms"]
        metrics += [
            _of_the_service("InvocationLatency", "Milliseconds", invocation_latency_ms(record)),
            _of_the_service("InvocationLatencyPct", "Percent", invocation_latency_pct(record)),
            _of_the_service("Duration", "Milliseconds", duration_ms),
        ]
    if status == "fail" and _is_the_managers_fault(record):
        metrics.append(Metric("ManagerFailed", "Count", 1, _OF_THE_STAGE))
    emit(metrics, **dimensions)


def _of_the_service(name: str, unit: Unit, value: float) -> Metric:
    by_job = (("stage", "service", "job"),) if setting("METRICS_BY_JOB") == "true" else ()
    return Metric(name, unit, value, (("stage",), ("stage", "service"), *by_job))


def _dimensions(record: Execution) -> dict[str, str]:
    return {"service": record["service_name"], "job": record["job_name"]}


def _reason_of_a_skip(record: Execution) -> str:
    """The one word for it; a lock that expired before the service was notified is a matter of the lock."""
    reason = record.get("reason", "")
    known = (word for start, word in _REASON_OF_A_SKIP.items() if reason.startswith(start))
    return next(known, "other")


def _is_the_managers_fault(record: Execution) -> bool:
    """A service's own error may have any name, but has no ``cause``."""
    if "cause" not in record:
        return False
    error = json.loads(record.get("error", "null"))
    return isinstance(error, str) and _ERROR_OF_THE_MANAGER.fullmatch(error) is not None
