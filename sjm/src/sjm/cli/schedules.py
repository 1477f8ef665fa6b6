"""``sjm schedules``."""

from typing import TYPE_CHECKING

import click

from sjm.cli import times
from sjm.cli.command import Session, group, pass_session
from sjm.cli.describe import both, in_its_zone
from sjm.cli.exits import ExitCode
from sjm.cli.lists import limit_options, limited, page_size
from sjm.cli.output import Column

if TYPE_CHECKING:
    from sjm.client import Schedule

_LAST = "9"


@group("schedules")
def schedules() -> None:
    """List, preview and reconcile schedules."""


@schedules.command("list")
@click.option("--by-time", is_flag=True, help="The next to fire first.")
@limit_options(None)
@pass_session
def list_(session: Session, by_time: bool, limit: int | None) -> None:
    """List the schedules in use, with their jobs, triggers and next fire times."""

    def following(schedule: "Schedule") -> str:
        fire_times = schedule["next_fire_times"]
        if fire_times is None:
            return "counted from when its rule was made"
        return session.shown(times.of_iso(fire_times[0])) if fire_times else "never"

    columns = [
        Column("schedule", lambda each: each["schedule_key"], whole=True),
        Column("jobs", lambda each: str(each["job_count"]), whole=True),
        Column(
            "rule",
            lambda each: each["rule"],
            True,
            lambda each: "" if each["rule"] == "in step" else "bold red",
        ),
        Column("next", following),
    ]
    if by_time:
        found = iter(sorted(session.manager.list_schedules(limit=100), key=_next))
    else:
        found = iter(session.manager.list_schedules(limit=page_size(limit)))
    session.output.rows(limited(session, found, limit), columns, "No schedule is in use.")


def _next(schedule: "Schedule") -> str:
    fire_times = schedule["next_fire_times"]
    return fire_times[0] if fire_times else _LAST


@schedules.command()
@click.argument("schedule", metavar="SCHEDULE")
@click.option(
    "--time-zone", metavar="ZONE", help="Whose clock it goes by, such as Europe/Berlin. [default: UTC]"
)
@click.option("--from", "from_", metavar="TIME", help="The earliest time to show. [default: now]")
@click.option("--count", metavar="N", type=click.IntRange(1, 100), default=10, help="How many. [default: 10]")
@click.option("--start-at", metavar="TIME", help="It does not fire before. A rate is counted from it.")
@click.option("--end-at", metavar="TIME", help="It does not fire after.")
@pass_session
def preview(
    session: Session,
    schedule: str,
    time_zone: str | None,
    from_: str | None,
    count: int,
    start_at: str | None,
    end_at: str | None,
) -> None:
    """Show when a schedule would fire next. Saves nothing.

    SCHEDULE is rate(5 minutes), cron(0 2 * * ? *) or, to fire once, at(2026-12-24T18:00:00), in quotes. With
    --time-zone, the times are those of its clock, and those that its clock skips are marked.
    """
    found = session.manager.preview_schedule(
        schedule,
        time_zone=time_zone,
        from_=session.moment("--from", from_, "future"),
        count=count,
        start_at=session.moment("--start-at", start_at, "future"),
        end_at=session.moment("--end-at", end_at, "future"),
    )
    if session.output.format != "table":
        session.output.document(found)
        return
    if time_zone is None:
        lines = [both(session, each) for each in found["fire_times"]]
    else:
        lines = [in_its_zone(each) for each in found["times"]]
    for line in lines:
        session.output.text(line)
    if "counted_from" in found:
        since = session.shown(times.of_iso(found["counted_from"]))
        reason = "A rate is counted from when its rule is made. " if start_at is None else ""
        session.output.message(f"{reason}These times are counted from {since}.")
    if not found["fire_times"]:
        session.output.message(f"{found['schedule']} never fires.")


@schedules.command()
@pass_session
def reconcile(session: Session) -> None:
    """Make the triggers match the jobs now, and look for missed ticks."""
    done = session.manager.reconcile_schedules()
    if session.output.format != "table":
        session.output.document(done)
    else:
        for rule in done["changed"]:
            session.output.text(
                f"{rule['schedule']}: its trigger {rule['rule']} was {rule['found']}, and is {rule['done']}."
            )
        for missed in done["missed"]:
            first, last = (
                session.shown(times.of_iso(missed[name])) for name in ("first_missed", "last_missed")
            )
            session.output.text(f"{missed['schedule']}: {missed['count']} missed, from {first} to {last}.")
    completed = done.get("completed", 0)  # a stage of an earlier version does not tell
    session.output.message(f"{done['checked']} schedules are checked, {len(done['changed'])} changed.")
    if completed:
        session.output.message(f"{completed} jobs are completed.")
    if not done["complete"]:
        session.output.message("Not all of them are checked yet. Repeat the command.")
        session.exit_code = ExitCode.FAIL
