"""Metrics, written as EMF log lines, which cost no call: one namespace, by stage and service.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format.html
"""

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from jobmanager.executions import Execution, invocation_latency_ms
from jobmanager.settings import setting

_NAME_OF_STATUS = {
    "success": "Succeeded",
    "fail": "Failed",
    "timeout": "TimedOut",
    "skipped": "Skipped",
    "cancelled": "Cancelled",
}


def count(name: str, value: int = 1) -> None:
    """Counts something of the stage's own work, such as ``Reaped``: by stage, of no service."""
    metrics = EphemeralMetrics(namespace=setting("POWERTOOLS_METRICS_NAMESPACE"))
    metrics.set_default_dimensions(stage=setting("STAGE"))
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    metrics.flush_metrics()


def count_outcome(record: Execution) -> None:
    """How an execution ended, how late its service was notified, and how long it took."""
    metrics = EphemeralMetrics(
        namespace=setting("POWERTOOLS_METRICS_NAMESPACE"), service=record["service_name"]
    )
    metrics.add_dimension(name="stage", value=setting("STAGE"))
    metrics.add_metric(name=_NAME_OF_STATUS[record["status"]], unit=MetricUnit.Count, value=1)
    if "service_invoked_at_ms" in record:
        latency_ms = invocation_latency_ms(record)
        duration_ms = record["finished_at_ms"] - record["service_invoked_at_ms"]
        metrics.add_metric(name="InvocationLatency", unit=MetricUnit.Milliseconds, value=latency_ms)
        metrics.add_metric(name="Duration", unit=MetricUnit.Milliseconds, value=duration_ms)
    metrics.flush_metrics()
