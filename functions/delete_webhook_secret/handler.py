"""DELETE /services/{service_name}/webhook-secrets/{secret_id}: deletes a secret that signs webhooks."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 204; else 400, or 404 if there is no such valid secret."""
    secret_id = path_parameter(event, "secret_id")
    webhook_secrets.delete(path_parameter(event, "service_name"), secret_id, now_ms())
    logger.info("webhook secret deleted", extra={"secret_id": secret_id})
    return answer(204)
