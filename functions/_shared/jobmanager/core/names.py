"""The names of services, jobs and limits, and the identifiers built from them."""

import re
from uuid import NAMESPACE_URL, uuid5

from jobmanager.core.clock import stamp
from jobmanager.core.errors import FieldError

NAME_EXPECTED = "expected 1 to 64 characters of A-Z a-z 0-9 _ . -, and neither . nor .. alone"
# Clients remove the segments . and .. from a path before they send it, so no path could name such a job:
# https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,64}")
_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_EXECUTION_ID = re.compile(rf"({_GUID})-(\d{{8}}T\d{{6}}Z)(-[A-Za-z0-9]{{1,24}})?")


def is_name(text: str) -> bool:
    """Whether this is a valid name for a service, a job or a limit."""
    return bool(_NAME.fullmatch(text))


def is_guid(text: str) -> bool:
    """Whether this is a well-formed guid of a job."""
    return bool(re.fullmatch(_GUID, text))


def service_name_errors(service_name: str) -> list[FieldError]:
    """Returns the errors in the name of a service.

    A guid is made of ``service--job``. A service name must not contain ``--`` or end with ``-``, so that no
    two jobs have the same guid.
    """
    if not is_name(service_name):
        return [FieldError(pointer="/service_name", detail=NAME_EXPECTED)]
    if "--" in service_name or service_name.endswith("-"):
        return [FieldError(pointer="/service_name", detail="expected no -- in it and no - at its end")]
    return []


def name_errors(service_name: str, job_name: str) -> list[FieldError]:
    """Returns the errors in the names of a job's path."""
    errors = service_name_errors(service_name)
    if not is_name(job_name):
        errors.append(FieldError(pointer="/job_name", detail=NAME_EXPECTED))
    return errors


def limit_name_errors(service_name: str, limit_name: str) -> list[FieldError]:
    """Returns the errors in the names of a limit's path."""
    errors = service_name_errors(service_name)
    if not is_name(limit_name):
        errors.append(FieldError(pointer="/limit_name", detail=NAME_EXPECTED))
    return errors


def job_key(service_name: str, job_name: str) -> str:
    """Returns for instance ``billing/nightly``."""
    return f"{service_name}/{job_name}"


def split_job_key(key: str) -> tuple[str, str]:
    """The inverse of :func:`job_key`; names contain no slash."""
    service_name, _, job_name = key.partition("/")
    return service_name, job_name


def job_guid(service_name: str, job_name: str) -> str:
    """A UUIDv5 in the URL namespace: the same names give the same guid in every stage."""
    return str(uuid5(NAMESPACE_URL, f"{service_name}--{job_name}"))


def execution_id(guid: str, scheduled_time_ms: int, suffix: str = "") -> str:
    """Returns ``<guid>-<yyyymmddThhmmssZ>``, plus a suffix for a manual run.

    It sorts by time, it begins with the partition key of its record, and it is the name of the Step Functions
    execution. A state machine accepts a name, of 80 characters at most, only once in 90 days:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    """
    return "-".join(filter(None, (guid, stamp(scheduled_time_ms), suffix)))


def guid_of_execution(identifier: str) -> str | None:
    """The job_guid in an execution_id; None if ``identifier`` is not an execution_id."""
    match = _EXECUTION_ID.fullmatch(identifier)
    return match[1] if match else None


def stamp_of_execution(identifier: str) -> str:
    """The scheduled time in an execution_id, as ``20261123T020000Z``."""
    return identifier[37:53]


def suffix_of_execution(identifier: str) -> str:
    """The suffix of an execution_id; empty for a tick's."""
    return identifier[54:]
