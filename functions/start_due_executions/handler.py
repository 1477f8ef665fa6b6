"""Starts one execution for each job on the schedule of a tick. The trigger of the schedule invokes it."""

import json

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.aws.clients import lambdas
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from jobmanager.runtime.step import step


@step
def handler(event: Tick, context: LambdaContext) -> dict[str, int]:
    """Takes a tick from a trigger or from reconcile_schedules, or a part of one from itself."""

    def hand_over(rest: Tick) -> None:
        lambdas().invoke(
            FunctionName=context.function_name, InvocationType="Event", Payload=json.dumps(rest).encode()
        )

    return {"started": start_due_executions(event, context.get_remaining_time_in_millis, hand_over)}
