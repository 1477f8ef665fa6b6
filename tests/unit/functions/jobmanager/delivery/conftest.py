"""What the tests of a run look at: the events that it publishes, and its writes."""

from collections.abc import Callable
from typing import Any

import pytest

from jobmanager.aws import clients


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statuses of the executions of which an event was published."""
    found: list[str] = []
    for name in ("begin", "settle", "skip"):
        path = f"jobmanager.executions.{name}.publish_event"
        monkeypatch.setattr(path, lambda record, *_: found.append(record["status"]))
    return found


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The writes to tables, by the names of boto3's methods."""
    made: list[str] = []
    client = clients.dynamodb()

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(**request: Any) -> Any:
            made.append(name)
            return call(**request)

        return write

    for name in ("put_item", "update_item", "transact_write_items"):
        monkeypatch.setattr(client, name, noted(name, getattr(client, name)))
    return made
