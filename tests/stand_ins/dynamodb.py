"""DynamoDB's tables: conditions and transactions exactly, indexes as late as they are asked to be.

Each call happens at one moment. That it may fail, come late or twice is not this module's affair.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.stand_ins import expressions
from tests.stand_ins.errors import Unsupported, client_error
from tests.stand_ins.expressions import Item, Scope, Value, invalid

type Json = dict[str, Any]
type Key = tuple[Any, ...]

_KEPT_MS = 5000
_MAX_KEYS_OF_A_BATCH = 100
_MAX_ITEMS_OF_A_TRANSACTION = 100
_MAX_BYTES_OF_AN_ITEM = 400 * 1024
_MAX_BYTES_OF_A_KEY = (2048, 1024)


@dataclass(frozen=True)
class Index:
    """A global secondary index: its key, and the attributes that it holds beside the keys."""

    key: tuple[str, ...]
    holds: tuple[str, ...] = ()


@dataclass
class Table:
    """A table: each item with its versions of the last seconds, the newest last."""

    name: str
    key: tuple[str, ...]
    indexes: Mapping[str, Index] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    """Which of the keys are numbers. The others are texts."""
    versions: dict[Key, list[tuple[int, Item | None]]] = field(default_factory=dict)

    def key_of(self, item: Item) -> Key:
        """The primary key of an item, or of a request."""
        if missing := [name for name in self.key if name not in item]:
            raise invalid(f"One of the required keys was not given a value: {missing[0]}")
        for name, most_bytes in zip(self.key, _MAX_BYTES_OF_A_KEY, strict=False):
            value = item[name].get(self.kind_of(name))
            if not value or len(value.encode()) > most_bytes:
                raise invalid(f"The value of the key {name} is empty, too long, or of another type")
        return tuple(next(iter(item[name].values())) for name in self.key)

    def kind_of(self, name: str) -> str:
        """The type that a key of the table, or of an index, has."""
        return "N" if name in self.numbers else "S"

    def now(self, key: Key) -> Item | None:
        """An item as it is."""
        versions = self.versions.get(key)
        return versions[-1][1] if versions else None

    def put(self, key: Key, item: Item | None, at_ms: int) -> None:
        """Replaces an item."""
        versions = self.versions.setdefault(key, [])
        while len(versions) > 1 and versions[1][0] <= at_ms - _KEPT_MS:
            del versions[0]
        versions.append((at_ms, item))

    def as_of(self, at_ms: int) -> list[Item]:
        """All items as they were at a time, of the last seconds."""
        found = []
        for versions in self.versions.values():
            if versions[-1][0] <= at_ms:
                if (newest := versions[-1][1]) is not None:
                    found.append(newest)
                continue
            for since_ms, item in reversed(versions):
                if since_ms <= at_ms:
                    if item is not None:
                        found.append(item)
                    break
        return found


class Tables:
    """The operations, with the parameters and the answers of boto3's client."""

    def __init__(
        self,
        tables: Sequence[Table],
        now_ms: Callable[[], int],
        late_ms: Callable[[], int],
        is_answered_in_part: Callable[[], bool] = bool,
    ) -> None:
        self.tables = {table.name: table for table in tables}
        self._now_ms = now_ms
        self._late_ms = late_ms
        self._is_answered_in_part = is_answered_in_part
        self.observers: list[Callable[[Sequence[Written]], None]] = []
        """Who is told of each write, or transaction, once it has happened."""

    def table(self, name: str) -> Table:
        """A table by its name."""
        if name not in self.tables:
            raise client_error("ResourceNotFoundException", f"Requested resource not found: {name}")
        return self.tables[name]

    def empty(self) -> None:
        """Forgets all items."""
        for table in self.tables.values():
            table.versions.clear()

    def get_item(self, TableName: str, Key: Item, ConsistentRead: bool = False) -> Json:
        """Reads an item."""
        table = self.table(TableName)
        if not ConsistentRead:
            raise Unsupported("GetItem that is not consistent")
        item = table.now(_exact_key(table, Key))
        return {} if item is None else {"Item": dict(item)}

    def batch_get_item(self, RequestItems: Mapping[str, Json]) -> Json:
        """Reads items of one table; those that are not read consistently may be late."""
        ((name, request),) = RequestItems.items()
        table = self.table(name)
        keys = [_exact_key(table, key) for key in request["Keys"]]
        if not 1 <= len(keys) <= _MAX_KEYS_OF_A_BATCH:
            raise invalid("Too many items requested for the BatchGetItem call")
        if len(set(keys)) < len(keys):
            raise invalid("Provided list of item keys contains duplicates")
        if request.get("ConsistentRead"):
            found = [table.now(key) for key in keys]
        else:
            then = {table.key_of(item): item for item in table.as_of(self._now_ms() - self._late_ms())}
            found = [then.get(key) for key in keys]
        left: Json = {}
        if len(keys) > 1 and self._is_answered_in_part():
            found = found[1:]
            left = {name: {**request, "Keys": request["Keys"][:1]}}
        return {
            "Responses": {name: [dict(item) for item in found if item is not None]},
            "UnprocessedKeys": left,
        }

    def put_item(self, **request: Any) -> Json:
        """Puts an item on a condition."""
        self._write([self._put(request)], is_transaction=False)
        return {}

    def update_item(self, ReturnValues: str = "NONE", **request: Any) -> Json:
        """Updates an item on a condition."""
        (written,) = self._write([self._update(request)], is_transaction=False)
        if ReturnValues == "NONE":
            return {}
        if ReturnValues != "ALL_NEW":
            raise Unsupported(f"ReturnValues={ReturnValues}")
        assert written is not None
        return {"Attributes": dict(written)}

    def delete_item(self, ReturnValues: str = "NONE", **request: Any) -> Json:
        """Deletes an item on a condition."""
        if ReturnValues not in ("NONE", "ALL_OLD"):
            raise Unsupported(f"ReturnValues={ReturnValues}")
        change = self._delete(request)
        old = change.table.now(change.key)
        self._write([change], is_transaction=False)
        return {"Attributes": dict(old)} if old is not None and ReturnValues == "ALL_OLD" else {}

    def transact_write_items(
        self, TransactItems: Sequence[Mapping[str, Json]], ClientRequestToken: str = ""
    ) -> Json:
        """Writes all, or nothing. Ignores the token: botocore gives each call one of its own."""
        kinds = {"Put": self._put, "Update": self._update, "Delete": self._delete}
        changes = [kinds[kind](request) for each in TransactItems for kind, request in each.items()]
        if len(changes) > _MAX_ITEMS_OF_A_TRANSACTION:
            raise invalid("Member must have length less than or equal to 100")
        if len({(change.table.name, change.key) for change in changes}) < len(changes):
            raise invalid("Transaction request cannot include multiple operations on one item")
        self._write(changes, is_transaction=True)
        return {}

    def scan(self, TableName: str) -> Json:
        """Reads all items of a table, in any order."""
        items = [dict(item) for item in self.table(TableName).as_of(self._now_ms())]
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def query(self, **request: Any) -> Json:
        """Reads items of one partition, of the table or of an index, in order."""
        return _Query(self, request).answer(self._now_ms, self._late_ms)

    def _put(self, request: Json) -> _Change:
        request = dict(request)
        table, item = self.table(request.pop("TableName")), request.pop("Item")
        _check_index_keys(table, item)
        return _Change(table, table.key_of(item), _condition(request), lambda _: item)

    def _delete(self, request: Json) -> _Change:
        request = dict(request)
        table = self.table(request.pop("TableName"))
        key = _exact_key(table, request.pop("Key"))
        return _Change(table, key, _condition(request), lambda _: None)

    def _update(self, request: Json) -> _Change:
        request = dict(request)
        table, identity = self.table(request.pop("TableName")), request.pop("Key")
        update = expressions.update(request.pop("UpdateExpression"))
        names = request.get("ExpressionAttributeNames", {})
        values = request.get("ExpressionAttributeValues", {})
        changed = [names.get(name, name) for name, _ in update.part]
        if len(set(changed)) < len(changed):
            raise invalid("Two document paths overlap with each other")

        def updated(old: Item | None) -> Item:
            scope = Scope(old if old is not None else identity, names, values)
            new = dict(scope.item)
            for _, action in update.part:
                action(scope, new)
            _check_index_keys(table, new)
            return new

        condition = _condition(request, update)
        if set(changed) & set(table.key):
            raise invalid("Cannot update an attribute that is part of the key")
        return _Change(table, _exact_key(table, identity), condition, updated)

    def _write(self, changes: list[_Change], is_transaction: bool) -> list[Item | None]:
        olds = [change.table.now(change.key) for change in changes]
        holds = [change.condition(old or {}) for change, old in zip(changes, olds, strict=True)]
        if not all(holds):
            message = "The conditional request failed"
            if not is_transaction:
                raise client_error("ConditionalCheckFailedException", message)
            failed = {"Code": "ConditionalCheckFailed", "Message": message}
            raise _cancelled(failed, [not each for each in holds])
        news = [change.new(old) for change, old in zip(changes, olds, strict=True)]
        is_too_large = [new is not None and expressions.bytes_of(new) > _MAX_BYTES_OF_AN_ITEM for new in news]
        if any(is_too_large):
            message = "Item size has exceeded the maximum allowed size"
            if not is_transaction:
                raise invalid(message)
            raise _cancelled({"Code": "ValidationError", "Message": message}, is_too_large)
        for change, new in zip(changes, news, strict=True):
            change.table.put(change.key, new, self._now_ms())
        written = [
            Written(change.table.name, old, new) for change, old, new in zip(changes, olds, news, strict=True)
        ]
        for observer in self.observers:
            observer(written)
        return news


