"""GET /jobs, GET /services/{service_name}/jobs, POST /jobs: lists or searches jobs."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.api.search import search_query
from jobmanager.core.clock import now_ms
from jobmanager.jobs.listing import MULTI_VALUED, REPEATED, list_jobs
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with a page of jobs, or 400."""
    return answer(200, list_jobs(search_query(event, MULTI_VALUED, REPEATED), now_ms()))
