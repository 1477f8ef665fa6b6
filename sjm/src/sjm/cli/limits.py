"""``sjm limits``."""

from typing import TYPE_CHECKING, Any, cast

import click

from sjm.cli import times
from sjm.cli.command import Session, group, pass_session
from sjm.cli.describe import counted
from sjm.cli.names import LimitName, limit_argument, service_argument
from sjm.cli.output import Column

if TYPE_CHECKING:
    from sjm.client import LimitDefinition, SavedLimit

_FIELDS = ("slots", "per_second", "description")


@group("limits")
def limits() -> None:
    """List, show, change and delete limits. Several jobs of a service share one."""


@limits.command("list")
@service_argument
@pass_session
def list_(session: Session, service: str) -> None:
    """List the limits of a service, and how many executions hold a slot or wait for one."""
    columns = [
        Column("limit", lambda each: each["limit_name"], whole=True),
        Column("held", _held, whole=True),
        Column(
            "waiting",
            lambda each: str(each["waiting"]),
            True,
            lambda each: "yellow" if each["waiting"] else "",
        ),
        Column("a second", lambda each: str(each.get("per_second", "")), whole=True),
        Column("description", lambda each: each.get("description", "")),
    ]
    session.output.rows(session.manager.list_limits(service), columns, f"{service} has no limits.")


def _held(limit: "SavedLimit") -> str:
    return f"{limit['held']} of {limit['slots']}" if "slots" in limit else ""


@limits.command()
@limit_argument
@pass_session
def show(session: Session, name: LimitName) -> None:
    """Show a limit, and which executions hold its slots."""
    limit = session.manager.get_limit(*name)
    if session.output.format != "table":
        session.output.document(limit)
        return
    session.output.lines(_lines(session, name, limit))


def _lines(session: Session, name: LimitName, limit: "SavedLimit") -> list[tuple[str, str]]:
    lines = [("name", str(name))]
    if "description" in limit:
        lines.append(("description", limit["description"]))
    if "slots" in limit:
        waits = "waits" if limit["waiting"] == 1 else "wait"
        lines.append(("slots", f"{_held(limit)} are held, {counted(limit['waiting'])} {waits}"))
    if limit["holders"]:
        lines.append(("held by", "\n".join(limit["holders"])))
    if "per_second" in limit:
        following = limit.get("next_start_at")
        at = f", the next at {session.shown(times.of_iso(following))}" if following else ""
        lines.append(("a second", f"{limit['per_second']}{at}"))
    changed_at = session.shown(times.of_iso(limit["updated_at"]))
    lines.append(("version", f"{limit['version']}, of {changed_at} by {limit['updated_by']}"))
    return lines


@limits.command()
@limit_argument
@click.option("--slots", metavar="N", type=int, help="How many executions run at once at most.")
@click.option(
    "--per-second", metavar="N", type=int, help="How many notifications are sent in a second at most."
)
@click.option("--description", metavar="TEXT", help="Yours.")
@click.option("--unset", multiple=True, type=click.Choice(_FIELDS), help="Remove a field.")
@pass_session
def put(session: Session, /, name: LimitName, unset: tuple[str, ...], **options: Any) -> None:
    """Create a limit, or change the fields that you name. The other fields stay as they are.

    If somebody else changes the limit meanwhile, nothing is changed.
    """
    from sjm.client import NotFound

    try:
        saved = session.manager.get_limit(*name)
    except NotFound:
        saved = None
    given = {field: value for field, value in options.items() if value is not None}
    wanted = {**(cast("dict[str, Any]", saved) if saved else {}), **given}
    kept = {field: wanted[field] for field in _FIELDS if field in wanted and field not in unset}
    definition = cast("LimitDefinition", kept)
    if saved is None:
        result = session.manager.put_limit(*name, definition, only_if_new=True)
    else:
        result = session.manager.put_limit(*name, definition, if_match=saved["version"])
    if session.output.format != "table":
        session.output.document(result)
    done = "is created" if saved is None else "is changed"
    session.output.message(f"{name} {done}, and is at version {result['version']}.")


@limits.command()
@limit_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, name: LimitName, yes: bool) -> None:
    """Delete a limit that no job names. Executions that wait for it start."""
    limit = session.manager.get_limit(*name)
    waiting = f" {counted(limit['waiting'])} that wait for it start then." if limit["waiting"] else ""
    session.output.confirm(f"Delete the limit {name}?{waiting}", yes)
    session.manager.delete_limit(*name, if_match=limit["version"])
    session.output.message(f"{name} is deleted.")
