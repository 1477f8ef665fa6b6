"""POST /callback/{callback_token}: receives a heartbeat or the result of an attempt from a service."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, json_body, path_parameter
from jobmanager.callbacks.receive import apply_callback, authenticate, callback_view, checked
from jobmanager.core.clock import now_ms
from jobmanager.core.mappings import picked
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step
from jobmanager.runtime.tracing import annotate


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with status, progress and lock_expires_at; else 400, 403, 410 or 415."""
    record, attempt = authenticate(path_parameter(event, "callback_token"))
    about = picked(record, ("service_name", "job_name", "execution_id"))
    logger.append_keys(attempt=attempt, **about)
    annotate(about)
    body = checked(json_body(event), record)
    return answer(200, callback_view(apply_callback(record, attempt, body, now_ms())))
