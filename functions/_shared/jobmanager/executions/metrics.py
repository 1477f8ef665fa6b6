"""The metrics of executions: outcomes, durations, latencies.

Each is emitted for the stage and by service. With METRICS_BY_JOB it is also emitted by job, which costs up to
ten metrics for each job.
"""

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

_MANAGER_FAILED = Metric("ManagerFailed", "Count", 1, STAGE_DIMENSIONS)


def count_heartbeat(record: Execution) -> None:
    """Counts a heartbeat that the manager accepted."""
    emit([_service_metric("Heartbeats", "Count", 1)], **_dimensions(record))


def count_retry(record: Execution) -> None:
    """Counts an attempt that ended and is followed by another; also as ManagerFailed if that is why."""
    metrics = [_service_metric("Retried", "Count", 1)]
    if "fault" in record["attempts"][-1]:
        metrics.append(_MANAGER_FAILED)
    emit(metrics, **_dimensions(record))


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
    if "fault" in record:
        metrics.append(_MANAGER_FAILED)
    emit(metrics, **dimensions)


def _service_metric(name: str, unit: Unit, value: float) -> Metric:
    by_job = (("stage", "service", "job"),) if setting("METRICS_BY_JOB") == "true" else ()
    return Metric(name, unit, value, (("stage",), ("stage", "service"), *by_job))


def _dimensions(record: Execution) -> dict[str, str]:
    return {"service": record["service_name"], "job": record["job_name"]}
