"""GET /services/{service_name}/limits/{limit_name}: one limit, with the executions that hold its slots."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.limits import store as limits
from jobmanager.limits.view import limit_view
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the limit and its ETag, or 404."""
    limit = limits.read(path_parameter(event, "service_name"), path_parameter(event, "limit_name"))
    return answer(200, limit_view(limit, now_ms()), etag(limit))
