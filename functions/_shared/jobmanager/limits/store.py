"""Reads and writes the limits table: an item for each limit, with the executions that hold its slots.

A slot is taken in the transaction that lets an execution begin, and freed before the record of the execution
is closed. So a slot cannot outlive its execution: the sweep finds each record that is not closed.

``waiting_count`` counts the executions that wait for a slot. It changes in the transaction in which one
starts or stops waiting, on a condition about the slots. So the write that frees a slot shows whether an
execution waits. A limit that was deleted and created again does not count executions that waited for the old
one. Its count never falls below zero.

``next_start_ms`` and ``next_call_ms`` keep to ``per_second``: when the next execution may start, and when the
next service may be notified. The first spreads the starts over the time to come. The second spaces the
notifications, because the time from a start to its notification differs.
"""

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, cast

from jobmanager.aws import tables
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.errors import NotFound
from jobmanager.core.names import limit_name_errors
from jobmanager.core.settings import setting
from jobmanager.limits.definition import DEFINITION_FIELDS, Limit, waiting_count

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_EXISTS = "attribute_exists(limit_name)"
_IS_FULL = "(attribute_exists(holders) AND size(holders) >= slots)"
_COUNTS_ONE = "waiting_count > :none"


def key(service_name: str, limit_name: str) -> dict[str, str]:
    """Returns the primary key."""
    return {"service_name": service_name, "limit_name": limit_name}


def find(service_name: str, limit_name: str) -> Limit | None:
    """Reads a limit consistently; None if there is none."""
    if limit_name_errors(service_name, limit_name):
        return None
    return cast(Limit | None, tables.get(setting("LIMITS_TABLE"), key(service_name, limit_name)))


def read(service_name: str, limit_name: str) -> Limit:
    """Reads a limit consistently; raises NotFound if there is none."""
    limit = find(service_name, limit_name)
    if limit is None:
        raise NotFound(f"There is no limit {service_name}/{limit_name}. PUT it to create it.")
    return limit


def count(service_name: str) -> int:
    """Counts the limits of a service, consistently."""
    return sum(page["Count"] for page in _pages(service_name, Select="COUNT"))


def of_service(service_name: str, after: str | None, page_size: int) -> Iterator[Limit]:
    """Yields the limits of a service, sorted by name, after the name ``after``; consistent."""
    start = {"ExclusiveStartKey": to_item(key(service_name, after))} if after else {}
    for page in _pages(service_name, Limit=page_size, **start):
        for item in page["Items"]:
            yield cast(Limit, from_item(item))


def _pages(service_name: str, **options: Any) -> Iterator[Any]:
    return tables.query_pages(
        TableName=setting("LIMITS_TABLE"),
        KeyConditionExpression="service_name = :service",
        ExpressionAttributeValues=to_item({":service": service_name}),
        ConsistentRead=True,
        **options,
    )


def replace(old: Limit | None, new: Limit) -> Limit | None:
    """Replaces the definition of ``old`` by that of ``new``, and returns the limit as it is then.

    None if ``old`` is stale. Keeps what executions write: holders, the count of those that wait, and the next
    start.
    """
    changed = {name: value for name, value in new.items() if name not in ("service_name", "limit_name")}
    removed = [name for name in DEFINITION_FIELDS if name not in new]
    sets = ", ".join(f"{_written(name)} = :{name}" for name in changed)
    return _updated(
        new["service_name"],
        new["limit_name"],
        f"SET {sets}" + (f" REMOVE {', '.join(removed)}" if removed else ""),
        "#version = :read" if old else "attribute_not_exists(#version) OR #version = :read",
        {f":{name}": value for name, value in changed.items()} | {":read": old["version"] if old else 0},
    )


def _written(name: str) -> str:
    return "#version" if name == "version" else name


