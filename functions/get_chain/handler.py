"""GET …/jobs/{job_name}/executions/{execution_id}/chain: the executions before and after one."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.executions import store
from jobmanager.executions.chain import chain_of
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the chain of the execution, or 404."""
    names = (path_parameter(event, name) for name in ("service_name", "job_name", "execution_id"))
    return answer(200, chain_of(store.read(*names)))
