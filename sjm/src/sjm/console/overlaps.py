"""What a job does if it is due while it runs, in words."""

from collections.abc import Mapping
from typing import Any

from sjm.review.fields import overlap_of

_IN_WORDS = {
    "allow": "both run",
    "skip": "the new one is skipped",
    "queue_one": "the newest one waits",
    "queue_all": "all wait, in order",
    "cancel_running": "the running one is cancelled",
}
CHOICES = tuple((kind, f"{kind}: {said}") for kind, said in _IN_WORDS.items())
"""The kinds for the form of a job, each with its words."""

_NEW_ONE = {
    "skip": "The manager refuses a new one until that one ends.",
    "queue_one": "A new one waits until that one ends. If one waits already, only the newest stays.",
    "queue_all": "A new one waits until that one ends, after those that wait already.",
    "cancel_running": "If you run a new one, that one is cancelled.",
}


def in_words(job: Mapping[str, Any]) -> str:
    """What a job does if it is due while it runs."""
    kind = overlap_of(job)
    return _IN_WORDS.get(kind, kind)


def of_a_new_one(job: Mapping[str, Any]) -> str:
    """What becomes of an execution that somebody starts while another one holds the lock of the job."""
    return _NEW_ONE.get(overlap_of(job), "")
