"""Why an execution waits, was skipped, or was not continued: a code for filters, a sentence for people."""

from typing import Literal, TypedDict, get_args

type Code = Literal[
    "chain_too_deep",
    "job_deleted",
    "job_disabled",
    "job_paused",
    "limit_reached",
    "lock_held",
    "lock_lost",
    "not_active_then",
    "parents_changed",
    "queue_full",
    "schedule_changed",
    "started_too_late",
    "superseded",
]

CODES: tuple[str, ...] = get_args(Code.__value__)


class Reason(TypedDict):
    """The reason of a wait, a skip, or a cancellation by the manager; ``detail`` is a sentence for people."""

    code: Code
    detail: str
