"""Why an execution did not notify its service: a code to count and filter by, and a sentence for people."""

from typing import Literal, TypedDict, get_args

type Code = Literal[
    "job_deleted",
    "job_disabled",
    "job_paused",
    "lock_held",
    "lock_lost",
    "schedule_changed",
    "started_too_late",
]

CODES: tuple[str, ...] = get_args(Code.__value__)


class Reason(TypedDict):
    """A code, and a sentence that says more."""

    code: Code
    detail: str
