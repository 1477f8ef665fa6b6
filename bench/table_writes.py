"""Reads from the tables' streams what a run writes, and computes the units that DynamoDB bills for it.

DynamoDB bills a write by the size of the item before or after, whichever is larger. It bills each index whose
entry the write adds, changes or removes in the same way. If the key of an entry changes, it bills a removal
and an addition: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Self

import boto3

from jobmanager.executions.queues import ENTRY_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import GlobalSecondaryIndexDescriptionTypeDef

type Item = Mapping[str, Any]

_UNIT_BYTES = 1024
_QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Index:
    """A global secondary index: its key, and all attributes that it holds."""

    name: str
    key: tuple[str, ...]
    projected: tuple[str, ...]

    def entry(self, item: Item | None) -> dict[str, Any] | None:
        """The item's entry in the index. None if the item lacks a part of the key."""
        if item is None or not all(name in item for name in self.key):
            return None
        return {name: item[name] for name in self.projected if name in item}


@dataclass(frozen=True)
class Write:
    """One change of an item: its content before, and its content after."""

    table: str
    old: Item | None
    new: Item | None

    @property
    def units(self) -> int:
        """The table's write units for the change, outside a transaction."""
        return units_of(max(size_of(self.old), size_of(self.new)))

    @property
    def is_transacted(self) -> bool:
        """Whether the change belongs to the transaction in which an execution begins, waits or is started.

        A stream does not tell. An execution without a lock, a limit and a queue begins with a single write.
        """
        old, new = self.old or {}, self.new or {}
        if _differ("waiting_count", old, new):
            return True
        if "execution_id" in (new or old):
            name = (new or old)["execution_id"]["S"]
            begins = not old and "status" in new
            is_started = old.get("status") == {"S": "waiting"} and _differ("status", old, new)
            return name.startswith(ENTRY_PREFIX) or begins or is_started
        takes_slot = len(_held(new, "holders")) > len(_held(old, "holders"))
        return takes_slot or ("lock_execution" in new and _differ("lock_execution", old, new))

    def index_units(self, indexes: Iterable[Index]) -> int:
        """The indexes' write units for the change."""
        return sum(index_units(index, self.old, self.new) for index in indexes)


def _differ(name: str, old: Item, new: Item) -> bool:
    return bool(old.get(name) != new.get(name))


def _held(item: Item, name: str) -> list[str]:
    held: list[str] = item.get(name, {}).get("SS", [])
    return held


def index_units(index: Index, old: Item | None, new: Item | None) -> int:
    """One index's write units for the change of an item."""
    before, after = index.entry(old), index.entry(new)
    if before == after:
        return 0
    if before is None or after is None:
        return units_of(size_of(before) + size_of(after))
    if any(before[name] != after[name] for name in index.key):
        return units_of(size_of(before)) + units_of(size_of(after))
    return units_of(max(size_of(before), size_of(after)))


def units_of(size: int) -> int:
    """The write units for an item of this size in bytes."""
    return max(1, ceil(size / _UNIT_BYTES))


def size_of(item: Item | None) -> int:
    """The bytes of an item, approximately as DynamoDB counts them.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _size_of_value(value) for name, value in (item or {}).items())


def _size_of_value(value: Mapping[str, Any]) -> int:
    [(kind, held)] = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "N":
            return (len(held) + 1) // 2 + 1
        case "L":
            return 3 + sum(1 + _size_of_value(each) for each in held)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size_of_value(each) for name, each in held.items())
        case "SS":
            return sum(len(each.encode()) for each in held)
        case "BOOL" | "NULL":
            return 1
    raise ValueError(f"the size of type {kind} is unknown; add it to bench/table_writes.py")


class WriteListener:
    """Turns on the tables' streams during its with block, and returns what was written."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._tables = tuple(tables)
        self._dynamodb, self._streams = boto3.client("dynamodb"), boto3.client("dynamodbstreams")
        self._iterators: dict[str, str] = {}
        self.indexes: dict[str, tuple[Index, ...]] = {}

    def __enter__(self) -> Self:
        for table in self._tables:
            described = self._dynamodb.describe_table(TableName=table)["Table"]
            key = tuple(part["AttributeName"] for part in described["KeySchema"])
            found = described.get("GlobalSecondaryIndexes", [])
            self.indexes[table] = tuple(_index(index, key) for index in found)
            made = self._dynamodb.update_table(
                TableName=table,
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )["TableDescription"]
            self._iterators[table] = self._iterator(made["LatestStreamArn"])
        return self

    def __exit__(self, *_: object) -> None:
        for table in self._tables:
            self._dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})

    def take(self) -> list[Write]:
        """The writes since the last call, table by table."""
        found: list[Write] = []
        time.sleep(_QUIET_SECONDS)
        for table in self._tables:
            while True:
                answer = self._streams.get_records(ShardIterator=self._iterators[table])
                self._iterators[table] = answer["NextShardIterator"]
                for record in answer["Records"]:
                    images = record["dynamodb"]
                    found.append(Write(table, images.get("OldImage"), images.get("NewImage")))
                if not answer["Records"]:
                    break
        return found

    def _iterator(self, stream: str) -> str:
        [shard] = self._streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
        iterator: str = self._streams.get_shard_iterator(
            StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
        )["ShardIterator"]
        return iterator


def _index(described: GlobalSecondaryIndexDescriptionTypeDef, table_key: tuple[str, ...]) -> Index:
    key = tuple(part["AttributeName"] for part in described["KeySchema"])
    projection = described["Projection"]
    if projection["ProjectionType"] == "ALL":
        raise ValueError(
            f"index {described['IndexName']} projects ALL, but bench/table_writes.py expects KEYS_ONLY or"
            " INCLUDE"
        )
    held = dict.fromkeys((*key, *table_key, *projection.get("NonKeyAttributes", ())))
    return Index(described["IndexName"], key, tuple(held))
