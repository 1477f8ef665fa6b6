"""Reads and writes the executions table: a record for each run of a job.

The table also holds the Idempotency-Keys of requested runs, each for a day, and large values
(:mod:`jobmanager.executions.large_values`). A record as it is read has none of these: see :func:`whole`.
"""

from collections.abc import Iterable, Iterator, Mapping
from random import sample
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, cast

from jobmanager.aws import tables
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.errors import NotFound
from jobmanager.core.names import execution_id as name_of_execution
from jobmanager.core.names import guid_of_execution, job_guid, name_errors
from jobmanager.core.settings import setting
from jobmanager.executions import large_values
from jobmanager.executions.record import (
    RUNNING,
    WAITING,
    Execution,
    open_shard,
    shard,
    shards_to_read,
    sweep_shard,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_DUE_PER_READ = 100


class Claim(TypedDict):
    """The claim on an Idempotency-Key: an execution, and a hash of the request (``asked``)."""

    job_guid: str
    execution_id: str
    claimed_execution: str
    scheduled_time: str
    asked: str
    expires_at: int


def key(execution_id: str) -> dict[str, str | None]:
    """Returns the primary key; the partition key is the beginning of the execution_id."""
    return {"job_guid": guid_of_execution(execution_id), "execution_id": execution_id}


def find(execution_id: str) -> Execution | None:
    """Reads a record consistently; None if there is none, or if the text is not an execution_id."""
    if guid_of_execution(execution_id) is None:
        return None
    return cast(Execution | None, tables.get(setting("EXECUTIONS_TABLE"), key(execution_id)))


def read(service_name: str, job_name: str, execution_id: str) -> Execution:
    """Reads a record of a job consistently; raises NotFound if the job has no such execution.

    Names that are not valid can have the guid of another job, so the record's own names are compared too.
    """
    is_named = not name_errors(service_name, job_name)
    is_of_the_job = is_named and guid_of_execution(execution_id) == job_guid(service_name, job_name)
    record = find(execution_id) if is_of_the_job else None
    if record is None or (record["service_name"], record["job_name"]) != (service_name, job_name):
        raise NotFound(
            f"{service_name}/{job_name} has no execution {execution_id}, or its record has expired."
        )
    return record


def read_many(execution_ids: Iterable[str]) -> list[Execution]:
    """Reads these records (at most 100) in that order; skips expired ones."""
    return _read_in_order(list(execution_ids), is_consistent=False)


def find_many(execution_ids: list[str]) -> list[Execution]:
    """Reads these records (at most 100) consistently, in that order; skips those that do not exist."""
    return _read_in_order(execution_ids, is_consistent=True)


def _read_in_order(execution_ids: list[str], is_consistent: bool) -> list[Execution]:
    keys = [key(execution_id) for execution_id in execution_ids]
    items = tables.get_many(setting("EXECUTIONS_TABLE"), keys, is_consistent)
    found = {record["execution_id"]: record for record in cast(list[Execution], items)}
    return [found[execution_id] for execution_id in execution_ids if execution_id in found]


def insert(record: Execution, *changes: "TransactWriteItemTypeDef") -> bool:
    """Inserts a record; False if the execution has one already.

    ``changes`` are written in the same transaction; False also if the condition of one does not hold. Before,
    the record's large values are written.
    """
    stored = _with_large_values_put(record)
    if not changes:
        return tables.insert(setting("EXECUTIONS_TABLE"), stored, "execution_id")
    return tables.transact([*changes, _insert_change(stored)])


def replace_waiting(old: Execution, new: Execution, *changes: "TransactWriteItemTypeDef") -> bool:
    """Replaces the record of a waiting execution, with ``changes`` in the same transaction.

    False if it does not wait as in ``old`` any more, or if the condition of a change does not hold.
    """
    condition, values = _waits_as(old)
    stored = _with_large_values_put(new)
    put = tables.put_change(setting("EXECUTIONS_TABLE"), stored, condition, values)
    return tables.transact([*changes, put])


def end_waiting(record: Execution, ended: Mapping[str, Any], *changes: "TransactWriteItemTypeDef") -> bool:
    """Sets the attributes ``ended`` of a waiting execution, with ``changes`` in the same transaction.

    False if it does not wait as in ``record`` any more.
    """
    condition, seen = _waits_as(record)
    sets = ", ".join(f"{'#status' if name == 'status' else name} = :{name}" for name in ended)
    update = tables.update_change(
        setting("EXECUTIONS_TABLE"),
        key(record["execution_id"]),
        f"SET {sets} REMOVE waits_for, may_start_at_ms",
        condition,
        {**seen, **{f":{name}": value for name, value in ended.items()}},
    )
    return tables.transact([*changes, update])


def _waits_as(record: Execution) -> tuple[str, dict[str, Any]]:
    """Builds the condition, with its values, that an execution still waits as in ``record``."""
    condition = "#status = :seen_status AND waits_for = :seen_for AND time_key = :seen_key"
    return condition, {
        ":seen_status": WAITING,
        ":seen_for": record["waits_for"],
        ":seen_key": record["time_key"],
    }


def _insert_change(item: Mapping[str, Any]) -> "TransactWriteItemTypeDef":
    return tables.put_change(setting("EXECUTIONS_TABLE"), item, "attribute_not_exists(execution_id)")


def _with_large_values_put(record: Execution) -> dict[str, Any]:
    """Writes the large values of a record; returns what the record itself is to hold."""
    stored, values = large_values.split(record["execution_id"], record)
    for value in values:
        expires_at = large_values.expiry(record["expires_at"])
        item = {**value.key, "large_text": value.text, "expires_at": expires_at}
        tables.put(setting("EXECUTIONS_TABLE"), item)
    return stored


def update_if(execution_id: str, update: str, condition: str, values: dict[str, Any]) -> Execution | None:
    """Updates the record and returns it as updated; None if the condition does not hold."""
    updated = tables.update_if(setting("EXECUTIONS_TABLE"), key(execution_id), update, condition, values)
    return cast(Execution | None, updated)


def add_link(execution_id: str, name: Literal["reruns", "children"], linked: str, most: int) -> None:
    """Adds an execution_id to a list of a record, which it is in only once. Safe to repeat.

    The list grows to ``most`` at most, because a record must not grow without bound.
    """
    update_if(
        execution_id,
        f"SET {name} = list_append(if_not_exists({name}, :none), :new)",
        f"attribute_exists(execution_id) AND NOT contains({name}, :id)"
        f" AND (attribute_not_exists({name}) OR size({name}) < :most)",
        {":none": [], ":new": [linked], ":id": linked, ":most": most},
    )


def reopen(record: Execution, at_ms: int) -> Execution | None:
    """Opens a settled record again, so that the sweep finds it now; None if it is gone."""
    return update_if(
        record["execution_id"],
        "SET sweep_shard = :shard, sweep_at = :now REMOVE settled_at_ms",
        "attribute_exists(execution_id)",
        {":shard": sweep_shard(shard(record["execution_id"])), ":now": at_ms // 1000},
    )


def with_values_apart(record: Execution, result: dict[str, Any], record_expires_at: int) -> dict[str, Any]:
    """Writes the large values of a result that is about to be recorded; returns what the record is to hold.

    A value that is written again lives on as long as the later writer needs it.
    """
    if record["status"] != RUNNING:  # then no result is recorded any more
        return result
    stored, values = large_values.split(record["execution_id"], result)
    for value in values:
        tables.update_if(
            setting("EXECUTIONS_TABLE"),
            value.key,
            "SET large_text = :text, expires_at = :expires",
            "attribute_not_exists(expires_at) OR expires_at < :expires",
            {":text": value.text, ":expires": large_values.expiry(record_expires_at)},
        )
    return stored


def whole(record: Execution, *names: large_values.Name) -> Execution:
    """Returns the record with these values; reads large ones that it lacks. An expired one stays absent."""
    read: dict[str, Any] = {}
    for name, item_key in large_values.missing(record, names):
        if item := tables.get(setting("EXECUTIONS_TABLE"), item_key):
            read[name] = item["large_text"]
    return cast(Execution, {**record, **read})


def is_at_attempt(number: int) -> tuple[str, dict[str, Any]]:
    """Builds a condition, with its values: the execution is running, and at this attempt."""
    if number == 1:
        return "#status = :running AND attribute_not_exists(attempts)", {":running": RUNNING}
    condition = "#status = :running AND size(attempts) = :earlier_attempts"
    return condition, {":running": RUNNING, ":earlier_attempts": number - 1}


def is_at_undelivered_attempt(number: int) -> tuple[str, dict[str, Any]]:
    """Builds :func:`is_at_attempt`, which also requires that no heartbeat of the attempt has come."""
    condition, values = is_at_attempt(number)
    delivered = "(attribute_not_exists(delivered_attempt) OR delivered_attempt <> :attempt)"
    return f"{condition} AND {delivered}", {**values, ":attempt": number}


def is_run_by(machine_execution: str) -> tuple[str, dict[str, Any]]:
    """Builds a condition, with its values: no machine execution but this one runs the attempt."""
    condition = "(attribute_not_exists(machine_execution) OR machine_execution = :mine)"
    return condition, {":mine": machine_execution}


def may_end(
    attempt: int | None, overdue_before: int | None, unless_delivered: bool, run_by: str | None
) -> tuple[str, dict[str, Any]]:
    """Builds the condition, with its values, of a write that ends an execution, or one of its attempts.

    The arguments are those of :func:`jobmanager.executions.outcome.record_outcome`.
    """
    condition = "#status = :running"
    values: dict[str, Any] = {":running": RUNNING}
    if attempt is not None:
        condition, values = (is_at_undelivered_attempt if unless_delivered else is_at_attempt)(attempt)
    if run_by is not None:
        is_mine, mine = is_run_by(run_by)
        condition, values = f"{condition} AND {is_mine}", values | mine
    if overdue_before is not None:
        condition += " AND lock_expires_at < :overdue_before"
        values = {**values, ":overdue_before": overdue_before}
    return condition, values


def claim(claimed: Claim, now_seconds: int) -> Claim:
    """Claims an Idempotency-Key; returns the claim that is valid: this one, or an earlier one."""
    table = setting("EXECUTIONS_TABLE")
    if tables.insert(table, claimed, "execution_id", now_seconds):
        return claimed
    identity = {"job_guid": claimed["job_guid"], "execution_id": claimed["execution_id"]}
    return cast(Claim | None, tables.get(table, identity)) or claimed


def ids_of_job(guid: str, from_ms: int, until_ms: int) -> Iterator[str]:
    """Yields the execution_ids of a job scheduled from one time to before another, oldest first.

    Both are ms since 1970. Eventually consistent.
    """
    if until_ms <= from_ms:
        return
    pages = tables.query_pages(
        TableName=setting("EXECUTIONS_TABLE"),
        KeyConditionExpression="job_guid = :guid AND execution_id BETWEEN :low AND :high",
        ProjectionExpression="execution_id",
        ExpressionAttributeValues=to_item(
            {
                ":guid": guid,
                ":low": name_of_execution(guid, from_ms),
                # "~" sorts after every character of a suffix.
                ":high": f"{name_of_execution(guid, until_ms - 1)}~",
            }
        ),
    )
    for page in pages:
        yield from (from_item(item)["execution_id"] for item in page["Items"])


# --- items beside the records: see jobmanager.executions.queues --------------------------------------------


def put_beside_change(partition: str, name: str) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that puts an item without attributes; it fails if there is one."""
    return _insert_change(_key_beside(partition, name))


def delete_beside_change(partition: str, name: str) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that deletes such an item; it fails if there is none."""
    return {
        "Delete": {
            "TableName": setting("EXECUTIONS_TABLE"),
            "Key": to_item(_key_beside(partition, name)),
            "ConditionExpression": "attribute_exists(execution_id)",
        }
    }


def keys_beside(partition: str, prefix: str) -> Iterator[str]:
    """Yields the sort keys of a partition that begin with ``prefix``, sorted. Consistent."""
    pages = tables.query_pages(
        TableName=setting("EXECUTIONS_TABLE"),
        KeyConditionExpression="job_guid = :partition AND begins_with(execution_id, :prefix)",
        ExpressionAttributeValues=to_item({":partition": partition, ":prefix": prefix}),
        ConsistentRead=True,
        Limit=_DUE_PER_READ,
    )
    for page in pages:
        yield from (from_item(item)["execution_id"] for item in page["Items"])


def _key_beside(partition: str, name: str) -> dict[str, str]:
    return {"job_guid": partition, "execution_id": name}


# --- the indexes, which are eventually consistent: read a record before you act on it ---------------------


def due_for_sweep(now_seconds: int) -> Iterator[str]:
    """Yields the execution_ids of open executions that the sweep is to look at by now (seconds since 1970).

    The order of the shards is random, so no shard is always the last, for which no time may be left.
    """
    for number in sample(shards_to_read(), len(shards_to_read())):
        yield from _open("sweep", "sweep_shard", sweep_shard(number), "sweep_at <= :now", now_seconds)
        # Those that an earlier version has inserted. The next version does without this index.
        yield from _open("open", "open_shard", open_shard(number), "lock_expires_at <= :now", now_seconds)


def open_of_job(guid: str) -> Iterator[str]:
    """Yields the execution_ids of a job's open executions.

    Reads the keys of all open executions of the stage: only for what is rare.
    """
    for number in shards_to_read():
        yield from _open("sweep", "sweep_shard", sweep_shard(number), guid=guid)
        yield from _open("open", "open_shard", open_shard(number), guid=guid)


def _open(
    index: str, partition: str, shard: str, until: str = "", now_seconds: int | None = None, guid: str = ""
) -> Iterator[str]:
    """Yields the execution_ids in a shard of an index of open executions: until a time, or of a job."""
    values: dict[str, Any] = {":shard": shard}
    condition = f"{partition} = :shard"
    limited: dict[str, Any] = {"Limit": _DUE_PER_READ}
    if until:
        condition, values[":now"] = f"{condition} AND {until}", now_seconds
    if guid:
        limited, values[":guid"] = {"FilterExpression": "job_guid = :guid"}, guid
    pages = tables.query_pages(
        TableName=setting("EXECUTIONS_TABLE"),
        IndexName=index,
        KeyConditionExpression=condition,
        ExpressionAttributeValues=to_item(values),
        **limited,
    )
    for page in pages:
        yield from (from_item(item)["execution_id"] for item in page["Items"])


class Range(NamedTuple):
    """What a Query reads, newest first: the keys from ``low`` to ``high``, so many items a read."""

    low: str
    high: str
    items_per_read: int


def pages_of_job(guid: str, range_: Range, statuses: list[str], without_late: bool) -> Iterator[Any]:
    """Yields the pages of a Query for a job's records, by execution_id.

    ``without_late`` leaves out those that the index ``late`` has.
    """
    more = " AND attribute_not_exists(late_key)" if without_late else ""
    return _newest_first("job_guid", guid, "execution_id", range_, {"#status": statuses}, more)


def pages_of_service(service: str, range_: Range, statuses: list[str]) -> Iterator[Any]:
    """Yields the pages of a Query for a service's records, by time_key."""
    return _newest_first(
        "service_name", service, "time_key", range_, {"#status": statuses}, IndexName="by_service"
    )


def pages_of_day(day_shard: str, range_: Range, statuses: list[str]) -> Iterator[Any]:
    """Yields the pages of a Query for a day's shard, by time_key."""
    return _newest_first(
        "day_shard", day_shard, "time_key", range_, {"#status": statuses}, IndexName="by_day"
    )


def pages_of_late(late_shard: str, range_: Range, guids: list[str], services: list[str]) -> Iterator[Any]:
    """Yields the pages of a Query for a shard of late executions, of these jobs or services, by late_key."""
    wanted = {"#job_guid": guids, "#service_name": [] if guids else services}
    return _newest_first("late_shard", late_shard, "late_key", range_, wanted, IndexName="late")


def _newest_first(
    partition: str,
    source: str,
    order: str,
    range_: Range,
    wanted: Mapping[str, list[str]],
    filtered: str = "",
    **index: str,
) -> Iterator[Any]:
    """``wanted``: the values, if any, that an attribute may have."""
    names, values = {}, {":source": source, ":low": range_.low, ":high": range_.high}
    for name, chosen in wanted.items():
        if chosen:
            placeholders = {f":{name[1:]}{number}": value for number, value in enumerate(chosen)}
            filtered += f" AND {name} IN ({', '.join(placeholders)})"
            names[name] = name[1:]
            values |= placeholders
    request: dict[str, Any] = {
        "TableName": setting("EXECUTIONS_TABLE"),
        "KeyConditionExpression": f"{partition} = :source AND {order} BETWEEN :low AND :high",
        "ProjectionExpression": order,
        "ScanIndexForward": False,
        "Limit": range_.items_per_read,
        **index,
    }
    if filtered:
        request["FilterExpression"] = filtered.removeprefix(" AND ")
    if names:
        request["ExpressionAttributeNames"] = names
    return tables.query_pages(**request, ExpressionAttributeValues=to_item(values))
