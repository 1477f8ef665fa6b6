"""What the writes of a run change in the tables and in their indexes, heard from the tables' streams.

DynamoDB bills a write by the larger of the item before and after, and so each index whose entry it makes,
changes or removes; where an entry's key changes, for its removal and its making:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Self

import boto3

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import GlobalSecondaryIndexDescriptionTypeDef

type Item = Mapping[str, Any]

_UNIT_BYTES = 1024
_QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Index:
    """A global secondary index: its key, and what it holds besides."""

    name: str
    key: tuple[str, ...]
    projected: tuple[str, ...]

    def entry(self, item: Item | None) -> dict[str, Any] | None:
        """An item's entry; None if it has none, as it lacks a part of the key."""
        if item is None or not all(name in item for name in self.key):
            return None
        return {name: item[name] for name in self.projected if name in item}


@dataclass(frozen=True)
class Write:
    """One item that was changed: as it was before, and as it was then."""

    table: str
    old: Item | None
    new: Item | None

    @property
    def units(self) -> int:
        """What the table is billed for it, outside of a transaction."""
        return units_of(max(size_of(self.old), size_of(self.new)))

    def index_units(self, indexes: Iterable[Index]) -> int:
        """What its indexes are billed for it."""
        return sum(index_units(index, self.old, self.new) for index in indexes)


def index_units(index: Index, old: Item | None, new: Item | None) -> int:
    """What one index is billed for the change of an item."""
    before, after = index.entry(old), index.entry(new)
    if before == after:
        return 0
    if before is None or after is None:
        return units_of(size_of(before) + size_of(after))
    if any(before[name] != after[name] for name in index.key):
        return units_of(size_of(before)) + units_of(size_of(after))
    return units_of(max(size_of(before), size_of(after)))


def units_of(size: int) -> int:
    """Write request units of so many bytes."""
    return max(1, ceil(size / _UNIT_BYTES))


def size_of(item: Item | None) -> int:
    """Bytes of an item, nearly as DynamoDB counts them.

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
        case "BOOL" | "NULL":
            return 1
    raise ValueError(f"the size of a {kind} is not known here")


class WriteListener:
    """Has the tables keep streams while its with block lasts, and tells what was written."""

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
        """What was written since the last time, table by table."""
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
        raise ValueError(f"{described['IndexName']} holds whole items, which is not reckoned with here")
    held = dict.fromkeys((*key, *table_key, *projection.get("NonKeyAttributes", ())))
    return Index(described["IndexName"], key, tuple(held))
