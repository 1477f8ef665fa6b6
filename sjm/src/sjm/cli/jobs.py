"""``sjm jobs``."""

from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, cast

import click

from sjm.cli.apply import apply
from sjm.cli.command import Session, group, pass_session
from sjm.cli.describe import columns_of_jobs, counted, lines_of_job, schedule_of
from sjm.cli.executions import tell_started
from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure
from sjm.cli.job_fields import changed, job_options, kept
from sjm.cli.lists import limit_options, limited, page_size
from sjm.cli.names import JobName, job_argument, key_option, named, named_argument, short_id
from sjm.cli.output import Column
from sjm.cli.reviews import show_review, show_unknown

if TYPE_CHECKING:
    from sjm.client import Job, Listing, SavedJob
    from sjm.review.fields import Json

version_option = click.option(
    "--if-version", metavar="N", type=click.IntRange(min=1), help="Only if the job is at this version."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
_BACKFILL_EXAMPLES = """\b
Examples:
  sjm jobs backfill billing/nightly --since 7d --dry-run
  sjm jobs backfill billing/nightly --since 2026-11-01 --until 2026-11-08 --all-times
"""


@group("jobs")
def jobs() -> None:
    """List, change, run, pause and test jobs."""


jobs.add_command(apply)


@jobs.command("list")
@named_argument
@click.option("--owner", multiple=True, metavar="TEXT", help="Only of this owner.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only with this tag.")
@click.option("--schedule", metavar="SCHEDULE", help="Only with this schedule.")
@click.option("--guid", "guids", multiple=True, metavar="GUID", help="Only with this job_guid.")
@limit_options(None)
@pass_session
def list_(
    session: Session,
    names: tuple[str, ...],
    owner: tuple[str, ...],
    tags: tuple[str, ...],
    schedule: str | None,
    guids: tuple[str, ...],
    limit: int | None,
) -> None:
    """List jobs by their names: all, or those of services."""
    filters: dict[str, Any] = {
        "owner": list(owner) or None,
        "tags": _tags(tags),
        "schedule": schedule,
        "limit": page_size(limit),
    }
    found = _listing(session, names, list(guids), filters)
    session.output.rows(limited(session, found, limit), columns_of_jobs(session), "There are no such jobs.")


def _tags(texts: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in texts]
    if wrong := [
        text for text, (name, equals, _) in zip(texts, pairs, strict=True) if not equals or not name
    ]:
        raise click.BadParameter(f"{wrong[0]!r} is not a tag. Expected NAME=VALUE.", param_hint="--tag")
    tags = {name: value for name, _, value in pairs}
    if len(tags) < len(pairs):
        raise click.BadParameter("expected each name once", param_hint="--tag")
    return tags or None


def _listing(
    session: Session, names: tuple[str, ...], guids: list[str], filters: dict[str, Any]
) -> "Listing[SavedJob]":
    services, of_jobs = named(names)
    if guids and names:
        raise click.UsageError("Expected either names or --guid.")
    guids += [job.guid for job in of_jobs]
    if len(services) == 1:
        return session.manager.list_jobs_of_service(services[0], **filters)
    return session.manager.list_jobs(service_name=services or None, job_guid=guids or None, **filters)


@jobs.command()
@job_argument
@pass_session
def show(session: Session, job: JobName) -> None:
    """Show a job: when it fires, how it went last, and who holds its lock."""
    _write(session, session.manager.get_job(*job))


def _write(session: Session, job: "SavedJob") -> None:
    if session.output.format == "table":
        session.output.lines(lines_of_job(session, job))
    else:
        session.output.document(job)


@jobs.command("set")
@job_argument
@job_options
@click.option(
    "--test/--no-test", "test", default=None, help="Whether to test an http target. [default: --test]"
)
@click.option("--new", is_flag=True, help="Only if there is no such job yet.")
@version_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and do nothing.")
@pass_session
def set_(
    session: Session,
    /,
    job: JobName,
    test: bool | None,
    new: bool,
    if_version: int | None,
    dry_run: bool,
    payload_file: IO[bytes] | None,
    **options: Any,
) -> None:
    """Create a job, or change the fields that you name. The other fields stay as they are.

    First it shows the review that apply shows: what changes, when the job fires next, how many other jobs
    share that minute, and dollars a month. If somebody else changes the job meanwhile, nothing is changed.
    """
    from sjm.client import NotFound

    options["payload"] = _payload(options["payload"], payload_file)
    for name, option in (("start_at", "--start-at"), ("end_at", "--end-at")):
        options[name] = _utc(session.moment(option, options[name], "future"))
    try:
        saved = session.manager.get_job(*job)
    except NotFound:
        saved = None
    if saved is None and if_version is not None:
        raise Failure(f"There is no job {job}.", ExitCode.REFUSED)
    if saved is not None and new:
        raise Failure(f"{job} exists, at version {saved['version']}.", ExitCode.REFUSED)
    before = None if saved is None else kept(saved)
    after = changed(before, options)
    resets = [name for name in options["unset"] if name not in after]
    is_reviewed = dry_run or session.output.format == "table"
    if before == after or (is_reviewed and not _review(session, job, after, saved, resets)):
        session.output.message(f"{job} is like that already.")
    elif dry_run:
        session.output.message("Nothing was done.")
    else:
        _put(session, job, after, saved, if_version, test)


def _review(
    session: Session, job: JobName, after: "Job", saved: "SavedJob | None", resets: list[str]
) -> bool:
    """Writes what the change means. Returns whether anything changes."""
    from sjm.review.apply import review_one

    wanted, now = cast("Json", after), cast("Json | None", saved)
    review, unknown = review_one(session.manager, str(job), wanted, now, resets)
    if session.output.format == "table":
        show_review(session.output, review)
    else:
        session.output.document(review.document())
    show_unknown(session.output, unknown)
    return review.action != "none"


def _utc(moment: datetime | None) -> str | None:
    """A time as the API keeps it."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _put(
    session: Session,
    job: JobName,
    after: "Job",
    saved: "SavedJob | None",
    if_version: int | None,
    test: bool | None,
) -> None:
    if test is not None:
        after = {**after, "test_invocation": test}
    if saved is None:
        result = session.manager.put_job(*job, after, only_if_new=True)
    else:
        result = session.manager.put_job(*job, after, if_match=if_version or saved["version"])
    if session.output.format != "table":
        session.output.document(result)
    done = "is created" if saved is None else "is changed"
    session.output.message(f"{job} {done}, and is at version {result['version']}.")
    for warning in result.get("warnings", []):
        session.output.message(f"Warning: {warning['detail']} ({warning['code']})")


def _payload(text: str | None, file: IO[bytes] | None) -> str | None:
    """The payload of either option. Raises UsageError if it is no text."""
    if file is None:
        return text
    if text is not None:
        raise click.UsageError("Expected either --payload or --payload-file.")
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter(
            f"{file.name} is not text in UTF-8: byte {error.start} does not fit.", param_hint="--payload-file"
        ) from error


@jobs.command()
@job_argument
@version_option
@yes_option
@pass_session
def delete(session: Session, job: JobName, if_version: int | None, yes: bool) -> None:
    """Delete a job. Its history stays."""
    saved = session.manager.get_job(*job)
    version = if_version or saved["version"]
    session.output.confirm(
        f"Delete {job}, {schedule_of(saved)}, at version {version}? Its history stays. An execution that runs"
        " may end.",
        yes,
    )
    session.manager.delete_job(*job, if_match=version)
    session.output.message(f"{job} is deleted.")


@jobs.command()
@job_argument
@pass_session
def test(session: Session, job: JobName) -> None:
    """Send a test notification to the target of a job."""
    tested = session.manager.test_job(*job)
    if session.output.format != "table":
        session.output.document(tested)
        return
    seen = ", ".join(f"{name} {value}" for name, value in tested["seen"].items())
    session.output.text(f"{tested['invocation_target']} takes notifications: {seen}")


@jobs.command()
@job_argument
@click.option("--payload", metavar="TEXT", help="In place of the job's own.")
@click.option("--payload-file", type=click.File("rb"), help="A file with the payload; - is stdin.")
@click.option("--follow", "is_followed", is_flag=True, help="Follow it to its end, and exit by its outcome.")
@key_option
@pass_session
def run(
    session: Session,
    job: JobName,
    payload: str | None,
    payload_file: IO[bytes] | None,
    is_followed: bool,
    idempotency_key: str | None,
) -> None:
    """Run a job now, also a paused or a disabled one."""
    started = session.manager.start_execution(
        *job, payload=_payload(payload, payload_file), idempotency_key=idempotency_key
    )
    tell_started(session, job, started, is_followed)


@jobs.command(epilog=_BACKFILL_EXAMPLES)
@job_argument
@click.option("--since", metavar="TIME", required=True, help="Not earlier: 12h, yesterday, 2026-11-23T03:00.")
@click.option("--until", metavar="TIME", help="Only earlier. [default: now]")
@click.option("--all-times", is_flag=True, help="Also the times that it ran for. Needs --until.")
@click.option("--dry-run", is_flag=True, help="Show the times, and do nothing.")
@yes_option
@key_option
@pass_session
def backfill(
    session: Session,
    job: JobName,
    since: str,
    until: str | None,
    all_times: bool,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
) -> None:
    """Start a job for the times in the past that it missed, oldest first.

    The same command again starts nothing twice.
    """
    if all_times and until is None:
        raise click.UsageError("Expected --until with --all-times.")
    begin = session.moment("--since", since, "past")
    assert begin is not None
    request: dict[str, Any] = {
        "since": begin,
        "until": session.moment("--until", until, "past"),
        "only_missed": not all_times,
        "idempotency_key": idempotency_key,
    }
    found = session.manager.backfill_job(*job, **request, dry_run=True)
    if session.output.format == "table":
        session.output.rows(found["times"], _COLUMNS_OF_TIMES, f"{job} has missed nothing in that time.")
    elif dry_run or not found["times"]:
        session.output.document(found)
    count = counted(found["count"])
    if dry_run and found["times"]:
        session.output.message(f"Nothing was done. Without --dry-run, {count} would be started.")
    elif found["times"]:
        session.output.confirm(f"Start {count} of {job}?", yes)
        # What was shown is what is started, although time passes.
        request["until"] = request["until"] or found["until"]
        started = session.manager.backfill_job(*job, **request)
        if session.output.format != "table":
            session.output.document(started)
        count = counted(started["count"])
        session.output.message(f"{count} of {job} are being started: backfill {started['backfill_id']}.")
    if "next_since" in found:
        session.output.message(f"There are more times. Go on with --since {found['next_since']}")


_COLUMNS_OF_TIMES = [
    Column("local time", lambda each: each["local_time"], whole=True),
    Column("utc", lambda each: each["scheduled_time"], whole=True),
    Column("execution", lambda each: short_id(each["execution_id"]), whole=True),
]


@jobs.command()
@job_argument
@click.option("--reason", metavar="TEXT", required=True, help="Why. Others read it.")
@click.option("--until", metavar="TIME", help="When it fires again: 2h, tomorrow, 2026-12-01T06:00.")
@pass_session
def pause(session: Session, job: JobName, reason: str, until: str | None) -> None:
    """Stop a job from firing, until a time or until you resume it."""
    paused = session.manager.pause_job(*job, reason, until=session.moment("--until", until, "future"))
    if session.output.format != "table":
        session.output.document(paused)
    session.output.message(f"{job} is paused. Let it fire again: sjm jobs resume {job}")


@jobs.command()
@job_argument
@pass_session
def resume(session: Session, job: JobName) -> None:
    """Let a paused job fire again."""
    resumed = session.manager.resume_job(*job)
    if session.output.format != "table":
        session.output.document(resumed)
    session.output.message(f"{job} fires again.")
