"""The names of services, jobs and executions, and the identifiers that are made of them."""

import re
from uuid import NAMESPACE_URL, uuid5

from jobmanager.core.clock import stamp
from jobmanager.core.errors import FieldError

NAME_EXPECTED = "expected 1 to 64 characters of A-Z a-z 0-9 _ . -"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_EXECUTION_ID = re.compile(rf"({_GUID})-(\d{{8}}T\d{{6}}Z)(-[A-Za-z0-9]{{1,24}})?")


def is_name(text: str) -> bool:
    """Whether a service or a job could have this name."""
    return bool(_NAME.fullmatch(text))


def is_guid(text: str) -> bool:
    """Whether a job could have this guid."""
    return bool(re.fullmatch(_GUID, text))


def service_name_errors(service_name: str) -> list[FieldError]:
    """What is wrong with the name of a service.

    It neither holds ``--`` nor ends in ``-``: so no two jobs have the same guid.
    """
    if not is_name(service_name):
        return [FieldError(pointer="/service_name", detail=NAME_EXPECTED)]
    if "--" in service_name or service_name.endswith("-"):
        return [FieldError(pointer="/service_name", detail="expected no -- in it and no - at its end")]
    return []


def name_errors(service_name: str, job_name: str) -> list[FieldError]:
    """What is wrong with the names in a job's path."""
    errors = service_name_errors(service_name)
    if not is_name(job_name):
        errors.append(FieldError(pointer="/job_name", detail=NAME_EXPECTED))
    return errors


def job_key(service_name: str, job_name: str) -> str:
    """``billing/nightly``."""
    return f"{service_name}/{job_name}"


def split_job_key(key: str) -> tuple[str, str]:
    """``("billing", "nightly")``: names have no slash."""
    service_name, _, job_name = key.partition("/")
    return service_name, job_name


def job_guid(service_name: str, job_name: str) -> str:
    """A UUIDv5 in the URL namespace: the same names give the same guid, everywhere and always."""
    return str(uuid5(NAMESPACE_URL, f"{service_name}--{job_name}"))


def execution_id(guid: str, scheduled_time_ms: int, suffix: str = "") -> str:
    """``<guid>-<yyyymmddThhmmssZ>``, plus a suffix for a run by hand.

    It sorts by time, names its own partition, and is a Step Functions execution name, of which one
    state machine accepts each only once in 90 days (80 characters at most):
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    """
    return "-".join(filter(None, (guid, stamp(scheduled_time_ms), suffix)))


def guid_of_execution(identifier: str) -> str | None:
    """The guid with which an execution_id begins; None if it is not an execution_id."""
    match = _EXECUTION_ID.fullmatch(identifier)
    return match[1] if match else None


def time_key(identifier: str) -> str:
    """The execution_id with its time first: what sorts the executions of many jobs by time."""
    return f"{identifier[37:53]}#{identifier}"
