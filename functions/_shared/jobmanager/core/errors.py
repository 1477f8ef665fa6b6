"""The family of errors. The state machines match them by class name: renaming one is a breaking change.

ManagerError
├── SettingMissing            a function was deployed without an environment variable
├── AwsCallFailed             an AWS call failed, after its retries; doing the step again may help
├── NotificationUndelivered   the service could not be reached, or answered 5xx or 429; try again
├── AnswerNotRecorded         a sync job's answer came, and could not be written; not to be called again
├── TickIncomplete            not every job of a tick could be started; deliver the tick again
├── ReconcileIncomplete       not every rule could be looked at or made right; reconcile again
└── Refused                   for the caller to act on, answered as RFC 9457 problem
    ├── BadRequest            400
    ├── Forbidden             403
    ├── NotFound              404
    ├── Conflict              409; ScheduleLimitReached and ManagedElsewhere are two
    ├── Gone                  410
    ├── PreconditionFailed    412
    ├── UnsupportedMediaType  415
    ├── TargetTestFailed      422
    └── Contended             503; others kept changing the same job first, doing it again helps
"""

from typing import Any, TypedDict


class FieldError(TypedDict):
    """One thing that is wrong with a body: where (RFC 6901 JSON Pointer), and what was expected."""

    pointer: str
    detail: str


def pointer_to(*steps: object) -> str:
    """The RFC 6901 JSON Pointer of these names and indexes."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


class ManagerError(Exception):
    """Anything that this project raises on purpose."""


class SettingMissing(ManagerError):
    """An environment variable that the function needs is not set."""


class AwsCallFailed(ManagerError):
    """An AWS call failed after the SDK's own retries."""


class NotificationUndelivered(ManagerError):
    """The service was not reached, or asked to be tried again later: if it said when, in some seconds."""

    def __init__(self, message: str, retry_after_seconds: float = 0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AnswerNotRecorded(ManagerError):
    """A sync job's service did its work, and its answer could not be recorded: once more would be twice."""


class TickIncomplete(ManagerError):
    """Some jobs of a tick were not started."""


class ReconcileIncomplete(ManagerError):
    """Some rules were not looked at, or not made right."""


class Refused(ManagerError):
    """A request that is refused: ``detail`` says why, and what would be accepted.

    ``extra`` holds further members of the problem document, for instance ``errors``.
    """

    http_status = 400
    type = "about:blank"
    title = "Refused"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    def document(self) -> dict[str, Any]:
        """The refusal as JSON, as the steps of a state machine hand it on; see :func:`refused`."""
        return {"refused": type(self).__name__, "detail": self.detail, "extra": self.extra}


class BadRequest(Refused):
    """The request does not have the form that the API describes."""

    http_status = 400
    type = "/problems/bad-request"
    title = "The request does not fit the API"


class Forbidden(Refused):
    """The caller has not shown that it may do this."""

    http_status = 403
    type = "/problems/forbidden"
    title = "Not allowed"


class NotFound(Refused):
    """What the path names does not exist."""

    http_status = 404
    type = "/problems/not-found"
    title = "Not found"


class Conflict(Refused):
    """What is asked for does not go together with how things stand."""

    http_status = 409
    type = "/problems/conflict"
    title = "Not as things stand"


class ScheduleLimitReached(Conflict):
    """A new unique schedule would need one rule more than there may be."""

    type = "/problems/schedule-limit"
    title = "There may be no more schedules"


class ManagedElsewhere(Conflict):
    """The job is defined as code; ``managed_by`` says where."""

    type = "/problems/managed-elsewhere"
    title = "The job is managed elsewhere"


class Gone(Refused):
    """What the path names is over."""

    http_status = 410
    type = "/problems/execution-over"
    title = "The execution is over"


class PreconditionFailed(Refused):
    """The job is not at the version that If-Match or If-None-Match names."""

    http_status = 412
    type = "/problems/precondition-failed"
    title = "The job has changed meanwhile"


class UnsupportedMediaType(Refused):
    """The body is not JSON."""

    http_status = 415
    type = "/problems/unsupported-media-type"
    title = "The body must be JSON"


class TargetTestFailed(Refused):
    """The target of a job was tried, and does not take notifications; ``seen`` says what it did."""

    http_status = 422
    type = "/problems/target-test-failed"
    title = "The target does not take notifications"


class Contended(Refused):
    """Others kept winning the transaction on the same job. Also the state machines retry it."""

    http_status = 503
    type = "/problems/contended"
    title = "Others are changing the same"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} Repeat the request a little later.")


def refused(document: dict[str, Any]) -> Refused:
    """The refusal of which this is the :meth:`Refused.document`."""
    refusal: Refused = globals()[document["refused"]](document["detail"], **document["extra"])
    return refusal
