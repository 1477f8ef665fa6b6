"""Metrics of the stage as a whole. For those of executions see jobmanager.executions.metrics."""

from typing import Literal

from jobmanager.runtime.emf import Metric, emit

type StageMetric = Literal["Reaped", "Reconciled", "MissedTicks"]

STAGE_DIMENSIONS = (("stage",),)


def count(name: StageMetric, value: int = 1) -> None:
    """Adds to one of the stage's counters."""
    emit([Metric(name, "Count", value, STAGE_DIMENSIONS)])
