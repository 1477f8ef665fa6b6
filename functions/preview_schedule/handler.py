"""GET /schedules/preview: when a schedule would fire, without saving anything."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, query_parameters
from jobmanager.core.clock import now_ms
from jobmanager.runtime.step import step
from jobmanager.schedules.preview import preview_schedule


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200, or 400."""
    return answer(200, preview_schedule(query_parameters(event), now_ms()))
