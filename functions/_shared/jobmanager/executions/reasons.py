"""Why an execution was skipped, or not continued: a code for counters and filters, a sentence for people."""

from typing import Literal, TypedDict, get_args

type Code = Literal[
    "chain_too_deep",
    "job_deleted",
    "job_disabled",
    "job_paused",
    "lock_held",
    "lock_lost",
    "not_active_then",
    "parents_changed",
    "schedule_changed",
    "started_too_late",
]

CODES: tuple[str, ...] = get_args(Code.__value__)


class Reason(TypedDict):
    """The reason of a skip, or of a cancellation by the manager; ``detail`` is a sentence for people."""

    code: Code
    detail: str
