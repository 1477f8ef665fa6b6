"""PUT /services/{service_name}/jobs/{job_name}: creates or replaces a job, through the update-job machine."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.aws import synchronous_step_functions
from jobmanager.errors import AwsCallFailed, BadRequest, Contended, ScheduleLimitReached
from jobmanager.http import answer, api_handler, caller_arn, json_body, path_parameter
from jobmanager.job import MOST_PAYLOAD_BYTES
from jobmanager.settings import setting
from jobmanager.steps import step

_MOST_BYTES = 230 * 1024


def put_job(service_name: str, job_name: str, body: Any, updated_by: str) -> dict[str, Any]:
    """Answers ``{job, created}``; raises BadRequest with a ``pointer`` and ``detail`` for each error.

    Raises ScheduleLimitReached, with the ``nearest_schedules``, if there may be no more schedules.
    """
    change = {"service_name": service_name, "job_name": job_name, "job": body, "updated_by": updated_by}
    text = json.dumps(change, ensure_ascii=False)
    _check_size(body, len(text.encode("utf-8")))
    result = synchronous_step_functions().start_sync_execution(
        stateMachineArn=setting("UPDATE_JOB_STATE_MACHINE_ARN"), input=text
    )
    if result.get("error") == "Contended":
        raise Contended(f"{service_name}/{job_name} is being changed by others.")
    if result["status"] != "SUCCEEDED":
        raise AwsCallFailed(
            f"update-job ended as {result['status']}: {result.get('error')}: {result.get('cause')}"
        )
    output: dict[str, Any] = json.loads(result["output"])
    if errors := output.get("errors"):
        raise BadRequest(f"{len(errors)} of the job's fields are not as expected", errors=errors)
    if conflict := output.get("conflict"):
        raise ScheduleLimitReached(**conflict)
    return output


def _check_size(body: Any, size: int) -> None:
    """What passes between states is limited, so what is far too large is refused before it gets there.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """
    if size <= _MOST_BYTES:
        return
    payload = body.get("payload") if isinstance(body, dict) else None
    is_payload = isinstance(payload, str) and len(payload) > MOST_PAYLOAD_BYTES
    pointer, most = ("/payload", MOST_PAYLOAD_BYTES) if is_payload else ("", _MOST_BYTES)
    detail = f"expected at most {most} bytes"
    raise BadRequest("The job is too large", errors=[{"pointer": pointer, "detail": detail}])


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 201 if the job was created, 200 if it was there; both with the job."""
    result = put_job(
        path_parameter(event, "service_name"),
        path_parameter(event, "job_name"),
        json_body(event),
        caller_arn(event),
    )
    return answer(201 if result["created"] else 200, result["job"])
