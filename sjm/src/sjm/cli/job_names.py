"""Completes the names of jobs in a shell, by asking the stage.

A shell waits for it at each Tab. So it asks little, gives up early, and says nothing if something is wrong.
"""

import contextlib
import threading
from itertools import islice
from typing import TYPE_CHECKING

import click

from sjm.cli.command import Session

if TYPE_CHECKING:
    from sjm.client import Manager

PATIENCE_SECONDS = 1.5
_PAGE = 100
_PAGES_OF_A_SERVICE = 3


def complete_job(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The jobs ``SERVICE/JOB`` that begin so: of the service, once it is typed, else of the first hundred."""
    stage = ctx.ensure_object(Session).stage
    found: list[str] = []

    def read() -> None:
        from sjm.client import Retries

        # A shell can show names and nothing else.
        with (
            contextlib.suppress(Exception),
            stage.connect(
                connect_timeout_seconds=PATIENCE_SECONDS,
                timeout_seconds=PATIENCE_SECONDS,
                retries=Retries(max_attempts=1),
            ) as manager,
        ):
            found.extend(_names(manager, incomplete))

    # Credentials may come from a program or a network that takes its time. No timeout bounds all of that.
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return [] if thread.is_alive() else [name for name in found if name.startswith(incomplete)]


def _names(manager: "Manager", incomplete: str) -> list[str]:
    service, slash, _ = incomplete.partition("/")
    if slash:
        pages = islice(manager.list_jobs_of_service(service, limit=_PAGE).pages(), _PAGES_OF_A_SERVICE)
    else:
        pages = islice(manager.list_jobs(limit=_PAGE).pages(), 1)
    return [f"{job['service_name']}/{job['job_name']}" for page in pages for job in page["results"]]
