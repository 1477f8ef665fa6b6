"""``sjm rehearse``: plays the manager for a receiver of webhooks, and shows a report card."""

from typing import Any

import click

from sjm.cli.command import Command, Session, pass_session
from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure
from sjm.cli.printable import printable_line
from sjm.rehearsal import rehearse as play
from sjm.rehearsal.callbacks import PortTaken
from sjm.rehearsal.scenes import NAMES
from sjm.rehearsal.settings import SHORTEST_TTL_SECONDS
from sjm.rehearsal.verdict import ReportCard

_STYLES = {"passed": "green", "failed": "bold red", "not tried": "dim"}
_SCENE = click.Choice(NAMES)


@click.command("rehearse", cls=Command, epilog=f"Scenes: {', '.join(NAMES)}.")
@click.argument("url")
@click.option(
    "--service", default="rehearsal", help="The service_name of the notifications.", show_default=True
)
@click.option("--job", default="job", help="The job_name of the notifications.", show_default=True)
@click.option(
    "--payload", default="", help="The job's payload. Best is one with which the job takes a second."
)
@click.option(
    "--long-payload",
    help="A payload with which the job takes more than a third of --timeout, to see its heartbeats.",
)
@click.option(
    "--secret",
    envvar="WEBHOOK_SECRET",
    show_envvar=True,
    help="The webhook secret, whsec_…. Others may read a command line, so better set the variable.",
)
@click.option("--sync", is_flag=True, help="The job is a sync job: the answer is the result.")
@click.option(
    "--exclusive", is_flag=True, help="The job has a lock: one execution at a time, with fencing tokens."
)
@click.option(
    "--only", type=_SCENE, multiple=True, help="Play only this scene. May be repeated.", metavar="SCENE"
)
@click.option(
    "--skip", type=_SCENE, multiple=True, help="Leave this scene out. May be repeated.", metavar="SCENE"
)
@click.option(
    "--timeout",
    type=click.IntRange(min=SHORTEST_TTL_SECONDS),
    default=SHORTEST_TTL_SECONDS,
    show_default=True,
    help="The ttl_seconds of the job. Every wait is in proportion to it.",
)
@click.option(
    "--callback-host",
    help="The name of this machine for a receiver elsewhere. [default: callbacks come to 127.0.0.1 only]",
)
@click.option(
    "--callback-port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="The port for callbacks. [default: a free one]",
)
@pass_session
def rehearse(session: Session, /, url: str, timeout: int, **options: Any) -> None:
    """Try a receiver of webhooks against all that can go wrong.

    It sends webhooks to URL as the manager does, takes the callbacks itself, and says what to change. It
    needs no stage and no AWS account. The job really runs, some twenty times. It exits with 1 if a scene
    failed.
    """
    is_table = session.output.format == "table"
    if is_table:
        session.output.message(f"Rehearsing {url}. It takes about {timeout} to {3 * timeout} seconds.")
    try:
        card = play(url, timeout=timeout, **options)
    except (PortTaken, ValueError) as error:
        raise Failure(f"{error}.", ExitCode.USAGE) from None
    if is_table:
        _show(session, card)
    else:
        session.output.rows((result.document() for result in card.results), (), "")
    if card.failures:
        raise click.exceptions.Exit(ExitCode.FAIL)


def _show(session: Session, card: ReportCard) -> None:
    from rich.text import Text

    console = session.output.console
    console.print(Text(card.HEADER, style="bold"), soft_wrap=True)
    for result in card.results:
        first, *others = result.lines()
        state = result.verdict.state
        line = Text(printable_line(first))
        line.stylize(_STYLES[state], 0, len(state))
        console.print(line, soft_wrap=True)
        for each in others:
            console.print(Text(printable_line(each)), soft_wrap=True)
    console.print(Text(f"{card.summary}."), soft_wrap=True)
