"""What a job does if it is due while it runs, in words."""

from collections.abc import Mapping
from typing import Any

from sjm.review.fields import overlap_of

CHOICES = (
    ("allow", "allow: both run"),
    ("skip", "skip: the new one is skipped"),
    ("queue_one", "queue_one: the newest one waits"),
    ("queue_all", "queue_all: all wait, in order"),
    ("cancel_running", "cancel_running: the running one is cancelled"),
)
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
    return dict(CHOICES).get(kind, kind).partition(": ")[2] or kind


def of_a_new_one(job: Mapping[str, Any]) -> str:
    """What becomes of an execution that somebody starts while another one holds the lock of the job."""
    return _NEW_ONE.get(overlap_of(job), "")
