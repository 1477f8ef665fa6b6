"""Starts one execution for each job on the schedule of a tick. The trigger of the schedule invokes it.

Also starts the executions of a backfill, which backfill_job hands over.
"""

from typing import cast

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.aws.invocations import invoke_later
from jobmanager.executions.backfill_starts import BackfillTick, start_backfill
from jobmanager.executions.start_jobs import Budget
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from jobmanager.runtime.step import step

_TIME_TO_END_MS = 20_000


@step
def handler(event: Tick | BackfillTick, context: LambdaContext) -> dict[str, int]:
    """Takes a tick from a trigger or from reconcile_schedules, a part of one from itself, or a backfill."""
    if "backfill" in event:
        budget = Budget(context.get_remaining_time_in_millis, _TIME_TO_END_MS)
        return {"started": start_backfill(cast(BackfillTick, event), budget)}

    def hand_over(rest: Tick) -> None:
        invoke_later(context.function_name, rest)

    return {"started": start_due_executions(event, context.get_remaining_time_in_millis, hand_over)}
