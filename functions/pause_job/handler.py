"""POST …/jobs/{job_name}/pause: keeps a job from firing, with a reason, for good or until a time."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, reason, refuse_unknown, time_ms
from jobmanager.api.http import answer, api_handler, caller_arn, json_body, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import job_view
from jobmanager.runtime.step import step
from jobmanager.schedules.rules import put_rule, settle_rule


def pause_job(
    service_name: str, job_name: str, pausing: dict[str, Any], updated_by: str, at_ms: int
) -> jobs.Job:
    """Pauses a job and settles its rule; repeatable. Raises NotFound.

    A job that was paused for good and now is until a time enters its rule again, so that is put first.
    """
    if "until" in pausing:
        job = jobs.read(service_name, job_name)
        if job["enabled"]:
            put_rule(job["schedule"])
    job = jobs.pause(service_name, job_name, pausing, updated_by, at_ms)
    for schedule in {job["schedule"], *job["left_schedules"]}:
        settle_rule(schedule)
    return job


def pausing_of(body: Any, at_ms: int) -> dict[str, Any]:
    """``{reason}``, and ``until`` in ms since 1970; raises BadRequest."""
    refuse_unknown(body, ("reason", "until"))
    pausing = {"reason": reason(body.get("reason"))}
    if body.get("until") is None:
        return pausing
    until = time_ms("until", body["until"])
    if until <= at_ms:
        raise bad_field("until", "expected a time to come")
    return {**pausing, "until": until}


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with the job and its ETag; else 400 or 404."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    at_ms = now_ms()
    pausing = pausing_of(json_body(event), at_ms)
    job = pause_job(service_name, job_name, pausing, caller_arn(event), at_ms)
    return answer(200, job_view(job), etag(job))
