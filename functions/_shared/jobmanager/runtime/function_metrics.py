"""The metrics that AWS/Lambda lacks for a function: cold starts, and how much of its memory it uses.

Durations, errors, throttles and concurrency are in AWS/Lambda, at no cost. Lambda's REPORT lines have cold
starts and memory, too. So these metrics are written only with METRICS_BY_FUNCTION, except one: MemoryUsed of
the stage, from MEMORY_ALARM_PCT on, for the alarm. A metric costs only in hours in which it has a value.

A log line costs its bytes, so one is written only for a first invocation, and when the peak of memory has
risen by one percent or more. The peak of a process never falls.
"""

import resource

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.settings import is_on, number_setting, setting
from jobmanager.runtime.emf import Metric, emit
from jobmanager.runtime.stage_metrics import STAGE_DIMENSIONS

_SMALLEST_RISE = 1.0


class Environment:
    """An execution environment of a function, which serves one invocation at a time."""

    def __init__(self) -> None:
        self._was_invoked = False
        self._peak = 0.0

    @property
    def is_cold(self) -> bool:
        """Whether the current invocation is the first of this environment."""
        return not self._was_invoked

    def emit_metrics(self, context: LambdaContext) -> None:
        """Call this at the end of an invocation.

        Emits ColdStarts if it was the first, and MemoryUsed if the peak of memory rose.
        """
        by_function = (("stage", "function"),) if is_on("METRICS_BY_FUNCTION") else ()
        metrics = []
        if self.is_cold:
            metrics.append(Metric("ColdStarts", "Count", 1, by_function))
            self._was_invoked = True
        used = _memory_used(context)
        if used >= self._peak + _SMALLEST_RISE:
            of_stage = STAGE_DIMENSIONS if used >= number_setting("MEMORY_ALARM_PCT") else ()
            metrics.append(Metric("MemoryUsed", "Percent", used, of_stage + by_function))
            self._peak = used
        emit(metrics, function=setting("POWERTOOLS_SERVICE_NAME"))


def _memory_used(context: LambdaContext) -> float:
    """The peak of the process in percent of the function's memory. Linux reports KiB, see getrusage(2)."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return round(peak_mb / int(context.memory_limit_in_mb) * 100, 1)
