"""PUT /services/{service_name}/limits/{limit_name}: creates or replaces a limit that several jobs share."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, json_body, path_parameter
from jobmanager.api.preconditions import etag, expected_of
from jobmanager.core.clock import now_ms
from jobmanager.limits.changes import save
from jobmanager.limits.validation import limit_definition
from jobmanager.limits.view import limit_view
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 if the limit was created, 200 if it existed, with the limit and its ETag.

    Else 400, 409, 412 or 503.
    """
    names = path_parameter(event, "service_name"), path_parameter(event, "limit_name")
    defined = limit_definition(*names, json_body(event))
    at_ms = now_ms()
    limit, created = save(*names, defined, caller_arn(event), at_ms, expected_of(event))
    return answer(201 if created else 200, limit_view(limit, at_ms), etag(limit))
