"""POST …/executions/{execution_id}/rerun: runs a job again with its original payload."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import refuse_unknown
from jobmanager.api.http import answer, api_handler, caller_arn, header, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.executions.by_hand import rerun
from jobmanager.executions.view import whole_view
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 with the new execution; else 400, 404 or 409."""
    refuse_unknown(optional_json_body(event), ())
    record = rerun(
        path_parameter(event, "service_name"),
        path_parameter(event, "job_name"),
        path_parameter(event, "execution_id"),
        caller_arn(event),
        header(event, "idempotency-key"),
        now_ms(),
    )
    return answer(201, whole_view(record))
