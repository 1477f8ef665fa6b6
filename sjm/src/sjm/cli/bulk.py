"""Reruns or cancels many executions: shows them, asks, and tells how each went."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sjm.cli.command import Session
from sjm.cli.describe import columns_of_executions, counted
from sjm.cli.exits import ExitCode
from sjm.cli.lists import LARGEST_PAGE
from sjm.cli.names import short_id
from sjm.cli.selection import Selection

if TYPE_CHECKING:
    from sjm.client import BulkAnswer, BulkResult, Execution


@dataclass(frozen=True)
class Act:
    """What is done to executions, in words; ``send`` does it to some of a service, from ``more`` on."""

    verb: str
    participle: str
    send: "Callable[[str, Sequence[str], str | None], BulkAnswer]"

    def line(self, result: "BulkResult") -> str:
        """How it went with one of them, for people."""
        job = f"{result.get('service_name', '')}/{result.get('job_name', '')}"
        name = f"{job} {short_id(result['execution_id'])}"
        if "rerun" in result:
            return f"{name} is {self.participle} as {short_id(result['rerun'])}."
        if "problem" in result:
            problem = result["problem"]
            detail = problem.get("detail") or problem["title"]
            return f"{name} is not {self.participle}: {detail} ({problem.get('status')})"
        return f"{name} is {self.participle}."


def rerun_selected(
    session: Session,
    selection: Selection,
    newest_per_job: bool,
    again: bool,
    limit: int,
    dry_run: bool,
    yes: bool,
) -> None:
    """Reruns the newest ``limit`` executions of the selection, the oldest first. Sets the exit code."""

    def send(service_name: str, ids: Sequence[str], more: str | None) -> "BulkAnswer":
        return session.manager.rerun_executions_of_service(
            service_name, {"execution_ids": ids, "again": again, **({"more": more} if more else {})}
        )

    wanted = _wanted(iter(selection.listing(session, LARGEST_PAGE)), newest_per_job, again)
    _act(session, Act("rerun", "rerun", send), wanted, limit, dry_run, yes)


def cancel_selected(
    session: Session, selection: Selection, reason: str | None, limit: int, dry_run: bool, yes: bool
) -> None:
    """Cancels the newest ``limit`` executions of the selection, the oldest first. Sets the exit code."""

    def send(service_name: str, ids: Sequence[str], more: str | None) -> "BulkAnswer":
        return session.manager.cancel_executions_of_service(
            service_name,
            {
                "execution_ids": ids,
                **({"reason": reason} if reason else {}),
                **({"more": more} if more else {}),
            },
        )

    wanted = iter(selection.listing(session, LARGEST_PAGE))
    _act(session, Act("cancel", "cancelled", send), wanted, limit, dry_run, yes)


def _act(
    session: Session, act: Act, wanted: "Iterator[Execution]", limit: int, dry_run: bool, yes: bool
) -> None:
    output = session.output
    chosen = list(islice(wanted, limit))
    if not chosen:
        output.message(f"There is nothing to {act.verb}.")
        return
    if next(wanted, None) is not None:
        output.message(f"There are more than {limit}, of which these are the newest. See --limit.")
    if dry_run or output.format == "table":
        output.rows(chosen, columns_of_executions(session), "")
    if dry_run:
        would_be = f"{counted(len(chosen))} would be {act.participle}"
        output.message(f"Nothing was done. Without --dry-run, {would_be}.")
        return
    output.confirm(f"{act.verb.capitalize()} {counted(len(chosen))}?", yes)
    done = 0

    def results() -> "Iterator[BulkResult]":
        nonlocal done
        for result in _each(act, reversed(chosen)):
            done += "problem" not in result
            yield result

    if output.format == "table":
        for result in results():
            output.text(act.line(result))
    else:
        output.rows(results(), [], "")
    output.message(f"{done} of {counted(len(chosen))} are {act.participle}.")
    session.exit_code = ExitCode.SUCCESS if done == len(chosen) else ExitCode.FAIL


def _each(act: Act, chosen: "Iterable[Execution]") -> "Iterator[BulkResult]":
    """Sends the executions of one service after another, which needs no rights on others."""
    of_service: dict[str, list[str]] = {}
    for execution in chosen:
        of_service.setdefault(execution["service_name"], []).append(execution["execution_id"])
    for service_name, ids in of_service.items():
        more: str | None = None
        while True:
            answer = act.send(service_name, ids, more)
            yield from answer["results"]
            more = answer["paging"].get("more")
            if more is None:
                break


def _wanted(found: "Iterator[Execution]", newest_per_job: bool, again: bool) -> "Iterator[Execution]":
    seen = set()
    for execution in found:
        if execution["job_guid"] in seen and newest_per_job:
            continue
        seen.add(execution["job_guid"])
        if again or not execution.get("reruns"):
            yield execution
