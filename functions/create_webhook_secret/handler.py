"""POST /services/{service_name}/webhook-secrets: makes a secret to sign webhooks with, and shows it once."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.http import answer, api_handler, caller_arn, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


def overlap_of(body: dict[str, Any]) -> int:
    """For how many seconds the secrets before stay valid; raises BadRequest."""
    refuse_unknown(body, ("overlap_seconds",))
    overlap = body.get("overlap_seconds", webhook_secrets.DEFAULT_OVERLAP_SECONDS)
    most = webhook_secrets.MOST_OVERLAP_SECONDS
    if not isinstance(overlap, int) or isinstance(overlap, bool) or not 0 <= overlap <= most:
        raise bad_field("overlap_seconds", f"expected a whole number from 0 to {most}")
    return overlap


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 201 with the secret; else 400 or 409."""
    service_name = path_parameter(event, "service_name")
    overlap_seconds = overlap_of(optional_json_body(event))
    secret, made, others = webhook_secrets.create(service_name, overlap_seconds, caller_arn(event), now_ms())
    logger.info("webhook secret created", extra={"secret_id": made["secret_id"]})
    body = {
        "service_name": service_name,
        "secret": secret,
        **webhook_secrets.view(made),
        "others": [webhook_secrets.view(each) for each in others],
    }
    return answer(201, body, {"cache-control": "no-store"})
