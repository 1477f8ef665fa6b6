"""The addresses of the pages."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def job(service_name: str, job_name: str, *more: str) -> str:
    """The page of a job, or one below it."""
    return "".join(f"/{quote(part, safe='')}" for part in ("jobs", service_name, job_name, *more))


def execution(service_name: str, job_name: str, execution_id: str, *more: str) -> str:
    """The page of an execution, or one below it."""
    return job(service_name, job_name, "executions", execution_id, *more)


def search(path: str, **fields: str | None) -> str:
    """A page with a search; fields without a value are left out."""
    return with_query(path, {name: value for name, value in fields.items() if value})


def with_query(path: str, fields: Mapping[str, str]) -> str:
    """A path with these parameters."""
    return f"{path}?{urlencode(fields)}" if fields else path


def secrets(service_name: str, *more: str) -> str:
    """The page of a service's webhook secrets, or one below it."""
    return "".join(f"/{quote(part, safe='')}" for part in ("services", service_name, "secrets", *more))
