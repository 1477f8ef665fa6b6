"""POST …/jobs/{job_name}/backfill: starts a job for times in the past that it missed, or for all times."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, header, json_body, path_parameter
from jobmanager.aws.invocations import invoke_later
from jobmanager.core.clock import now_ms
from jobmanager.core.settings import setting
from jobmanager.executions.backfill import backfill, request_of
from jobmanager.executions.backfill_starts import BackfillTick
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 202 with the times that are started, or 200 with those of a dry run; else 400 or 404."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    at_ms = now_ms()
    request = request_of(json_body(event), header(event, "idempotency-key"), at_ms)

    def hand_over(tick: BackfillTick) -> None:
        invoke_later(setting("START_DUE_EXECUTIONS_ARN"), tick)

    found = backfill(service_name, job_name, request, caller_arn(event), at_ms, hand_over)
    return answer(200 if request.dry_run else 202, found)
