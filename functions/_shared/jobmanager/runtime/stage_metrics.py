"""Metrics of the stage's own work, of no service; for executions see jobmanager.executions.metrics."""

from typing import Literal

from jobmanager.runtime.emf import Metric, emit

type StageMetric = Literal["Reaped", "Reconciled", "MissedTicks"]

OF_THE_STAGE = (("stage",),)


def count(name: StageMetric, value: int = 1) -> None:
    """Counts something of the stage's own work."""
    emit([Metric(name, "Count", value, OF_THE_STAGE)])
