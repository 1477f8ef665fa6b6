"""Which executions a command is about: the options that ``list``, ``rerun`` and ``cancel`` share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import click

from sjm.cli.command import Session
from sjm.cli.job_names import complete_job
from sjm.cli.names import JobName, job_name, path_part
from sjm.client.types import SkipCode, Status

if TYPE_CHECKING:
    from sjm.client import Execution, Listing
    from sjm.client.types import By

STATUSES = get_args(Status)
FAILED: list[Status] = ["fail", "timeout"]
REASONS = get_args(SkipCode)


@dataclass(frozen=True)
class Selection:
    """What the options say. Empty means any."""

    services: list[str]
    jobs: list[JobName]
    status: list[Status]
    reason: list[SkipCode]
    since: datetime | None
    until: datetime | None
    by: "By | None"

    def listing(self, session: Session, page_size: int) -> "Listing[Execution]":
        """The executions, newest first. It uses the route that needs the fewest rights."""
        filters: dict[str, Any] = {
            "status": self.status or None,
            "reason": self.reason or None,
            "since": self.since,
            "until": self.until,
            "by": self.by,
            "limit": page_size,
        }
        manager = session.manager
        if len(self.jobs) == 1:
            return manager.list_executions_of_job(*self.jobs[0], **filters)
        if self.jobs:
            return manager.list_executions(job_guid=[job.guid for job in self.jobs], **filters)
        if len(self.services) == 1:
            return manager.list_executions_of_service(self.services[0], **filters)
        return manager.list_executions(service_name=self.services or None, **filters)


_Command = Callable[..., Any]

_PLACE = (
    click.option(
        "--service", "services", multiple=True, metavar="SERVICE", type=path_part, help="Of a service."
    ),
    click.option(
        "--job",
        "jobs",
        multiple=True,
        metavar="SERVICE/JOB",
        type=job_name,
        shell_complete=complete_job,
        help="Of a job.",
    ),
)
_OUTCOME = (
    click.option("--failed", is_flag=True, help="Only fail and timeout."),
    click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only with this status."),
    click.option(
        "--reason", multiple=True, type=click.Choice(REASONS), help="Only waiting or skipped for it."
    ),
)
_TIME = (
    click.option("--since", metavar="TIME", help="Not earlier: 2h, today, 2026-11-23, 2026-11-23T03:00."),
    click.option("--until", metavar="TIME", help="Only earlier."),
    click.option(
        "--by",
        type=click.Choice(["scheduled_time", "started_at"]),
        help="The time that sorts, and that --since and --until limit. [default: scheduled_time]",
    ),
)


def _with(options: Sequence[Callable[[_Command], _Command]], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def place_options(command: _Command) -> _Command:
    """Adds the options that name services and jobs."""
    return _with(_PLACE, command)


def time_options(command: _Command) -> _Command:
    """Adds the options that limit the time."""
    return _with(_TIME, command)


def selection_options(command: _Command) -> _Command:
    """Adds all options, from which :func:`selection_of` makes a selection."""
    return _with((*_PLACE, *_OUTCOME, *_TIME), command)


def selection_of(session: Session, options: dict[str, Any]) -> Selection:
    """The selection that the options describe. Raises click.UsageError."""
    services: Sequence[str] = options["services"]
    jobs: Sequence[JobName] = options["jobs"]
    if services and jobs:
        raise click.UsageError("Expected only services, or only jobs, because a job names its service.")
    status = list(options["status"])
    if options["failed"]:
        status += [each for each in FAILED if each not in status]
    return Selection(
        list(services),
        list(jobs),
        status,
        list(options["reason"]),
        session.moment("--since", options["since"], "past"),
        session.moment("--until", options["until"], "past"),
        options["by"],
    )
