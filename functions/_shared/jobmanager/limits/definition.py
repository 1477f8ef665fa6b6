"""A limit that several jobs of a service share, as it is stored and as the API shows it."""

from typing import NotRequired, TypedDict


class LimitDefinition(TypedDict):
    """The part of a limit that a PUT sets: one of ``slots`` and ``per_second``, or both.

    ``slots``: at most so many executions run at once. ``per_second``: at most so many notifications are sent
    in a second.
    """

    slots: NotRequired[int]
    per_second: NotRequired[int]
    description: NotRequired[str]


class Limit(LimitDefinition):
    """A limit as it is stored; docs/data-model.md describes each attribute."""

    service_name: str
    limit_name: str
    version: int
    created_at: str
    updated_at: str
    updated_by: str
    holders: NotRequired[set[str]]
    waiting_count: NotRequired[int]
    next_start_ms: NotRequired[int]
    next_call_ms: NotRequired[int]


DEFINITION_FIELDS = ("slots", "per_second", "description")


def waiting_count(limit: Limit) -> int:
    """Returns how many executions wait for a slot."""
    return limit.get("waiting_count", 0)


def free_slots(limit: Limit) -> int | None:
    """Returns how many slots nobody holds; None if the limit has no slots. Negative after a decrease."""
    return limit["slots"] - len(limit.get("holders", ())) if "slots" in limit else None
