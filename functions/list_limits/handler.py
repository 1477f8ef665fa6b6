"""GET /services/{service_name}/limits: lists the limits of a service."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.api.search import search_query
from jobmanager.core.clock import now_ms
from jobmanager.limits.listing import list_limits
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with a page of limits, or 400."""
    return answer(200, list_limits(search_query(event), now_ms()))
