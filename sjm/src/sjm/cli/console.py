"""``sjm console``."""

import os
from urllib.parse import urlsplit

import click

from sjm.cli.command import Command, Session, pass_session
from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure
from sjm.cli.stage import STAGE_VARIABLE


@click.command("console", cls=Command)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="The port on 127.0.0.1. [default: a free one]",
)
@click.option("--no-browser", is_flag=True, help="Only print the URL, and open no browser.")
@pass_session
def console(session: Session, port: int, no_browser: bool) -> None:
    """Serve pages that show the stage and act on it.

    They are on this machine only, until you press Ctrl-C. The URL that it prints works once, in one browser.
    Your AWS credentials sign every call.
    """
    try:
        from sjm.console.serve import PortTaken, serve
    except ModuleNotFoundError as error:
        raise Failure(
            f"The console needs {error.name}. Install it: pip install 'serverless-job-manager[console]'.",
            ExitCode.USAGE,
        ) from error
    manager = session.manager
    # Says now, and not on the first page, if there is no such stage.
    address = urlsplit(manager.url)
    stage = session.stage.stage or os.environ.get(STAGE_VARIABLE) or address.netloc
    try:
        serve(manager, stage, port=port, opens_browser=not no_browser, announce=_announce)
    except PortTaken as error:
        raise Failure(str(error), ExitCode.USAGE) from error


def _announce(url: str) -> None:
    click.echo(f"The console is at {url}")
    click.echo("It opens once, in one browser. Press Ctrl-C to stop it.", err=True)