def _cancelled(reason: Json, is_reason: Sequence[bool]) -> Exception:
    """The error of a transaction, of which some parts have this reason."""
    reasons = [reason if each else {"Code": "None"} for each in is_reason]
    codes = ", ".join(each["Code"] for each in reasons)
    return client_error(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        CancellationReasons=reasons,
    )


class Written(NamedTuple):
    """An item of a table as it was before a write, and as it is since."""

    table: str
    old: Item | None
    new: Item | None


@dataclass(frozen=True)
class _Change:
    table: Table
    key: Key
    condition: Callable[[Item], bool]
    new: Callable[[Item | None], Item | None]


class _Query:
    def __init__(self, tables: Tables, request: Json) -> None:
        self._table = tables.table(request.pop("TableName"))
        index = request.pop("IndexName", None)
        if index is not None and index not in self._table.indexes:
            raise invalid(f"The table does not have the specified index: {index}")
        self._index = self._table.indexes[index] if index else None
        self._key = self._index.key if self._index else self._table.key
        self._indexed = frozenset(self._key)
        self._is_consistent = request.pop("ConsistentRead", False)
        if self._is_consistent and self._index:
            raise invalid("Consistent reads are not supported on global secondary indexes")
        key_condition = request.pop("KeyConditionExpression")
        self._key_condition = expressions.condition(key_condition)
        self._filter = _compiled(expressions.condition, request.pop("FilterExpression", None))
        self._projection = _compiled(expressions.projection, request.pop("ProjectionExpression", None))
        self._names, self._values = _placeholders(request)
        expressions.check_key_condition(key_condition, self._names, self._key)
        self._limit = request.pop("Limit", None)
        self._is_descending = not request.pop("ScanIndexForward", True)
        self._start = request.pop("ExclusiveStartKey", None)
        self._select = request.pop("Select", None)
        if request or self._select not in (None, "COUNT"):
            raise Unsupported(f"Query with {sorted(request)} and Select={self._select}")
        used = [each for each in (self._key_condition, self._filter, self._projection) if each]
        expressions.check_placeholders(self._names, self._values, *used)

    def answer(self, now_ms: Callable[[], int], late_ms: Callable[[], int]) -> Json:
        at_ms = now_ms() - (0 if self._is_consistent else late_ms())
        found = [item for item in self._table.as_of(at_ms) if self._is_in(item)]
        found.sort(key=self._order, reverse=self._is_descending)
        if self._start is not None:
            start = self._order(self._start)
            found = [
                item
                for item in found
                if (self._order(item) < start if self._is_descending else self._order(item) > start)
            ]
        page = found if self._limit is None else found[: self._limit]
        items = [self._held(item) for item in page]
        if self._filter is not None:
            items = [item for item in items if self._filter.part(self._scope(item))]
        answer: Json = {"Count": len(items), "ScannedCount": len(page)}
        if self._select is None:
            answer["Items"] = [self._shown(item) for item in items]
        if self._limit is not None and len(page) == self._limit:
            last = page[-1]
            answer["LastEvaluatedKey"] = {name: last[name] for name in (*self._table.key, *self._key)}
        return answer

    def _is_in(self, item: Item) -> bool:
        return item.keys() >= self._indexed and self._key_condition.part(self._scope(item))

    def _scope(self, item: Item) -> Scope:
        return Scope(item, self._names, self._values)

    def _order(self, item: Item) -> tuple[Any, ...]:
        """By the sort key of what is queried, and where that is equal by the table's own key."""
        names = (*self._key[1:], *(self._table.key if self._index else ()))
        return tuple(expressions.sort_key(item[name]) for name in names)

    def _held(self, item: Item) -> Item:
        """What the index holds of an item."""
        if self._index is None:
            return item
        names = {*self._table.key, *self._index.key, *self._index.holds}
        return {name: value for name, value in item.items() if name in names}

    def _shown(self, item: Item) -> dict[str, Value]:
        if self._projection is None:
            return dict(item)
        scope = self._scope(item)
        names = {scope.name(name) for name in self._projection.part}
        return {name: value for name, value in item.items() if name in names}


