"""``sjm executions``."""

from typing import TYPE_CHECKING, Any

import click

from sjm.cli.bulk import cancel_selected, rerun_selected
from sjm.cli.command import Session, group, pass_session
from sjm.cli.describe import columns_of_attempts, columns_of_executions, lines_of_execution, why
from sjm.cli.exits import NOT_ENDED, ExitCode
from sjm.cli.failures import Failure
from sjm.cli.following import follow
from sjm.cli.job_names import complete_job
from sjm.cli.lists import DEFAULT_LIMIT, limit_options, limited, page_size
from sjm.cli.names import JobName, job_argument, job_name, key_option, named, named_argument, short_id
from sjm.cli.printable import printable_line
from sjm.cli.selection import place_options, selection_of, selection_options, time_options

if TYPE_CHECKING:
    from sjm.client import Execution

one_job_argument = click.argument(
    "job", metavar="[SERVICE/JOB", type=job_name, required=False, shell_complete=complete_job
)
one_execution_argument = click.argument("execution", metavar="EXECUTION]", required=False)
most_option = click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1000), default=100, help="At most so many. [default: 100]"
)
newest_argument = click.argument("execution", metavar="[EXECUTION]", required=False)
_EXAMPLES = """\b
Examples:
  sjm executions rerun billing/nightly 20261123T020000Z
  sjm executions rerun --failed --since 2h
"""
_CANCEL_EXAMPLES = """\b
Examples:
  sjm executions cancel billing/nightly 20261123T020000Z
  sjm executions cancel --running --service billing --reason 'wrong ledger'
"""


@group("executions")
def executions() -> None:
    """List, watch, cancel and rerun executions.

    EXECUTION is the id of an execution, or its end, such as 20261123T020000Z.
    """


@executions.command("list")
@named_argument
@selection_options
@limit_options(DEFAULT_LIMIT)
@pass_session
def list_(session: Session, /, names: tuple[str, ...], limit: int, every: bool, **options: Any) -> None:
    """List executions, newest first: of all jobs, or of services or jobs."""
    also = named(names)
    options["services"] = [*options["services"], *also.services]
    options["jobs"] = [*options["jobs"], *also.jobs]
    most = None if every else limit
    found = selection_of(session, options).listing(session, page_size(most))
    session.output.rows(
        limited(session, found, most), columns_of_executions(session), "There are no such executions."
    )


@executions.command()
@job_argument
@newest_argument
@pass_session
def show(session: Session, job: JobName, execution: str | None) -> None:
    """Show an execution with its payload, result and attempts; by default, the newest of the job."""
    found = session.manager.get_execution(*job, _id_of(session, job, execution))
    if session.output.format != "table":
        session.output.document(found)
        return
    session.output.lines(lines_of_execution(session, found))
    if "attempts" in found:
        session.output.text("")
        session.output.rows(found["attempts"], columns_of_attempts(session), "")


@executions.command()
@job_argument
@newest_argument
@pass_session
def chain(session: Session, job: JobName, execution: str | None) -> None:
    """Show the executions before and after an execution in its chain; by default, of the newest one."""
    found = session.manager.get_chain(*job, _id_of(session, job, execution))
    if session.output.format != "table":
        session.output.document(found)
        return
    session.output.rows(found["executions"], columns_of_executions(session), "")
    if found["is_cut"]:
        session.output.message("The chain has more executions, which are not shown.")


@executions.command()
@job_argument
@newest_argument
@pass_session
def watch(session: Session, job: JobName, execution: str | None) -> None:
    """Follow an execution to its end, and exit by its outcome; by default, the newest of the job."""
    follow(session, session.manager.get_execution(*job, _id_of(session, job, execution)))


def _id_of(session: Session, job: JobName, execution: str | None) -> str:
    """The whole id of an execution, or of the newest one of the job."""
    if execution is not None:
        return job.execution_id(execution)
    newest = next(iter(session.manager.list_executions_of_job(*job, limit=1)), None)
    if newest is None:
        raise Failure(f"{job} has no executions.", ExitCode.REFUSED)
    return newest["execution_id"]


