"""DELETE /services/{service_name}/limits/{limit_name}: deletes a limit that no job names."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.api.preconditions import expected_of
from jobmanager.jobs.limit_deletion import delete_limit
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 204; else 400, 404, 409 if jobs name the limit, 412 or 503."""
    names = path_parameter(event, "service_name"), path_parameter(event, "limit_name")
    delete_limit(*names, expected_of(event))
    return answer(204)
