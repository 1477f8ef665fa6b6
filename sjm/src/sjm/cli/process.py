"""Runs ``sjm`` as a process: its arguments, its exit code, Ctrl-C, and a closed pipe."""

import getpass
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.exceptions import Exit

from sjm.cli.app import app
from sjm.cli.command import Session
from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure, failure_of
from sjm.cli.printable import printable

COMPLETION_VARIABLE = "_SJM_COMPLETE"
TRACE_VARIABLE = "SJM_TRACE"


def run(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and ends the process."""
    if COMPLETION_VARIABLE in os.environ:
        # botocore asks for the code of an MFA device by it. Nobody expects a question after Tab.
        getpass.getpass = _asks_nobody
        app.main(prog_name="sjm", complete_var=COMPLETION_VARIABLE)
    for stream in (sys.stdout, sys.stderr):
        # A terminal may not know each character that a service has written.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = exit_code(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.PIPE_CLOSED
    sys.exit(code)


def _asks_nobody(*_: Any, **__: Any) -> str:
    raise EOFError


def exit_code(arguments: Sequence[str]) -> int:
    """Runs the command, and returns its exit code. Raises BrokenPipeError."""
    session = Session()
    try:
        _refuse_bytes(arguments)
        with app.make_context("sjm", list(arguments), obj=session) as context:
            app.invoke(context)
        return session.exit_code
    except Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        failure = _failure(error)
        sys.stderr.write(f"Error: {printable(str(failure))}\n")
        return failure.code
    finally:
        session.stage.close()


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Python keeps bytes that are not UTF-8 as what cannot be sent."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise Failure(f"{argument!r} is not text in UTF-8.", ExitCode.USAGE) from None


def _failure(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    from sjm.client import ManagerError

    if isinstance(error, ManagerError):
        return failure_of(error)
    if os.environ.get(TRACE_VARIABLE):
        raise error
    if isinstance(error, OSError):  # a disk that is full, for example
        return Failure(str(error), ExitCode.FAIL)
    return Failure(
        f"sjm failed, which is its own mistake: {type(error).__name__}: {error}. Please report it, with what"
        f" `{TRACE_VARIABLE}=1 sjm …` prints.",
        ExitCode.BROKEN,
    )
