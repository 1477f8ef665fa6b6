"""What the client raises. Catch ``ManagerError`` for all of it, or ``Problem`` for what the API refuses."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from sjm.client.types import FieldError, ProblemDocument


class ManagerError(Exception):
    """The base of all errors of the client."""


class NotConfigured(ManagerError):
    """The client does not know where the API is, or who calls it. The message says what to set."""


class NoAnswer(ManagerError):
    """The API did not answer.

    ``may_have_acted`` is false if the request certainly did not arrive. If it is true, look at the state of
    the job or the execution before you repeat the call.
    """

    def __init__(self, message: str, *, may_have_acted: bool) -> None:
        super().__init__(message)
        self.may_have_acted = may_have_acted


class UnexpectedAnswer(ManagerError):
    """The answer is not one of the API: for example, the page of a proxy, or JSON of another form."""

    def __init__(self, message: str, status: int, content: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.content = content


class Problem(ManagerError):
    """The API refused the request, or failed. ``document`` is the RFC 9457 problem that it sent.

    API Gateway itself sends no such document, for example if it throttles. Then ``type`` is ``about:blank``,
    and ``detail`` is its message.
    """

    def __init__(self, document: ProblemDocument, request: str = "") -> None:
        self.document = document
        self.request = request
        fields = "".join(f"; {each['pointer'] or 'body'}: {each['detail']}" for each in self.errors)
        more = f"; and {document['more_errors']} more errors" if "more_errors" in document else ""
        at = f" ({request})" if request else ""
        super().__init__(f"{self.status} {self.title}: {self.detail}{fields}{more}{at}")

    @property
    def type(self) -> str:
        """What kind of problem it is, such as ``/problems/not-found``. Its meaning never changes."""
        return self.document["type"]

    @property
    def title(self) -> str:
        """The same for every problem of the type."""
        return self.document["title"]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.document["status"]

    @property
    def detail(self) -> str:
        """What is wrong, and what to do."""
        return self.document["detail"]

    @property
    def errors(self) -> list[FieldError]:
        """What is wrong with which field. Only a ``BadRequest`` or a ``TargetTestFailed`` has some."""
        return self.document.get("errors", [])


class BadRequest(Problem):
    """400: the request does not fit the API; ``errors`` names the fields."""


class Forbidden(Problem):
    """403: the caller may not do this, or its signature is not valid."""


class NotFound(Problem):
    """404: what the request names does not exist."""


class Conflict(Problem):
    """409: the request does not fit how things stand. For example, another execution holds the lock."""


class ScheduleLimitReached(Conflict):
    """409: the stage has no room for one more schedule; ``document["nearest_schedules"]`` are in use."""


class ManagedElsewhere(Conflict):
    """409: the job is defined as code, in ``document["managed_by"]``."""


class ExecutionOver(Problem):
    """410: the execution or its attempt is over. Stop working on it."""


class PreconditionFailed(Problem):
    """412: the job has changed; ``document["version"]`` is its version now."""


class UnsupportedMediaType(Problem):
    """415: the body is not JSON."""


class TargetTestFailed(Problem):
    """422: the target does not take notifications; ``document["seen"]`` is what it did."""


class Throttled(Problem):
    """429: the stage gets more requests than it takes."""


class InternalError(Problem):
    """500: the manager failed."""


class Unavailable(Problem):
    """503: there was no answer in time."""


class Contended(Unavailable):
    """503: others are changing the same job. Nothing was done."""


BY_TYPE: dict[str, type[Problem]] = {
    "/problems/bad-request": BadRequest,
    "/problems/conflict": Conflict,
    "/problems/contended": Contended,
    "/problems/execution-over": ExecutionOver,
    "/problems/forbidden": Forbidden,
    "/problems/internal-error": InternalError,
    "/problems/managed-elsewhere": ManagedElsewhere,
    "/problems/not-found": NotFound,
    "/problems/precondition-failed": PreconditionFailed,
    "/problems/schedule-limit": ScheduleLimitReached,
    "/problems/target-test-failed": TargetTestFailed,
    "/problems/unsupported-media-type": UnsupportedMediaType,
}
# For what API Gateway sends itself, and for types that a newer stage may have.
BY_STATUS: dict[int, type[Problem]] = {
    400: BadRequest,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: ExecutionOver,
    412: PreconditionFailed,
    415: UnsupportedMediaType,
    422: TargetTestFailed,
    429: Throttled,
    500: InternalError,
    503: Unavailable,
}

_REQUIRED = {"type": str, "title": str, "detail": str}


def problem_of(status: int, body: Any, request: str) -> Problem:
    """The error for an answer with this status and this parsed body. ``body`` is None if it is not JSON."""
    if isinstance(body, Mapping) and all(
        isinstance(body.get(name), kind) for name, kind in _REQUIRED.items()
    ):
        # Old or broken copies of the status in the body do not matter: the one that was sent counts.
        document = cast(ProblemDocument, {**body, "status": status})
        if not isinstance(document.get("errors", []), list):
            del document["errors"]
    else:
        document = _of_gateway(status, body)
    kind = BY_TYPE.get(document["type"]) or BY_STATUS.get(status) or Problem
    return kind(document, request)


def _of_gateway(status: int, body: Any) -> ProblemDocument:
    """A document for an answer that has none, as RFC 9457 defines ``about:blank``."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Unknown status"
    message = body.get("message") if isinstance(body, Mapping) else None
    detail = message if isinstance(message, str) and message else "the answer does not say why"
    if status == HTTPStatus.FORBIDDEN:
        detail += ". Expected a signature of credentials that may execute-api:Invoke this route"
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}
