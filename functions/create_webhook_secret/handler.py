"""POST /services/{service_name}/webhook-secrets: creates a secret that signs webhooks, and shows it once."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.http import answer, api_handler, caller_arn, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


def overlap_of(body: dict[str, Any]) -> int:
    """Returns for how many seconds the earlier secrets stay valid; raises BadRequest."""
    refuse_unknown(body, ("overlap_seconds",))
    overlap = body.get("overlap_seconds", webhook_secrets.DEFAULT_OVERLAP_SECONDS)
    longest = webhook_secrets.MAX_OVERLAP_SECONDS
    if not isinstance(overlap, int) or isinstance(overlap, bool) or not 0 <= overlap <= longest:
        raise bad_field("overlap_seconds", f"expected a whole number from 0 to {longest}")
    return overlap


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 with the secret; else 400 or 409."""
    service_name = path_parameter(event, "service_name")
    overlap_seconds = overlap_of(optional_json_body(event))
    secret, created, others = webhook_secrets.create(
        service_name, overlap_seconds, caller_arn(event), now_ms()
    )
    logger.info("webhook secret created", extra={"secret_id": created["secret_id"]})
    body = {
        "service_name": service_name,
        "secret": secret,
        **webhook_secrets.view(created),
        "others": [webhook_secrets.view(each) for each in others],
    }
    return answer(201, body, {"cache-control": "no-store"})
