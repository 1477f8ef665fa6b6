"""What the path of a page names."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,64}")
_EXECUTION_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


def is_name(text: str) -> bool:
    """Whether this can be the name of a service or a job."""
    return bool(_NAME.fullmatch(text))


def is_execution_id(text: str) -> bool:
    """Whether this can be an execution_id."""
    return bool(_EXECUTION_ID.fullmatch(text))


def job_of(request: Request) -> tuple[str, str]:
    """The names of the service and of the job. Raises 404 for what cannot be a name."""
    names = (request.path_params["service"], request.path_params["job"])
    if not all(map(is_name, names)):
        raise HTTPException(404)
    return names


def execution_of(request: Request) -> tuple[str, str, str]:
    """The names of the service and of the job, and the execution_id. Raises 404 for what cannot be one."""
    service_name, job_name = job_of(request)
    execution_id = request.path_params["execution"]
    if not is_execution_id(execution_id):
        raise HTTPException(404)
    return service_name, job_name, execution_id