@executions.command(epilog=_CANCEL_EXAMPLES)
@one_job_argument
@one_execution_argument
@place_options
@time_options
@click.option("--running", is_flag=True, help="All that run, of the services or jobs that you name.")
@click.option("--waiting", is_flag=True, help="All that wait, of the services or jobs that you name.")
@click.option("--reason", "why", metavar="TEXT", help="Why. Others read it.")
@most_option
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def cancel(
    session: Session,
    /,
    job: JobName | None,
    execution: str | None,
    running: bool,
    waiting: bool,
    why: str | None,
    limit: int,
    dry_run: bool,
    yes: bool,
    **options: Any,
) -> None:
    """End executions that run or wait: one, or all. Callbacks of what ran get 410, and its lock is free."""
    if job is None:
        status = [each for each, wanted in (("waiting", waiting), ("running", running)) if wanted]
        if not status:
            raise click.UsageError("Expected SERVICE/JOB and EXECUTION, or --running, or --waiting.")
        options |= {"failed": False, "status": status, "reason": []}
        cancel_selected(session, selection_of(session, options), why, limit, dry_run, yes)
        return
    if execution is None:
        raise click.UsageError("Missing argument 'EXECUTION', beside SERVICE/JOB.")
    _refuse_selection(options, running, waiting, dry_run)
    whole = job.execution_id(execution)
    session.output.confirm(f"Cancel {job} {short_id(whole)}? Its service is told to stop.", yes)
    cancelled = session.manager.cancel_execution(*job, whole, reason=why)
    if session.output.format != "table":
        session.output.document(cancelled)
        return
    session.output.text(f"{job} {short_id(whole)} is cancelled.")


@executions.command(epilog=_EXAMPLES)
@one_job_argument
@one_execution_argument
@selection_options
@click.option("--newest-per-job", is_flag=True, help="Only the newest of each job.")
@click.option("--again", is_flag=True, help="Also those that have been rerun.")
@most_option
@click.option("--dry-run", is_flag=True, help="Show what would be rerun, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--follow", "is_followed", is_flag=True, help="Follow the one execution to its end.")
@key_option
@pass_session
def rerun(
    session: Session,
    /,
    job: JobName | None,
    execution: str | None,
    newest_per_job: bool,
    again: bool,
    limit: int,
    dry_run: bool,
    yes: bool,
    is_followed: bool,
    idempotency_key: str | None,
    **options: Any,
) -> None:
    """Run jobs again, with the payload of an execution: of one, or of all that failed."""
    if job is not None:
        if execution is None:
            raise click.UsageError("Expected SERVICE/JOB and EXECUTION, or --failed and --since.")
        _refuse_selection(options, newest_per_job, again, dry_run)
        _rerun_one(session, job, execution, is_followed, idempotency_key)
        return
    if is_followed or idempotency_key is not None:
        raise click.UsageError("--follow and --idempotency-key are for one execution.")
    if not (options["failed"] or options["status"]) or options["since"] is None:
        raise click.UsageError("Expected SERVICE/JOB and EXECUTION, or --failed (or --status) and --since.")
    selection = selection_of(session, options)
    if not set(selection.status).isdisjoint(NOT_ENDED):
        raise click.UsageError("--status: what waits or runs cannot be rerun.")
    rerun_selected(session, selection, newest_per_job, again, limit, dry_run, yes)


def _refuse_selection(options: dict[str, Any], *flags: bool) -> None:
    if any(options.values()) or any(flags):
        raise click.UsageError(
            "One execution is named, so expected no options that choose among many, such as --service."
        )


def _rerun_one(
    session: Session, job: JobName, execution: str, is_followed: bool, idempotency_key: str | None
) -> None:
    started = session.manager.rerun_execution(
        *job, job.execution_id(execution), idempotency_key=idempotency_key
    )
    tell_started(session, job, started, is_followed)


def tell_started(session: Session, job: JobName, started: "Execution", is_followed: bool) -> None:
    """Writes which execution was started, and follows it if that is wanted."""
    if is_followed:
        follow(session, started)
    elif session.output.format != "table":
        session.output.document(started)
    else:
        name = short_id(started["execution_id"])
        reason = f": {why(started)}" if started["status"] == "waiting" else ""
        session.output.text(printable_line(f"{job} {name} is {started['status']}{reason}."))
        session.output.message(f"Watch it: sjm executions watch {job} {name}")
