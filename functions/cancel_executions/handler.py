"""POST /executions/cancel, and of a service: ends many executions that run."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn
from jobmanager.api.search import search_query
from jobmanager.core.clock import now_ms
from jobmanager.core.mappings import picked
from jobmanager.executions.bulk import cancel_many
from jobmanager.executions.cancel import cause_of
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with what was done to each execution, or 400."""
    query = search_query(event)
    cause = cause_of(picked(query, ("reason",)), caller_arn(event))
    rest = {name: value for name, value in query.items() if name != "reason"}
    return answer(200, cancel_many(rest, cause, now_ms(), context.get_remaining_time_in_millis))
