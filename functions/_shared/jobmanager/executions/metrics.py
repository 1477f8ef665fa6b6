"""The metrics of executions: how they ended, how long they took, how late they began.

Each is emitted for the whole stage and by service. It is emitted by job only where the stage sets
METRICS_BY_JOB, because each job then costs up to ten metrics.
"""

import json
import re

from jobmanager.core.settings import setting
from jobmanager.executions.record import Execution, invocation_latency_ms, invocation_latency_pct
from jobmanager.runtime.emf import Metric, Unit, emit
from jobmanager.runtime.stage_metrics import OF_THE_STAGE

_NAME_OF_STATUS = {
    "success": "Succeeded",
    "fail": "Failed",
    "timeout": "TimedOut",
    "skipped": "Skipped",
    "cancelled": "Cancelled",
}

# The manager failed, or Lambda did. These are the names of statemachine.asl.json and finish_execution.
_ERROR_OF_THE_MANAGER = re.compile(r"(Manager|Lambda|Sandbox|Runtime)\..*|AwsCallFailed|Contended", re.DOTALL)


def count_heartbeat(record: Execution) -> None:
    """Counts a heartbeat that the manager accepted."""
    emit([_of_the_service("Heartbeats", "Count", 1)], **_dimensions(record))


def count_retry(record: Execution) -> None:
    """Counts an attempt that ended while another follows."""
    emit([_of_the_service("Retried", "Count", 1)], **_dimensions(record))


def count_outcome(record: Execution) -> None:
    """Counts how an execution ended, how long it took, and how late it began, also in percent of the ttl.

    A skip is counted by the code of its reason too, and a failure of the manager as ManagerFailed.
    """
    status = record["status"]
    metrics = [_of_the_service(_NAME_OF_STATUS[status], "Count", 1)]
    dimensions = _dimensions(record)
    if status == "skipped":
        metrics.append(Metric("SkippedBecause", "Count", 1, (("stage", "reason"),)))
        dimensions["reason"] = record["reason"]["code"]
    elif "service_invoked_at_ms" in record:
        duration_ms = record["finished_at_ms"] - record["service_invoked_at_ms"]
        metrics += [
            _of_the_service("InvocationLatency", "Milliseconds", invocation_latency_ms(record)),
            _of_the_service("InvocationLatencyPct", "Percent", invocation_latency_pct(record)),
            _of_the_service("Duration", "Milliseconds", duration_ms),
        ]
    if status == "fail" and _is_the_managers_fault(record):
        metrics.append(Metric("ManagerFailed", "Count", 1, OF_THE_STAGE))
    emit(metrics, **dimensions)


def _of_the_service(name: str, unit: Unit, value: float) -> Metric:
    by_job = (("stage", "service", "job"),) if setting("METRICS_BY_JOB") == "true" else ()
    return Metric(name, unit, value, (("stage",), ("stage", "service"), *by_job))


def _dimensions(record: Execution) -> dict[str, str]:
    return {"service": record["service_name"], "job": record["job_name"]}


def _is_the_managers_fault(record: Execution) -> bool:
    """A service's own error may have any name, but it has no ``cause``."""
    if "cause" not in record:
        return False
    error = json.loads(record.get("error", "null"))
    return isinstance(error, str) and _ERROR_OF_THE_MANAGER.fullmatch(error) is not None
