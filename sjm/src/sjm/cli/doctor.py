"""``sjm doctor``: says what is wrong with a stage, and what to do."""

import os
from typing import TYPE_CHECKING

import click

from sjm.cli.command import Command, Session, pass_session
from sjm.cli.exits import ExitCode
from sjm.cli.printable import printable_line
from sjm.cli.stage import STAGE_VARIABLE, Stage

if TYPE_CHECKING:
    from sjm.doctor.account_facts import AccountFacts
    from sjm.doctor.findings import Finding, Unknown

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red", "not looked at": "dim"}
_MARKS = {"ok": "ok", "warning": "warning", "wrong": "WRONG", "not looked at": "-"}


@click.command("doctor", cls=Command)
@pass_session
def doctor(session: Session) -> None:
    """Say what is wrong with the stage, and what to do.

    It only reads: the API, and with your AWS credentials the stage's rules, queues, alarms and quotas. It
    exits with 1 if something is wrong. Warnings alone exit with 0.
    """
    import sjm
    from sjm.doctor import examine

    findings = examine(session.manager, _account(session.stage), sjm.__version__)
    if session.output.format == "table":
        for finding in findings:
            _show(session, finding)
    else:
        session.output.rows((finding.document() for finding in findings), (), "")
    if any(finding.state == "wrong" for finding in findings):
        raise click.exceptions.Exit(ExitCode.FAIL)


def _account(stage: Stage) -> "AccountFacts | Unknown":
    """The account of the caller; Unknown if the names of the stage in AWS are not known."""
    from sjm.client import ManagerError
    from sjm.client.aws import Account
    from sjm.doctor.account_facts import AccountFacts
    from sjm.doctor.findings import Unknown

    name = stage.stage or os.environ.get(STAGE_VARIABLE)
    if not name:
        return Unknown("needs --stage, besides --url")
    try:
        account = Account(stage.profile, None)
        return AccountFacts(account.session, stage.region or account.region(), f"{stage.name}-{name}")
    except ManagerError as error:
        return Unknown(str(error))


def _show(session: Session, finding: "Finding") -> None:
    from rich.text import Text

    line = Text()
    line.append(f"{_MARKS[finding.state]:<8}", style=_STYLES[finding.state])
    line.append(printable_line(f"{finding.check}: "))
    line.append("not looked at: " if finding.state == "not looked at" else "")
    line.append(printable_line(finding.detail))
    session.output.console.print(line, soft_wrap=True)
    for advice in finding.advice:
        session.output.console.print(Text(f"          → {printable_line(advice)}"), soft_wrap=True)