def _compiled[Part](
    compiler: Callable[[str], expressions.Compiled[Part]], text: str | None
) -> expressions.Compiled[Part] | None:
    return None if text is None else compiler(text)


def _condition(request: Json, *others: expressions.Compiled[Any]) -> Callable[[Item], bool]:
    """The condition of a write; checks the placeholders of the whole request."""
    request = dict(request)
    compiled = _compiled(expressions.condition, request.pop("ConditionExpression", None))
    names, values = _placeholders(request)
    if request:
        raise Unsupported(f"a write with {sorted(request)}")
    expressions.check_placeholders(names, values, *others, *([compiled] if compiled else []))
    if compiled is None:
        return lambda _: True
    part = compiled.part
    return lambda item: part(Scope(item, names, values))


def _placeholders(request: Json) -> tuple[Any, Any]:
    """Takes the names and the values of the placeholders out of a request."""
    found = [request.pop(f"ExpressionAttribute{kind}", None) for kind in ("Names", "Values")]
    if {} in found:
        raise invalid("ExpressionAttributeNames and ExpressionAttributeValues must not be empty")
    names, values = (each or {} for each in found)
    return names, values


def _exact_key(table: Table, key: Item) -> Key:
    if set(key) != set(table.key):
        raise invalid("The provided key element does not match the schema")
    return table.key_of(key)


def _check_index_keys(table: Table, item: Item) -> None:
    """An attribute that is a key of an index has the type that the table says, and no empty text."""
    for name in {name for index in table.indexes.values() for name in index.key}:
        if name in item and not item[name].get(table.kind_of(name)):
            raise invalid(f"A value of the index key {name} is not valid")
