#!/usr/bin/env python3
"""Puts or deletes one job that is defined as code. `terraform apply` runs this script.

    python3 manage_job.py put|delete SERVICE_NAME/JOB_NAME

The environment variable MANAGED_BY says where the job is defined. For put, JOB is the job's JSON, gzipped, in
base64. Credentials and endpoint also come from the environment. Other variables say how to reach the stage:

- For the stage's own Terraform (jobs_as_code.tf), MANAGE_JOB_FUNCTION and MANAGE_JOB_REGION name the function
  manage_job. The credentials must allow lambda:InvokeFunction on it. The script needs boto3.
- For a service's Terraform (modules/jobs), MANAGE_JOB_STAGE and MANAGE_JOB_NAME name the stage, and
  MANAGE_JOB_REGION its region, if it is not the environment's. The script calls the API by the Python client
  of this project. It needs Python 3.11 and botocore. modules/jobs/README.md lists the permissions.

If this Python does not have what the script needs, the script runs in the project's virtual environment.
"""

import base64
import gzip
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parent.parent
_PROJECT_PYTHON = _PROJECT / ".venv" / "bin" / "python"
_CLIENT = _PROJECT / "sjm" / "src"
# New roles take a while to be known everywhere, other jobs are put at the same time, and Lambda reconnects a
# function that was idle for weeks to its VPC within a minute or two.
_PAUSES_SECONDS = (1, 2, 4, 8, 16, 32, 64)
_BUSY = 503
# What the API sees of a topic that the role test_target may not read (jobmanager/delivery/trial.py). The same
# apply may have added the topic to the role's policy. If not, more pauses change nothing, so they are fewer.
_NOT_ALLOWED_YET = "this stage may not publish to it: have the topic added to notification_topic_arns"
_PAUSES_FOR_POLICIES = 5
# What the API says of a job that is to run after another one (jobmanager/jobs/chains.py). Terraform puts jobs
# in any order, so the same apply may put the other one a moment later.
_NO_PARENT_YET = re.compile(r"expected a job of \S+, but there is no \S+: PUT it first")
_PAUSES_FOR_PARENTS = 6


def through_function(change: dict[str, Any]) -> str | None:
    """Makes a change with the function manage_job; returns an error message, or None. Raises ImportError."""
    import boto3

    region, function = os.environ["MANAGE_JOB_REGION"], os.environ["MANAGE_JOB_FUNCTION"]
    caller = boto3.client("sts", region_name=region).get_caller_identity()["Arn"]
    client = boto3.client("lambda", region_name=region)
    return manage(
        lambda **request: client.invoke(FunctionName=function, **request), {**change, "updated_by": caller}
    )


def through_api(change: dict[str, Any]) -> str | None:
    """Makes a change with the API of the stage; returns an error message, or None. Raises ImportError.

    A job that does not exist, or is defined elsewhere by now, is not deleted. That is no error.
    """
    sys.path.insert(0, str(_CLIENT))
    # The client itself imports botocore only for its first request.
    import botocore.session  # noqa: F401

    from sjm.client import Conflict, Manager, ManagerError, NotFound, Problem, Retries

    service_name, job_name, managed_by = (change[key] for key in ("service_name", "job_name", "managed_by"))
    job = f"{service_name}/{job_name}"
    stage, name = os.environ["MANAGE_JOB_STAGE"], os.environ["MANAGE_JOB_NAME"]
    retries = Retries(len(_PAUSES_SECONDS) + 1, _PAUSES_SECONDS[0], _PAUSES_SECONDS[-1])
    with Manager(stage, name=name, region=os.environ.get("MANAGE_JOB_REGION"), retries=retries) as manager:
        try:
            if change["action"] == "put":
                put = partial(manager.put_job, service_name, job_name, change["job"], managed_by=managed_by)
                _print_warnings(job, _put_after_parents(put))
            else:
                manager.delete_job(service_name, job_name, managed_by=managed_by)
        except Problem as problem:
            if change["action"] == "put" or not isinstance(problem, (NotFound, Conflict)):
                return refusal(job, problem.document)
            print(f"{job}: not deleted: {problem.detail}")
        except ManagerError as error:
            return f"{job}: {error}"
    return None