def delete(limit: Limit) -> bool:
    """Deletes a limit; False if it has another definition since it was read."""
    limit_key = key(limit["service_name"], limit["limit_name"])
    return tables.delete_if(
        setting("LIMITS_TABLE"), limit_key, "#version = :read", {":read": limit["version"]}
    )


def take_change(limit: Limit, execution_id: str, waited: bool) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that gives an execution a slot.

    The transaction fails if no slot is free, if the limit was deleted, or, unless the execution has
    ``waited``, if others wait.
    """
    is_counted = waited and waiting_count(limit) > 0
    counted = ", waiting_count :left" if is_counted else ""
    condition = f"{_EXISTS} AND attribute_exists(slots)"
    condition += " AND (attribute_not_exists(holders) OR size(holders) < slots OR contains(holders, :id))"
    values: dict[str, Any] = {":me": {execution_id}, ":id": execution_id}
    if is_counted:
        condition += f" AND {_COUNTS_ONE}"
        values |= {":left": -1, ":none": 0}
    elif not waited:
        condition += " AND (attribute_not_exists(waiting_count) OR waiting_count <= :none)"
        values[":none"] = 0
    return _update(limit["service_name"], limit["limit_name"], f"ADD holders :me{counted}", condition, values)


def wait_change(limit: Limit) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction by which one more execution waits for a slot.

    The transaction fails if a slot is free and nobody waits for it, or if the limit was deleted.
    """
    condition = f"{_EXISTS} AND ({_IS_FULL} OR waiting_count > :none)"
    values = {":one": 1, ":none": 0}
    return _update(limit["service_name"], limit["limit_name"], "ADD waiting_count :one", condition, values)


def leave_changes(limit: Limit) -> "list[TransactWriteItemTypeDef]":
    """Builds the parts of a transaction by which one execution no longer waits, and gets no slot."""
    if not waiting_count(limit):
        return []
    of_limit = (limit["service_name"], limit["limit_name"])
    return [_update(*of_limit, "ADD waiting_count :less", _COUNTS_ONE, {":less": -1, ":none": 0})]


def free(service_name: str, limit_name: str, execution_id: str) -> Limit | None:
    """Frees the slot of an execution, if it holds one; returns the limit, or None if it was deleted.

    Safe to repeat.
    """
    return _updated(service_name, limit_name, "DELETE holders :me", _EXISTS, {":me": {execution_id}})


def reserve(limit: Limit, name: Literal["next_start_ms", "next_call_ms"], now_ms: int) -> int:
    """Reserves the next time under ``per_second``; ms since 1970.

    That is now if no later time is reserved. Each reservation is one write, and no two get the same time.
    """
    of_limit = (limit["service_name"], limit["limit_name"])
    interval_ms = ceil(1000 / limit["per_second"])
    move, step = f"ADD {name} :step", {":step": interval_ms, ":now": now_ms}
    is_reserved = f"{_EXISTS} AND {name} >= :now"
    if moved := _updated(*of_limit, move, is_reserved, step):
        return moved[name] - interval_ms
    is_idle = f"{_EXISTS} AND (attribute_not_exists({name}) OR {name} < :now)"
    values = {":next": now_ms + interval_ms, ":now": now_ms}
    if _updated(*of_limit, f"SET {name} = :next", is_idle, values):
        return now_ms
    # Another was faster, or the limit was deleted.
    moved = _updated(*of_limit, move, is_reserved, step)
    return moved[name] - interval_ms if moved else now_ms


def _updated(
    service_name: str, limit_name: str, update: str, condition: str, values: dict[str, Any]
) -> Limit | None:
    updated = tables.update_if(
        setting("LIMITS_TABLE"), key(service_name, limit_name), update, condition, values
    )
    return cast(Limit | None, updated)


def _update(
    service_name: str, limit_name: str, update: str, condition: str, values: dict[str, Any]
) -> "TransactWriteItemTypeDef":
    of_limit = key(service_name, limit_name)
    return tables.update_change(setting("LIMITS_TABLE"), of_limit, update, condition, values)
