from typing import Any

import pytest

from bench.table_writes import Index, Write, index_units, size_of

BY_SERVICE = Index("by_service", ("service", "time"), ("service", "time", "id", "status"))
OPEN = Index("open", ("shard", "until"), ("shard", "until", "id"))
RECORD: dict[str, Any] = {
    "id": {"S": "1"},
    "service": {"S": "billing"},
    "time": {"S": "2026"},
    "status": {"S": "running"},
    "shard": {"S": "open"},
    "until": {"N": "10"},
}


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**RECORD, **fields}.items() if value is not None}


@pytest.mark.parametrize(
    ("old", "new", "units"),
    [
        (None, RECORD, 2),  # both indexes get an entry
        (RECORD, changed(task_token={"S": "t"}), 0),  # no index holds the task_token
        (RECORD, changed(status={"S": "success"}), 1),  # one index holds the status
        (RECORD, changed(until={"N": "11"}), 2),  # part of a key: the entry is removed and added
        (RECORD, changed(shard=None), 1),  # the entry is removed
        (RECORD, None, 2),
    ],
)
def test_an_index_is_billed_if_its_entry_changes(old: Any, new: Any, units: int) -> None:
    assert Write("executions", old, new).index_units([BY_SERVICE, OPEN]) == units


def test_each_kilobyte_of_an_entry_counts() -> None:
    assert index_units(BY_SERVICE, None, changed(status={"S": "x" * 2000})) == 2


def test_the_larger_image_decides_the_units_of_a_write() -> None:
    assert Write("t", RECORD, changed(payload={"S": "x" * 1100})).units == 2
    assert Write("t", changed(payload={"S": "x" * 2100}), RECORD).units == 3


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "äb"}, 3),
        ({"N": "1234"}, 3),
        ({"BOOL": True}, 1),
        ({"SS": ["ab", "ä"]}, 4),
        ({"L": [{"S": "a"}]}, 5),
        ({"M": {"k": {"S": "a"}}}, 6),
    ],
)
def test_an_items_size_is_the_sum_of_its_names_and_values(value: Any, size: int) -> None:
    assert size_of({"x": value}) == 1 + size