def _put_after_parents(put: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Puts a job, with retries while a job after which it runs does not exist."""
    from sjm.client import BadRequest

    for pause in _PAUSES_SECONDS[:_PAUSES_FOR_PARENTS]:
        try:
            return put()
        except BadRequest as problem:
            if not _lacks_only_parents(problem.document):
                raise
        time.sleep(pause)
    return put()


def manage(invoke: Any, change: dict[str, Any]) -> str | None:
    """Invokes the function to make the change, with retries; returns an error message, or None.

    Prints what the API would return as ``warnings``. ``invoke`` is the Lambda client's invoke for that
    function. Repeating a change is safe.
    """
    failed, result = _invoked(invoke, change)
    for number, pause in enumerate(_PAUSES_SECONDS):
        if not failed and not _may_pass(result.get("problem", {}), number):
            break
        time.sleep(pause)
        failed, result = _invoked(invoke, change)
    job = f"{change['service_name']}/{change['job_name']}"
    if failed:
        return (
            f"{job}: the function manage_job failed: {result.get('errorType')}: {result.get('errorMessage')}."
            " Run terraform apply again; repeating it is safe."
        )
    _print_warnings(job, result)
    return refusal(job, result["problem"]) if "problem" in result else None


def _may_pass(problem: dict[str, Any], pauses: int) -> bool:
    """Whether the change may succeed after one more pause."""
    if problem.get("seen", {}).get("error") == _NOT_ALLOWED_YET:
        return pauses < _PAUSES_FOR_POLICIES
    if _lacks_only_parents(problem):
        return pauses < _PAUSES_FOR_PARENTS
    return problem.get("status") == _BUSY


def _lacks_only_parents(problem: Mapping[str, Any]) -> bool:
    """Whether nothing is wrong with a job but that a job after which it runs does not exist yet."""
    errors = problem.get("errors", [])
    return bool(errors) and all(_NO_PARENT_YET.fullmatch(error["detail"]) for error in errors)


def _invoked(invoke: Any, change: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether the function failed, and its answer."""
    answer = invoke(Payload=json.dumps(change).encode())
    return "FunctionError" in answer, json.load(answer["Payload"])


def _print_warnings(job: str, result: Mapping[str, Any]) -> None:
    for warning in result.get("warnings", []):
        print(f"{job}: warning: {warning['detail']}")


def refusal(job: str, problem: Mapping[str, Any]) -> str:
    """The message of a refusal: its detail in the API's words, and ``pointer: detail`` for each field."""
    fields = [f"  {error['pointer'] or '/'}: {error['detail']}" for error in problem.get("errors", [])]
    more = [f"  and {problem['more_errors']} more"] if "more_errors" in problem else []
    seen = [f"  seen: {json.dumps(problem['seen'])}"] if "seen" in problem else []
    near = [f"  nearest schedule: {schedule}" for schedule in problem.get("nearest_schedules", [])]
    return "\n".join([f"{job}: {problem['status']} {problem['detail']}", *fields, *more, *seen, *near])


def main(arguments: list[str]) -> str | None:
    """Returns an error message, or None."""
    if len(arguments) != 2 or arguments[0] not in ("put", "delete") or "/" not in arguments[1]:
        return "usage: manage_job.py put|delete SERVICE_NAME/JOB_NAME, for example: put billing/nightly"
    action, key = arguments
    service_name, _, job_name = key.partition("/")
    change = {
        "action": action,
        "service_name": service_name,
        "job_name": job_name,
        "managed_by": os.environ["MANAGED_BY"],
    }
    if action == "put":
        change["job"] = json.loads(gzip.decompress(base64.b64decode(os.environ["JOB"])))
    is_of_stage = "MANAGE_JOB_FUNCTION" in os.environ
    try:
        return through_function(change) if is_of_stage else through_api(change)
    except ImportError as error:
        if _PROJECT_PYTHON.exists() and Path(sys.executable) != _PROJECT_PYTHON:
            os.execv(_PROJECT_PYTHON, [str(_PROJECT_PYTHON), __file__, *arguments])
        if is_of_stage:
            return (
                f"cannot {action} {key}, because {sys.executable} has no boto3. "
                "Activate the project's virtual environment and run terraform apply again."
            )
        return (
            f"cannot {action} {key} with {sys.executable}: {error}. Let python3 be Python 3.11 or later with"
            " botocore (pip install botocore), and run terraform apply again."
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
