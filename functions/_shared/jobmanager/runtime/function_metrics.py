"""What AWS/Lambda does not measure of a function: cold starts, and how near it is to its memory.

Durations, errors, throttles and concurrency are in AWS/Lambda, at no cost. A line is written for a first
invocation, and when the peak rose by a percent or more: the peak of a process only rises, so the same value
again would say nothing and cost its bytes with every invocation.
"""

import resource

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.settings import setting
from jobmanager.runtime.emf import Metric, emit

_BY_FUNCTION = (("stage", "function"),)
_SMALLEST_RISE = 1.0


class Environment:
    """What one environment of a function has told of itself: it serves one invocation after the other."""

    def __init__(self) -> None:
        self._was_invoked = False
        self._peak = 0.0

    @property
    def is_cold(self) -> bool:
        """Whether this is the first invocation here."""
        return not self._was_invoked

    def tell(self, context: LambdaContext) -> None:
        """At the end of an invocation: ColdStarts 1 if it was the first, and MemoryUsed if its peak rose."""
        metrics = []
        if self.is_cold:
            metrics.append(Metric("ColdStarts", "Count", 1, _BY_FUNCTION))
            self._was_invoked = True
        used = _memory_used(context)
        if used >= self._peak + _SMALLEST_RISE:
            metrics.append(Metric("MemoryUsed", "Percent", used, (("stage",), *_BY_FUNCTION)))
            self._peak = used
        emit(metrics, function=setting("POWERTOOLS_SERVICE_NAME"))


def _memory_used(context: LambdaContext) -> float:
    """The process's peak in percent of what the function has; Linux tells it in KiB, see getrusage(2)."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return round(peak_mb / int(context.memory_limit_in_mb) * 100, 1)
