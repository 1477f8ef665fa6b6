"""DELETE /services/{service_name}/webhook-secrets/{secret_id}: deletes a secret that signs webhooks."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.http import answer, api_handler, path_parameter, query_parameters
from jobmanager.core.clock import now_ms
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


def is_forced(query: dict[str, str]) -> bool:
    """Whether the request deletes the secret although no lasting one would be left; raises BadRequest."""
    refuse_unknown(query, ("force",))
    force = query.get("force", "false")
    if force not in ("true", "false"):
        raise bad_field("force", "expected true or false")
    return force == "true"


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 204; else 400, 404 if there is no such valid secret, or 409 if it is the last lasting one."""
    secret_id = path_parameter(event, "secret_id")
    forced = is_forced(query_parameters(event))
    webhook_secrets.delete(path_parameter(event, "service_name"), secret_id, now_ms(), forced)
    logger.info("webhook secret deleted", extra={"secret_id": secret_id})
    return answer(204)
