"""Metrics in the Embedded Metric Format: log lines that CloudWatch turns into metrics, without an API call.

A metric name under each of its dimension sets is billed as a metric of its own, for each hour in which it has
a value. A log line holds at most 100 metrics, and a dimension set at most 30 dimensions.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
from collections.abc import Iterable
from typing import Literal, NamedTuple

from jobmanager.core.clock import now_ms
from jobmanager.core.settings import setting

type Unit = Literal["Count", "Milliseconds", "Percent"]


class Metric(NamedTuple):
    """One value, reported under each of these sets of dimensions."""

    name: str
    unit: Unit
    value: float
    dimension_sets: tuple[tuple[str, ...], ...]


def emit(metrics: Iterable[Metric], **dimensions: str) -> None:
    """Writes the metrics as one log line; without metrics writes nothing.

    A metric without dimension sets is left out, because the stage does not want it.

    ``dimensions`` gives the value of each dimension that they name, except ``stage``, which is added here.
    """
    by_sets: dict[tuple[tuple[str, ...], ...], list[Metric]] = {}
    for metric in (each for each in metrics if each.dimension_sets):
        by_sets.setdefault(metric.dimension_sets, []).append(metric)
    if not by_sets:
        return
    namespace = setting("POWERTOOLS_METRICS_NAMESPACE")
    directives = [
        {
            "Namespace": namespace,
            "Dimensions": sets,
            "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in group],
        }
        for sets, group in by_sets.items()
    ]
    line = {
        "_aws": {"Timestamp": now_ms(), "CloudWatchMetrics": directives},
        "stage": setting("STAGE"),
        **dimensions,
        **{metric.name: [metric.value] for group in by_sets.values() for metric in group},
    }
    # One write for the whole line: threads emit metrics too, and print would write the line's end apart.
    sys.stdout.write(f"{json.dumps(line, separators=(',', ':'))}\n")
