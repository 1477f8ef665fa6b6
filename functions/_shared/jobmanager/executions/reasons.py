"""Why an execution was skipped, or not continued: a code for counters and filters, a sentence for people."""

from typing import Literal, TypedDict, get_args

type Code = Literal[
    "job_deleted",
    "job_disabled",
    "job_paused",
    "lock_held",
    "lock_lost",
    "not_active_then",
    "schedule_changed",
    "started_too_late",
]

CODES: tuple[str, ...] = get_args(Code.__value__)


class Reason(TypedDict):
    """The reason of a skip, or of a cancellation by the manager; ``detail`` is a sentence for people."""

    code: Code
    detail: str
