"""GET /services/{service_name}/webhook-secrets: lists the secrets that sign a service's webhooks."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the valid secrets, newest first, without the secret values; else 400."""
    valid = webhook_secrets.valid(path_parameter(event, "service_name"), now_ms())
    return answer(200, {"results": [webhook_secrets.view(each) for each in valid], "paging": {}})
