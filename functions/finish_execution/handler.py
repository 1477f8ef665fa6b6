"""Ends an execution: settles its record, frees its lock, keeps it on its job, publishes its event.

If only an attempt has ended, and another follows, it does none of this. Safe to repeat.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.settle import Finishing, finish, for_the_state_machine
from jobmanager.runtime.step import step


@step
def handler(event: Finishing, context: LambdaContext) -> dict[str, Any]:
    """Takes what :func:`finish` takes; returns what :func:`for_the_state_machine` makes of it."""
    return for_the_state_machine(finish(event, now_ms()))
