"""The metrics of executions: outcomes, durations, latencies.

Each is emitted for the stage and by service. With METRICS_BY_JOB it is also emitted by job, which costs up to
ten metrics for each job.
"""

import json
import re

from jobmanager.core.settings import setting
from jobmanager.executions.record import Execution, invocation_latency_ms, invocation_latency_pct
from jobmanager.runtime.emf import Metric, Unit, emit
from jobmanager.runtime.stage_metrics import STAGE_DIMENSIONS

_NAME_OF_STATUS = {
    "success": "Succeeded",
    "fail": "Failed",
    "timeout": "TimedOut",
    "skipped": "Skipped",
    "cancelled": "Cancelled",
}

# Errors of the manager or of Lambda, as statemachine.asl.json and finish_execution name them.
_ERROR_OF_THE_MANAGER = re.compile(r"(Manager|Lambda|Sandbox|Runtime)\..*|AwsCallFailed|Contended", re.DOTALL)


def count_heartbeat(record: Execution) -> None:
    """Counts a heartbeat that the manager accepted."""
    emit([_service_metric("Heartbeats", "Count", 1)], **_dimensions(record))


def count_retry(record: Execution) -> None:
    """Counts an attempt that ended and is followed by another."""
    emit([_service_metric("Retried", "Count", 1)], **_dimensions(record))


def count_outcome(record: Execution) -> None:
    """Counts the outcome of an execution, its duration, and its latency, also in percent of ``ttl_seconds``.

    A skip is also counted by the code of its reason, and a failure of the manager also as ManagerFailed.
    """
    status = record["status"]
    metrics = [_service_metric(_NAME_OF_STATUS[status], "Count", 1)]
    dimensions = _dimensions(record)
    if status == "skipped":
        metrics.append(Metric("SkippedBecause", "Count", 1, (("stage", "reason"),)))
        dimensions["reason"] = record["reason"]["code"]
    elif "service_invoked_at_ms" in record:
        duration_ms = record["finished_at_ms"] - record["service_invoked_at_ms"]
        metrics += [
            _service_metric("InvocationLatency", "Milliseconds", invocation_latency_ms(record)),
            _service_metric("InvocationLatencyPct", "Percent", invocation_latency_pct(record)),
            _service_metric("Duration", "Milliseconds", duration_ms),
        ]
    if status == "fail" and _manager_failed(record):
        metrics.append(Metric("ManagerFailed", "Count", 1, STAGE_DIMENSIONS))
    emit(metrics, **dimensions)


def _service_metric(name: str, unit: Unit, value: float) -> Metric:
    by_job = (("stage", "service", "job"),) if setting("METRICS_BY_JOB") == "true" else ()
    return Metric(name, unit, value, (("stage",), ("stage", "service"), *by_job))


def _dimensions(record: Execution) -> dict[str, str]:
    return {"service": record["service_name"], "job": record["job_name"]}


def _manager_failed(record: Execution) -> bool:
    """Whether the manager failed. A service may report any error name, but never a ``cause``."""
    if "cause" not in record:
        return False
    error = json.loads(record.get("error", "null"))
    return isinstance(error, str) and _ERROR_OF_THE_MANAGER.fullmatch(error) is not None
