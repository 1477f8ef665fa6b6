"""Names that are given as arguments: a job as ``SERVICE/JOB``, an execution by its id or the end of it."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

import click

from sjm.cli.job_names import complete_job

_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_EXECUTION = re.compile(rf"(?:({_GUID})-)?([0-9]{{8}}T[0-9]{{6}}Z(?:-[A-Za-z0-9]{{1,24}})?)")


class JobName(NamedTuple):
    """A job."""

    service_name: str
    job_name: str

    def __str__(self) -> str:
        """As it is written in one argument."""
        return f"{self.service_name}/{self.job_name}"

    @property
    def guid(self) -> str:
        """The guid of the job, which is the same in every stage."""
        return str(uuid5(NAMESPACE_URL, f"{self.service_name}--{self.job_name}"))

    def execution_id(self, text: str) -> str:
        """The whole id of an execution of this job. Of the text, the guid may be missing."""
        match = _EXECUTION.fullmatch(text)
        if match is None:
            raise click.BadParameter(
                f"{text!r} is not an execution. Expected its id, or the end of it, such as 20261123T020000Z."
            )
        return text if match[1] else f"{self.guid}-{text}"


def short_id(execution_id: str) -> str:
    """An id without the guid, which is the same for each execution of a job."""
    match = _EXECUTION.fullmatch(execution_id)
    return match[2] if match else execution_id


def job_name(text: str) -> JobName:
    """Parses ``SERVICE/JOB``. The API checks which characters a name has."""
    return JobName(*_two_parts(text, "a job. Expected SERVICE/JOB, such as billing/nightly."))


class LimitName(NamedTuple):
    """A limit."""

    service_name: str
    limit_name: str

    def __str__(self) -> str:
        """As it is written in one argument."""
        return f"{self.service_name}/{self.limit_name}"


def limit_name(text: str) -> LimitName:
    """Parses ``SERVICE/LIMIT``. The API checks which characters a name has."""
    return LimitName(*_two_parts(text, "a limit. Expected SERVICE/LIMIT, such as billing/db-main."))


def _two_parts(text: str, expected: str) -> tuple[str, str]:
    """The name of a service, and that of something in it."""
    service, slash, name = text.partition("/")
    if not slash or "/" in name or any(part in ("", ".", "..") for part in (service, name)):
        raise click.BadParameter(f"{text!r} is not {expected}")
    return service, name


def path_part(text: str) -> str:
    """Parses a name that stands alone, such as that of a service."""
    if text in ("", ".", "..") or "/" in text:
        raise click.BadParameter(f"{text!r} is not a name. Expected 1 to 64 characters of A-Z a-z 0-9 _ . -")
    return text


def idempotency_key(text: str) -> str:
    """Parses an ``Idempotency-Key``."""
    if not re.fullmatch("[!-~]{1,255}", text):
        raise click.BadParameter("expected 1 to 255 visible ASCII characters")
    return text


class Named(NamedTuple):
    """The services or the jobs that a list is about. One of the two is empty; both are for all."""

    services: list[str]
    jobs: list[JobName]


def named(texts: Sequence[str]) -> Named:
    """Parses arguments that are all ``SERVICE`` or all ``SERVICE/JOB``."""
    jobs = [job_name(text) for text in texts if "/" in text]
    services = [path_part(text) for text in texts if "/" not in text]
    if jobs and services:
        raise click.UsageError(
            f"{services[0]} is a service and {jobs[0]} a job. Expected only services, or only jobs."
        )
    return Named(services, jobs)


job_argument = click.argument("job", metavar="SERVICE/JOB", type=job_name, shell_complete=complete_job)
limit_argument = click.argument("name", metavar="SERVICE/LIMIT", type=limit_name)
service_argument = click.argument("service", metavar="SERVICE", type=path_part)
key_option = click.option(
    "--idempotency-key",
    metavar="KEY",
    type=idempotency_key,
    help="Within a day, the same key starts nothing twice.",
)
named_argument = click.argument(
    "names", metavar="[SERVICE | SERVICE/JOB]...", nargs=-1, shell_complete=complete_job
)
