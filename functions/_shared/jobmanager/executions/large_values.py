"""The large values of an execution: payload and state, each in an item beside the record if it is large.

The record then has the SHA-256 of the value, and not the value. The hash is part of the item's key, so a
record always names one value, which never changes: concurrent writers of other values write other items. The
item is written first. If its record then is not, the item expires unused.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

from jobmanager.aws.large_values import is_large, sha256
from jobmanager.core.names import guid_of_execution
from jobmanager.executions.record import Execution

type Name = Literal["payload", "state"]

_NAMES: tuple[Name, ...] = ("payload", "state")

# The record's own expiry is set again when it is closed. A value must live as long, even if nobody could
# close the record for days.
_MARGIN_SECONDS = 7 * 86_400


class LargeValue(NamedTuple):
    """A value with the key of its item."""

    key: dict[str, str | None]
    text: str


def split(execution_id: str, stored: Mapping[str, Any]) -> tuple[dict[str, Any], list[LargeValue]]:
    """Returns the attributes as the record holds them, and the large values that it only names."""
    apart = {name: stored[name] for name in _NAMES if is_large(stored.get(name))}
    inline = {name: value for name, value in stored.items() if name not in apart}
    named = {_hash_of(name): sha256(text) for name, text in apart.items()}
    values = [LargeValue(item_key(execution_id, name, sha256(text)), text) for name, text in apart.items()]
    return {**inline, **named}, values


def missing(record: Execution, names: Iterable[Name]) -> Iterator[tuple[Name, dict[str, str | None]]]:
    """Yields those of the values that the record only names, with the keys of their items."""
    fields = cast(Mapping[str, Any], record)
    for name in names:
        if _hash_of(name) in fields and name not in fields:
            yield name, item_key(record["execution_id"], name, fields[_hash_of(name)])


def has(record: Mapping[str, Any], name: str, value: str | None) -> bool:
    """Whether this is the value of the record, without a read of the value's item."""
    if value is not None and _hash_of(name) in record:
        return bool(record[_hash_of(name)] == sha256(value))
    return record.get(name) == value and _hash_of(name) not in record


def item_key(execution_id: str, name: str, value_hash: str) -> dict[str, str | None]:
    """Returns the primary key of a value's item.

    It is in the partition of the job, but in none of its lists, which hold only keys that begin with the
    guid.
    """
    return {
        "job_guid": guid_of_execution(execution_id),
        "execution_id": f"large#{execution_id}#{name}#{value_hash}",
    }


def expiry(record_expires_at: int) -> int:
    """Returns when the item of a value may be deleted, if its record would be at the given time."""
    return record_expires_at + _MARGIN_SECONDS


def _hash_of(name: str) -> str:
    return f"{name}_sha256"
