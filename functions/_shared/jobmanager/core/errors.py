"""All errors of the project. The state machines match them by class name, so a rename is a breaking change.

ManagerError
├── SettingMissing            a function was deployed without an environment variable
├── AwsCallFailed             an AWS call failed after its retries; retrying the whole step may help
├── NotificationUndelivered   the service was unreachable, or answered 5xx or 429; retry
├── AnswerNotRecorded         a sync job's answer arrived but could not be recorded; do not call again
├── TickIncomplete            some jobs of a tick were not started; deliver the tick again
├── ReconcileIncomplete       some rules were not checked or repaired; reconcile again
└── Refused                   the caller must act; the API returns it as an RFC 9457 problem
    ├── BadRequest            400
    ├── Forbidden             403
    ├── NotFound              404
    ├── Conflict              409; subclasses: ScheduleLimitReached, ManagedElsewhere
    ├── Gone                  410
    ├── PreconditionFailed    412
    ├── UnsupportedMediaType  415
    ├── TargetTestFailed      422
    └── Contended             503; concurrent changes to the same item kept winning; retry
"""

import json
from typing import Any, TypedDict

_MAX_ERRORS = 100
_MAX_ERRORS_CHARACTERS = 64 * 1024
_MAX_POINTER_CHARACTERS = 256
_MAX_DETAIL_CHARACTERS = 1024


class FieldError(TypedDict):
    """One error in a request body: where it is (RFC 6901 JSON Pointer), and what was expected."""

    pointer: str
    detail: str


def pointer_to(*steps: object) -> str:
    """Builds the RFC 6901 JSON Pointer from names and indexes."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


class ManagerError(Exception):
    """The base of all errors that this project raises on purpose."""


class SettingMissing(ManagerError):
    """An environment variable that the function needs is not set."""


class AwsCallFailed(ManagerError):
    """An AWS call failed after the SDK's own retries."""


class NotificationUndelivered(ManagerError):
    """The service was not reached, or asked for a retry: after ``retry_after_seconds``, if it said when."""

    def __init__(self, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AnswerNotRecorded(ManagerError):
    """A sync job's answer could not be recorded. Its service has done the work, so do not call it again."""


class TickIncomplete(ManagerError):
    """Some jobs of a tick were not started."""


class ReconcileIncomplete(ManagerError):
    """Some rules were not checked, or not repaired."""


class Refused(ManagerError):
    """A refused request: ``detail`` says why, and what would be accepted.

    ``extra`` holds more members of the problem document, for instance ``errors``.
    """

    http_status = 400
    type = "about:blank"
    title = "Refused"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    def document(self) -> dict[str, Any]:
        """The refusal as JSON, for the next state of a state machine; :func:`refusal_of` reads it."""
        return {"refused": type(self).__name__, "detail": self.detail, "extra": self.extra}


class BadRequest(Refused):
    """The request is malformed.

    An answer has at most 100 ``errors``, and long ones are cut. ``more_errors`` says how many are left out.
    """

    http_status = 400
    type = "/problems/bad-request"
    title = "The request does not fit the API"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(_shortened(detail, _MAX_DETAIL_CHARACTERS), **_bounded(extra))


def counted(count: int, of_what: str, state: str) -> str:
    """Returns for instance ``1 field is unknown``, or ``2 fields are unknown``."""
    return f"{count} {of_what} is {state}" if count == 1 else f"{count} {of_what}s are {state}"


def _bounded(extra: dict[str, Any]) -> dict[str, Any]:
    errors = extra.get("errors", [])
    shown: list[FieldError] = []
    size = 0
    for error in errors[:_MAX_ERRORS]:
        pointer = _shortened(error["pointer"], _MAX_POINTER_CHARACTERS)
        shorter = FieldError(pointer=pointer, detail=_shortened(error["detail"], _MAX_DETAIL_CHARACTERS))
        size += len(json.dumps(shorter))
        if shown and size > _MAX_ERRORS_CHARACTERS:
            break
        shown.append(shorter)
    left_out = extra.get("more_errors", 0) + len(errors) - len(shown)
    return extra | ({"errors": shown} if shown else {}) | ({"more_errors": left_out} if left_out else {})


def _shortened(text: str, most: int) -> str:
    """Cuts a long text, and a JSON Pointer never within an escape such as ``~1``."""
    return text if len(text) <= most else text[: most - 1].rstrip("~") + "…"


class Forbidden(Refused):
    """The caller did not prove that it may do this."""

    http_status = 403
    type = "/problems/forbidden"
    title = "Not allowed"


class NotFound(Refused):
    """The path names something that does not exist."""

    http_status = 404
    type = "/problems/not-found"
    title = "Not found"


class Conflict(Refused):
    """The request conflicts with the current state."""

    http_status = 409
    type = "/problems/conflict"
    title = "Not as things stand"


class ScheduleLimitReached(Conflict):
    """A new unique schedule would need a rule beyond the limit."""

    type = "/problems/schedule-limit"
    title = "There may be no more schedules"


class ManagedElsewhere(Conflict):
    """The job is defined as code; ``managed_by`` says where."""

    type = "/problems/managed-elsewhere"
    title = "The job is managed elsewhere"


class Gone(Refused):
    """The path names an execution or an attempt that has ended."""

    http_status = 410
    type = "/problems/execution-over"
    title = "The execution is over"


class PreconditionFailed(Refused):
    """The version of the job or the limit does not fit the request's If-Match or If-None-Match."""

    http_status = 412
    type = "/problems/precondition-failed"
    title = "It has changed meanwhile"


class UnsupportedMediaType(Refused):
    """The body is not JSON."""

    http_status = 415
    type = "/problems/unsupported-media-type"
    title = "The body must be JSON"


class TargetTestFailed(Refused):
    """The target of a job failed its test; ``seen`` says how it responded."""

    http_status = 422
    type = "/problems/target-test-failed"
    title = "The target does not take notifications"


class Contended(Refused):
    """Concurrent changes to the same item kept winning. The state machines retry this error."""

    http_status = 503
    type = "/problems/contended"
    title = "Others are changing the same"

    def __init__(self, cause: str) -> None:
        super().__init__(f"{cause} Repeat the request a little later.")


def refusal_of(document: dict[str, Any]) -> Refused:
    """The inverse of :meth:`Refused.document`."""
    refusal: Refused = globals()[document["refused"]](document["detail"], **document["extra"])
    return refusal
