"""The exit codes of ``sjm``. docs/cli.md has the table for users."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why ``sjm`` ended. Codes 1 and 3 to 5 say how an execution ended, if one was followed."""

    SUCCESS = 0
    FAIL = 1
    USAGE = 2
    TIMEOUT = 3
    CANCELLED = 4
    SKIPPED = 5
    REFUSED = 10
    NO_ANSWER = 11
    BROKEN = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


NOT_ENDED = ("waiting", "running")
BY_STATUS = {
    "success": ExitCode.SUCCESS,
    "fail": ExitCode.FAIL,
    "timeout": ExitCode.TIMEOUT,
    "cancelled": ExitCode.CANCELLED,
    "skipped": ExitCode.SKIPPED,
}
