"""Starts spread jobs, and executions that wait under a limit, when their time has come. Reads from SQS."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.executions.delayed_starts import start_delayed
from jobmanager.executions.start_jobs import Budget
from jobmanager.runtime.step import step

_TIME_FOR_A_ROUND_MS = 20_000


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Takes messages from SQS, and returns how many executions it started. If it raises, SQS keeps them.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    budget = Budget(context.get_remaining_time_in_millis, _TIME_FOR_A_ROUND_MS)
    return {"started": start_delayed([record["body"] for record in event["Records"]], budget)}
