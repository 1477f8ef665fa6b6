"""POST …/executions/{execution_id}/cancel: ends a running execution."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.executions import store
from jobmanager.executions.cancel import cancel, cause_of
from jobmanager.executions.view import whole_view
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the execution; else 400, 404 or 409."""
    names = (path_parameter(event, name) for name in ("service_name", "job_name", "execution_id"))
    cause = cause_of(optional_json_body(event), caller_arn(event))
    return answer(200, whole_view(cancel(store.read(*names), cause, now_ms())))
