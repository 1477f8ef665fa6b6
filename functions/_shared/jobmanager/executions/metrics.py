"""The metrics of executions: outcomes, durations, latencies.

METRICS_BY_STAGE, METRICS_BY_SERVICE and METRICS_BY_JOB say for what each is emitted. ManagerFailed and Late
are always emitted for the stage, because alarms watch them.
"""

from jobmanager.core.settings import is_on
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

_DIMENSIONS = {
    "METRICS_BY_STAGE": ("stage",),
    "METRICS_BY_SERVICE": ("stage", "service"),
    "METRICS_BY_JOB": ("stage", "service", "job"),
}

_MANAGER_FAILED = Metric("ManagerFailed", "Count", 1, STAGE_DIMENSIONS)


def count_heartbeat(record: Execution) -> None:
    """Counts a heartbeat that the manager accepted."""
    emit([_metric("Heartbeats", "Count", 1)], **_dimensions(record))


def count_retry(record: Execution) -> None:
    """Counts an attempt that ended and is followed by another; also as ManagerFailed if that is why."""
    metrics = [_metric("Retried", "Count", 1)]
    if "fault" in record["attempts"][-1]:
        metrics.append(_MANAGER_FAILED)
    emit(metrics, **_dimensions(record))


def count_waiting(record: Execution) -> None:
    """Counts an execution that begins to wait for a lock or under a limit."""
    emit([_metric("Waiting", "Count", 1)], **_dimensions(record))


def count_late(record: Execution) -> None:
    """Counts an execution that runs longer than its job's ``warn_after_seconds``."""
    late = _metric("Late", "Count", 1)
    sets = dict.fromkeys((*STAGE_DIMENSIONS, *late.dimension_sets))
    emit([late._replace(dimension_sets=tuple(sets))], **_dimensions(record))


def count_outcome(record: Execution) -> None:
    """Counts the outcome of an execution, its duration, and its latency, also in percent of ``ttl_seconds``.

    Of one that had to wait for its turn, the wait is counted instead of the latency.

    A skip is also counted by the code of its reason, and a failure of the manager also as ManagerFailed.
    """
    status = record["status"]
    metrics = [_metric(_NAME_OF_STATUS[status], "Count", 1)]
    dimensions = _dimensions(record)
    if status == "skipped":
        by_reason = (("stage", "reason"),) if is_on("METRICS_BY_STAGE") else ()
        metrics.append(Metric("SkippedBecause", "Count", 1, by_reason))
        dimensions["reason"] = record["reason"]["code"]
    elif "service_invoked_at_ms" in record:
        duration_ms = record["finished_at_ms"] - record["service_invoked_at_ms"]
        metrics += [*_before_invocation(record), _metric("Duration", "Milliseconds", duration_ms)]
    if "fault" in record:
        metrics.append(_MANAGER_FAILED)
    emit(metrics, **dimensions)


def _before_invocation(record: Execution) -> list[Metric]:
    """Returns how long the execution waited for its turn, if it did; else the manager's latency."""
    if "waiting_since_ms" in record:
        return [_metric("Waited", "Milliseconds", record["started_at_ms"] - record["waiting_since_ms"])]
    return [
        _metric("InvocationLatency", "Milliseconds", invocation_latency_ms(record)),
        _metric("InvocationLatencyPct", "Percent", invocation_latency_pct(record)),
    ]


def _metric(name: str, unit: Unit, value: float) -> Metric:
    sets = tuple(dimensions for switch, dimensions in _DIMENSIONS.items() if is_on(switch))
    return Metric(name, unit, value, sets)


def _dimensions(record: Execution) -> dict[str, str]:
    return {"service": record["service_name"], "job": record["job_name"]}
