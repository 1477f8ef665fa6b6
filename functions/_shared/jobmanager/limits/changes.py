"""Creates, replaces and deletes limits.

A change keeps what executions write meanwhile: the holders, how many wait, and when the next may start. A
change that lets waiting executions start has them started. A repeated request does so too, because the first
one may have failed after its write.
"""

from collections.abc import Callable
from typing import cast

from jobmanager.api.preconditions import Expected, check, is_repeated
from jobmanager.core.clock import iso
from jobmanager.core.errors import Conflict, Contended, NotFound
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.limits import store
from jobmanager.limits.definition import (
    DEFINITION_FIELDS,
    Limit,
    LimitDefinition,
    free_slots,
    waiting_count,
)
from jobmanager.limits.waiting import ask_for_starts

MAX_LIMITS = 100
"""How many limits a service may have. Limits that are created at once may exceed it."""

_MAX_SHOWN = 10
_MAX_TRIES = 8


def save(
    service_name: str,
    limit_name: str,
    defined: LimitDefinition,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
) -> tuple[Limit, bool]:
    """Creates the limit or replaces its definition; returns the limit, and whether it was created.

    The same definition again changes nothing, so a request is safe to repeat. Raises PreconditionFailed if
    the limit is not as ``expected``, Conflict if the service has too many limits, and Contended.
    """
    limit, created = _saved(service_name, limit_name, defined, updated_by, now_ms, expected or Expected())
    free = free_slots(limit)
    if waiting_count(limit) and (free is None or free > 0):
        ask_for_starts(service_name, limit_name)
    return limit, created


def _saved(
    service_name: str,
    limit_name: str,
    defined: LimitDefinition,
    updated_by: str,
    now_ms: int,
    expected: Expected,
) -> tuple[Limit, bool]:
    attempted: Limit | None = None
    for _ in tries(_MAX_TRIES):
        old = store.find(service_name, limit_name)
        if old is not None and attempted is not None and _is_written(attempted, old):
            return old, old["version"] == 1
        is_same = old is not None and picked(old, DEFINITION_FIELDS) == defined
        if old is not None and is_same and is_repeated(expected, old, updated_by):
            return old, False
        check(expected, f"{service_name}/{limit_name}", old and old["version"], "limit")
        if old is not None and is_same:
            return old, False
        if old is None:
            _check_room(service_name)
        attempted = _changed(old, service_name, limit_name, defined, updated_by, now_ms)
        if (limit := store.replace(old, attempted)) is not None:
            return limit, old is None
    raise _contended(service_name, limit_name)


def delete(
    service_name: str,
    limit_name: str,
    users: Callable[[], list[str]],
    expected: Expected | None = None,
) -> None:
    """Deletes the limit, and has the executions started that wait for it.

    ``users`` returns the names of the jobs that name the limit. Raises Conflict if there are any, NotFound,
    PreconditionFailed if the limit is not as ``expected``, and Contended.
    """
    _delete(service_name, limit_name, users, expected or Expected())
    # Even if nobody is counted: who waited for a limit of this name before it was made again is not counted.
    ask_for_starts(service_name, limit_name)


def _delete(service_name: str, limit_name: str, users: Callable[[], list[str]], expected: Expected) -> None:
    is_attempted = False
    for _ in tries(_MAX_TRIES):
        limit = store.find(service_name, limit_name)
        if limit is None and is_attempted:
            return  # It was deleted: perhaps by our own write, whose response was lost.
        if limit is None:
            raise NotFound(f"There is no limit {service_name}/{limit_name}.")
        check(expected, f"{service_name}/{limit_name}", limit["version"], "limit")
        _check_unused(service_name, limit_name, users())
        is_attempted = True
        if store.delete(limit):
            return
    raise _contended(service_name, limit_name)


def _check_room(service_name: str) -> None:
    if store.count(service_name) >= MAX_LIMITS:
        raise Conflict(f"{service_name} has {MAX_LIMITS} limits, and may have no more. Delete one first.")


def _check_unused(service_name: str, limit_name: str, users: list[str]) -> None:
    if not users:
        return
    shown = ", ".join(users[:_MAX_SHOWN]) + (" and others" if len(users) > _MAX_SHOWN else "")
    raise Conflict(
        f"{service_name}/{limit_name} is the limit of {shown}. PUT these jobs without it, or with another"
        " one, or delete them first."
    )


def _changed(
    old: Limit | None,
    service_name: str,
    limit_name: str,
    defined: LimitDefinition,
    updated_by: str,
    now_ms: int,
) -> Limit:
    limit = {
        **defined,
        "service_name": service_name,
        "limit_name": limit_name,
        "version": 1 + (old["version"] if old else 0),
        "created_at": old["created_at"] if old else iso(now_ms),
        "updated_at": iso(now_ms),
        "updated_by": updated_by,
    }
    return cast(Limit, limit)


def _is_written(attempted: Limit, stored: Limit) -> bool:
    """Whether a write that seemed to fail has been applied: the SDK retries one whose response was lost."""
    return picked(stored, attempted) == attempted and (
        picked(stored, DEFINITION_FIELDS) == picked(attempted, DEFINITION_FIELDS)
    )


def _contended(service_name: str, limit_name: str) -> Contended:
    return Contended(f"The limit {service_name}/{limit_name} is being changed by others.")
