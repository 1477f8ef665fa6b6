"""Starts the executions of spread jobs whose time has come. Lambda reads them from the stage's queue."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.executions.delayed_starts import start_delayed
from jobmanager.executions.start_jobs import Budget
from jobmanager.runtime.step import step

_TIME_FOR_A_MESSAGE_MS = 20_000


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """Returns the messages that failed, so that Lambda leaves only those in the queue.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    budget = Budget(context.get_remaining_time_in_millis, _TIME_FOR_A_MESSAGE_MS)
    failed = start_delayed(event["Records"], budget)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
