"""GET /schedules: the unique schedules of the stage's active jobs, so that you can pick an existing one."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.api.search import search_query
from jobmanager.core.clock import now_ms
from jobmanager.runtime.step import step
from jobmanager.schedules.listing import list_schedules


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with a page of schedules, or 400."""
    return answer(200, list_schedules(search_query(event), now_ms()))
