"""Reruns many executions: shows them, asks, and tells how each went."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from sjm.cli.command import Session
from sjm.cli.describe import columns_of_executions, job_of
from sjm.cli.exits import ExitCode
from sjm.cli.failures import sentence_of
from sjm.cli.lists import LARGEST_PAGE
from sjm.cli.names import short_id
from sjm.cli.selection import Selection

if TYPE_CHECKING:
    from sjm.client import Execution, ManagerError


@dataclass(frozen=True)
class Result:
    """How the rerun of one execution went: ``rerun``, or why there is none."""

    execution: "Execution"
    rerun: "Execution | None" = None
    error: "ManagerError | None" = None

    def document(self) -> dict[str, Any]:
        """For programs."""
        from sjm.client import Problem

        document: dict[str, Any] = {"execution": self.execution, "rerun": self.rerun}
        if self.error is not None:
            document["error"] = sentence_of(self.error)
            document["problem"] = self.error.document if isinstance(self.error, Problem) else None
        return document

    def line(self) -> str:
        """For people."""
        name = f"{job_of(self.execution)} {short_id(self.execution['execution_id'])}"
        if self.rerun is not None:
            return f"{name} is rerun as {short_id(self.rerun['execution_id'])}."
        assert self.error is not None
        return f"{name} is not rerun: {sentence_of(self.error)}"


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
    output = session.output
    wanted = _wanted(iter(selection.listing(session, LARGEST_PAGE)), newest_per_job, again)
    chosen = list(islice(wanted, limit))
    if not chosen:
        output.message("There is nothing to rerun.")
        return
    if next(wanted, None) is not None:
        output.message(f"There are more than {limit}, of which these are the newest. See --limit.")
    if dry_run or output.format == "table":
        output.rows(chosen, columns_of_executions(session), "")
    if dry_run:
        output.message(f"Nothing was done. Without --dry-run, {_counted(len(chosen))} would be rerun.")
        return
    output.confirm(f"Rerun {_counted(len(chosen))}?", yes)
    refused = 0

    def results() -> Iterator[Result]:
        nonlocal refused
        for result in _rerun_each(session, reversed(chosen)):
            refused += result.error is not None
            yield result

    if output.format == "table":
        for result in results():
            output.text(result.line())
    else:
        output.rows((result.document() for result in results()), [], "")
    output.message(f"{len(chosen) - refused} of {_counted(len(chosen))} are rerun.")
    session.exit_code = ExitCode.FAIL if refused else ExitCode.SUCCESS


def _counted(count: int) -> str:
    return "1 execution" if count == 1 else f"{count} executions"


def _wanted(found: "Iterator[Execution]", newest_per_job: bool, again: bool) -> "Iterator[Execution]":
    seen = set()
    for execution in found:
        if execution["job_guid"] in seen and newest_per_job:
            continue
        seen.add(execution["job_guid"])
        if again or not execution.get("reruns"):
            yield execution


def _rerun_each(session: Session, chosen: "Iterator[Execution]") -> Iterator[Result]:
    from sjm.client import ManagerError, NotConfigured

    for execution in chosen:
        # The same command, given twice, reruns each once.
        key = f"sjm-rerun-{execution['execution_id']}-{len(execution.get('reruns', []))}"
        try:
            rerun = session.manager.rerun_execution(
                *job_of(execution), execution["execution_id"], idempotency_key=key
            )
        except NotConfigured:
            raise
        except ManagerError as error:
            yield Result(execution, error=error)
        else:
            yield Result(execution, rerun)
