"""POST /executions/rerun, and of a service: runs jobs again with the payloads of many executions."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, header
from jobmanager.api.search import search_query
from jobmanager.core.clock import now_ms
from jobmanager.executions.bulk import rerun_many
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with what was done to each execution, or 400."""
    key, remaining_ms = header(event, "idempotency-key"), context.get_remaining_time_in_millis
    return answer(200, rerun_many(search_query(event), caller_arn(event), key, now_ms(), remaining_ms))
