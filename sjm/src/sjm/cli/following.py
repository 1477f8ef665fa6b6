"""Follows an execution to its end."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sjm.cli import times
from sjm.cli.command import Session
from sjm.cli.describe import job_of, percent, took, waits_since, why
from sjm.cli.exits import BY_STATUS, NOT_ENDED, ExitCode
from sjm.cli.failures import may_be_repeated, sentence_of
from sjm.cli.names import short_id
from sjm.cli.output import console_of
from sjm.cli.printable import printable_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sjm.client import Execution, ManagerError

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 5.0
_GROWTH = 1.5
# A network may be away for so long while a laptop changes it.
PATIENCE_SECONDS = 300.0


def until_end(
    first: "Execution",
    read: "Callable[[], Execution]",
    on_change: "Callable[[Execution], None]",
    on_trouble: "Callable[[ManagerError], None]",
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> "Execution":
    """Reads an execution until it has ended, and returns it.

    It waits a second before it reads again, and longer while nothing changes, up to 5 seconds. It goes on if
    the API does not answer, and raises the error after 5 minutes of that.
    """
    from sjm.client import ManagerError

    execution, wait = first, FIRST_WAIT_SECONDS
    silent_since: float | None = None
    on_change(execution)
    while execution["status"] in NOT_ENDED:
        sleep(wait)
        try:
            found = read()
        except ManagerError as error:
            now = clock()
            silent_since = now if silent_since is None else silent_since
            if not _may_pass(error) or now - silent_since >= PATIENCE_SECONDS:
                raise
            on_trouble(error)
            wait = LONGEST_WAIT_SECONDS
            continue
        silent_since = None
        if found == execution:
            wait = min(wait * _GROWTH, LONGEST_WAIT_SECONDS)
        else:
            wait = FIRST_WAIT_SECONDS
            execution = found
            on_change(execution)
    return execution


def _may_pass(error: "ManagerError") -> bool:
    from sjm.client import NoAnswer, Problem, UnexpectedAnswer

    if isinstance(error, Problem):
        return may_be_repeated(error)
    return isinstance(error, NoAnswer | UnexpectedAnswer)


def follow(session: Session, first: "Execution") -> None:
    """Shows an execution until it has ended, then its outcome, which becomes the exit code.

    ``jsonl`` writes the execution after each change, and ``json`` only its end.
    """
    job, name = job_of(first), short_id(first["execution_id"])
    output = session.output

    def read() -> "Execution":
        return session.manager.get_execution(*job, first["execution_id"])

    with ExitStack() as showing:
        shown = _shown(session, f"{job} {name}", showing)

        def change(execution: "Execution") -> None:
            shown.change(execution)
            if output.format == "jsonl":
                output.document(execution)
                sys.stdout.flush()

        try:
            ended = until_end(first, read, change, shown.trouble)
        except BaseException:
            showing.close()
            output.message(
                f"The execution goes on. Watch it: sjm executions watch {job} {name}\n"
                f"Cancel it: sjm executions cancel {job} {name}"
            )
            raise
    if output.format == "json":
        output.document(ended)
    elif output.format == "table":
        output.text(outcome_of(ended))
    if ended["status"] in ("fail", "timeout"):
        output.message(f"Rerun it: sjm executions rerun {job} {name}")
    session.exit_code = BY_STATUS.get(ended["status"], ExitCode.FAIL)


def outcome_of(execution: "Execution") -> str:
    """How an execution ended, in one line."""
    after = f" after {took(execution)}" if took(execution) else ""
    text = why(execution)
    return printable_line(f"{execution['status']}{after}" + (f": {text}" if text else ""))


def _shown(session: Session, title: str, showing: ExitStack) -> "_Lines | _Live":
    if sys.stderr.isatty() and session.output.format == "table":
        live = _Live(session, title)
        showing.enter_context(live.live)
        return live
    return _Lines(session)


def progress_of(session: Session, execution: "Execution") -> list[str]:
    """How an execution stands, in a few words each."""
    parts: list[str] = [execution["status"]]
    if execution["status"] == "waiting":
        parts += filter(None, (waits_since(session, execution), why(execution)))
    if execution["status"] == "running":
        attempt = execution.get("attempt", 1)
        if "next_attempt_at" in execution:
            at = session.shown(times.of_iso(execution["next_attempt_at"]))
            parts.append(f"attempt {attempt} failed, the next is at {at}")
        elif attempt > 1:
            parts.append(f"attempt {attempt}")
        if "service_invoked_at_ms" not in execution:
            parts.append("not notified yet")
        if "progress" in execution:
            parts.append(percent(execution["progress"]))
        if text := why(execution):
            parts.append(text)
    return [printable_line(part) for part in parts]


class _Lines:
    """One line for each change, on stderr."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: Execution | None = None

    def change(self, execution: "Execution") -> None:
        parts, before = progress_of(self._session, execution), self._last
        if before and parts == progress_of(self._session, before) and _is_heartbeat(before, execution):
            parts.append("heartbeat")
        self._last = execution
        self._write("  ".join(parts))

    def trouble(self, error: "ManagerError") -> None:
        self._write(f"{sentence_of(error)} Trying again.")

    def _write(self, text: str) -> None:
        from datetime import UTC, datetime

        self._session.output.message(f"{self._session.shown(datetime.now(UTC))}  {text}")


class _Live:
    """One line on a terminal that moves while the execution runs."""

    def __init__(self, session: Session, title: str) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._session = session
        self._title = title
        self._began = time.monotonic()
        self._beat: float | None = None
        self._execution: Execution | None = None
        self._trouble = ""
        self._spinner = Spinner("dots")
        self.live: Live = Live(
            get_renderable=self._line, console=console_of(sys.stderr), transient=True, refresh_per_second=8
        )

    def change(self, execution: "Execution") -> None:
        if self._execution and _is_heartbeat(self._execution, execution):
            self._beat = time.monotonic()
        self._execution, self._trouble = execution, ""
        self.live.refresh()

    def trouble(self, error: "ManagerError") -> None:
        self._trouble = f"{sentence_of(error)} Trying again."

    def _line(self) -> "RenderableType":
        from rich.text import Text

        now = time.monotonic()
        parts = [self._title, *(progress_of(self._session, self._execution) if self._execution else [])]
        if self._beat is not None:
            parts.append(f"heartbeat {times.span(now - self._beat)} ago")
        parts += [times.span(now - self._began), printable_line(self._trouble)]
        self._spinner.text = Text("  ".join(filter(None, parts)), no_wrap=True, overflow="ellipsis")
        return self._spinner


def _is_heartbeat(before: "Execution", now: "Execution") -> bool:
    """The manager moves the end of the lock with each heartbeat."""
    return (
        before["status"] == now["status"] == "running"
        and before.get("attempt") == now.get("attempt")
        and before.get("lock_expires_at") != now.get("lock_expires_at")
    )
