"""Ends an execution after its task failed: records its outcome, frees its lock, publishes its event.

Safe to repeat.

If only an attempt has ended, and another follows, it only records how the attempt ended.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.settle import FinishInput, finish_and_continue
from jobmanager.runtime.step import step


@step
def handler(event: FinishInput, context: LambdaContext) -> dict[str, Any]:
    """Takes the input, and returns the output, of :func:`finish_and_continue`."""
    return finish_and_continue(event, now_ms())
