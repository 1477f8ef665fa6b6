"""What went wrong, as sentences for the user and an exit code. A mistake never shows a trace."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from sjm.cli.exits import ExitCode

if TYPE_CHECKING:
    from sjm.client import ManagerError, Problem


class Failure(Exception):
    """Ends ``sjm`` with a sentence on stderr and an exit code."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.FAIL) -> None:
        super().__init__(sentence)
        self.code = code


def failure_of(error: "ManagerError") -> Failure:
    """The sentences and the exit code for an error of the client."""
    from sjm.client import NoAnswer, Problem

    if isinstance(error, NoAnswer):
        return Failure(str(error), ExitCode.NO_ANSWER)
    if isinstance(error, Problem):
        code = ExitCode.NO_ANSWER if may_be_repeated(error) else ExitCode.REFUSED
        return Failure("\n".join([sentence_of(error), *_details(error)]), code)
    return Failure(str(error), ExitCode.REFUSED)


def may_be_repeated(problem: "Problem") -> bool:
    """Whether the same request may be answered another time."""
    status = problem.status
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def sentence_of(error: "ManagerError") -> str:
    """What went wrong, in one line."""
    from sjm.client import Problem

    if not isinstance(error, Problem):
        return str(error)
    if error.type == "about:blank":  # the detail may be a word
        return f"{error.status} {error.title}: {error.detail}"
    return f"{error.detail or error.title} ({error.status})"


def _details(problem: "Problem") -> list[str]:
    """What else the document tells, a line each."""
    document = problem.document
    lines = [f"  {each['pointer'] or 'body'}: {each['detail']}" for each in problem.errors]
    if "more_errors" in document:
        lines.append(f"  and {document['more_errors']} more errors")
    if seen := document.get("seen"):
        lines.append("  seen: " + ", ".join(f"{name} {value}" for name, value in seen.items()))
    if near := document.get("nearest_schedules"):
        lines.append("  Schedules in use that are near: " + ", ".join(near))
    if "request_id" in document:
        lines.append(f"  request_id: {document['request_id']}")
    return lines
