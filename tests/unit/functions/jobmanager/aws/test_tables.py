"""Reading many items at once, and reading again what DynamoDB left out."""

import os
from typing import Any

import pytest

from jobmanager.aws import tables
from jobmanager.aws.clients import dynamodb
from jobmanager.jobs import store
from tests.unit.functions.examples import save_job

pytestmark = pytest.mark.usefixtures("cloud")


def read(*names: str) -> list[str]:
    keys = [store.key("billing", name) for name in names]
    return sorted(item["job_name"] for item in tables.get_many(os.environ["JOBS_TABLE"], keys))


def test_many_items_are_read_without_a_pause(pauses: list[float]) -> None:
    for name in ("a", "b"):
        save_job(name)

    assert read("a", "b", "never-saved") == ["a", "b"]
    assert read() == []
    assert pauses == []


def test_items_that_dynamodb_left_out_are_read_after_a_pause(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
    for name in ("a", "b", "c"):
        save_job(name)
    asked: list[int] = []

    class OneAtATime:
        def batch_get_item(self, RequestItems: Any) -> Any:
            ((table, wanted),) = RequestItems.items()
            first, *others = wanted["Keys"]
            asked.append(len(wanted["Keys"]))
            answer: Any = dynamodb().batch_get_item(RequestItems={table: {"Keys": [first]}})
            return {**answer, "UnprocessedKeys": {table: {**wanted, "Keys": others}} if others else {}}

    monkeypatch.setattr(tables, "dynamodb", OneAtATime)

    assert read("a", "b", "c") == ["a", "b", "c"]
    assert asked == [3, 2, 1]
    assert len(pauses) == 2
