"""``sjm jobs apply``, also ``sjm apply``: makes the jobs of a stage those of a file, after a review."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sjm.cli.command import Command, Session, pass_session
from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure
from sjm.cli.reviews import show_review, show_unknown, write_line

if TYPE_CHECKING:
    from sjm.cli.output import Output
    from sjm.review.apply import Change, Plan, Result
    from sjm.review.jobs_file import FileJob

_STDIN = "-"
_DONE = {"create": "created", "change": "changed", "delete": "deleted"}


@click.command("apply", cls=Command)
@click.option(
    "-f",
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    required=True,
    help="A YAML file of jobs; - is standard input. You may repeat it.",
)
@click.option(
    "--check", "--dry-run", "is_check", is_flag=True, help="Change nothing; exit 1 if anything would change."
)
@click.option("--prune", is_flag=True, help="Also delete the other jobs of the services in the files.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def apply(session: Session, files: Sequence[str], is_check: bool, prune: bool, yes: bool) -> None:
    """Make the jobs of the stage those of a file, after a review.

    First it shows what changes, when each changed job fires next, how many other jobs share that minute, and
    dollars a month. Then it asks. A field that the file does not name goes back to its default.
    """
    from sjm.review.apply import plan

    if not (yes or is_check) and (session.output.format != "table" or _STDIN in files or not _can_ask()):
        raise Failure(
            "Nobody can answer questions here. Pass --yes, or --check to change nothing.", ExitCode.USAGE
        )
    found = plan(session.manager, _read(files), prune)
    if found.errors:
        _refuse([str(error) for error in found.errors])
    shown = session.output
    if shown.format == "table":
        _show(shown, found)
    wanted = [*found.puts, *found.deletions]
    results = [] if is_check else _results(session, found, yes)
    if shown.format != "table":
        _write_documents(shown, found, results)
    failed = [result for result in results if result.error is not None]
    if failed:
        raise Failure(
            f"{len(failed)} of {len(results)} changes failed:"
            f" {', '.join(result.change.review.key for result in failed[:20])}"
            f"{' and others' if len(failed) > 20 else ''}."
        )
    if is_check and wanted:
        raise click.exceptions.Exit(ExitCode.FAIL)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _read(files: Sequence[str]) -> "list[FileJob]":
    """The jobs of all files. Tells everything that is wrong with them at once."""
    from sjm.review.jobs_file import MAX_BYTES, WrongFile, read_jobs, twice

    jobs: list[FileJob] = []
    errors: list[str] = []
    for file in files:
        try:
            if file == _STDIN:
                content = sys.stdin.buffer.read(MAX_BYTES + 1)
            else:
                with Path(file).open("rb") as opened:
                    content = opened.read(MAX_BYTES + 1)
        except OSError as error:
            errors.append(f"{file}: {error.strerror}")
            continue
        try:
            jobs += read_jobs(content, "standard input" if file == _STDIN else file)
        except WrongFile as wrong:
            errors += [str(error) for error in wrong.errors]
    errors += [] if errors else [str(error) for error in twice(jobs)]
    if errors:
        _refuse(errors)
    return jobs


def _refuse(errors: Sequence[str]) -> None:
    raise Failure("\n".join(["The file is not valid, so nothing was changed.", *errors]), ExitCode.USAGE)


def _show(output: "Output", plan: "Plan") -> None:
    from sjm.review.text import Line, summary

    for change in plan.changes:
        show_review(output, change.review)
        if change.refusal is not None:
            write_line(output, Line("warning", f"    cannot be changed here: {change.refusal}"))
    show_unknown(output, plan.unknown)
    write_line(output, summary([change.review for change in plan.changes]))


def _results(session: Session, plan: "Plan", yes: bool) -> "list[Result]":
    """Asks for the jobs to put, then for those to delete, and makes what was agreed to."""
    results: list[Result] = []
    for changes, question in (
        (plan.puts, f"Create or change {len(plan.puts)} jobs?"),
        (plan.deletions, f"Delete {len(plan.deletions)} jobs, which the file does not have?"),
    ):
        possible = [change for change in changes if change.refusal is None]
        if possible and not (yes or click.confirm(question, err=True)):
            session.output.message("Not done.")
            continue
        results += _made(session, changes)
    return results


def _made(session: Session, changes: "Sequence[Change]") -> "list[Result]":
    from sjm.review.apply import made
    from sjm.review.text import Line

    results = []
    for result in made(session.manager, changes):
        results.append(result)
        key, action = result.change.review.key, result.change.review.action
        if session.output.format != "table":
            continue
        if result.error is not None:
            write_line(session.output, Line("delete", f"{key}: not {_DONE[action]}: {result.error}"))
            continue
        write_line(session.output, Line("detail", f"{key}: {_DONE[action]}"))
        for warning in result.warnings:
            write_line(session.output, Line("warning", f"{key}: warning: {warning}"))
    return results


def _write_documents(output: "Output", plan: "Plan", results: "Sequence[Result]") -> None:
    """One document for each job: its review, and how its change went."""
    by_key = {result.change.review.key: result for result in results}
    output.rows((_document(change, by_key.get(change.review.key)) for change in plan.changes), (), "")
    show_unknown(output, plan.unknown)


def _document(change: "Change", result: "Result | None") -> dict[str, Any]:
    document = change.review.document()
    if change.refusal is not None:
        document["refused"] = change.refusal
    if result is not None:
        document["result"] = "failed" if result.error is not None else _DONE[change.review.action]
        document |= {} if result.error is None else {"error": result.error}
        document |= {"warnings": list(result.warnings)} if result.warnings else {}
    return document
