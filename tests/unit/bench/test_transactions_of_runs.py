"""The transactions that bench/run_cases.py states are those that the code writes, and are recognized."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.run_cases import CASES
from bench.table_writes import Write
from jobmanager.aws.clients import dynamodb
from tests.stand_ins.dynamodb import Tables
from tests.unit.functions.conftest import cloud, environment, machines, names  # noqa: F401
from tests.unit.functions.examples import save_job
from tests.unit.functions.jobmanager.executions import conftest as of_executions
from tests.unit.functions.waiting import Turns, begin, end, put_limit

pytestmark = pytest.mark.usefixtures("cloud", "machines")


class Listener:
    """Notes the writes of each call, as streams have them: the items before and after."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.transactions: list[list[Write]] = []
        self.single: list[Write] = []
        self._before: list[tuple[str, Any, Any]] = []

    def before(self, params: dict[str, Any], **_: Any) -> None:
        parts = params.get("TransactItems") or [{"Write": params}]
        self._before = []
        for part in parts:
            [written] = part.values()
            key = written.get("Key") or self._key(written)
            self._before.append((written["TableName"], key, self._item(written["TableName"], key)))

    def after(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        writes = [Write(table, old, self._item(table, key)) for table, key, old in self._before]
        if "Error" in parsed:
            return
        if model.name == "TransactWriteItems":
            self.transactions.append(writes)
        else:
            self.single += writes

    def _key(self, written: dict[str, Any]) -> dict[str, Any]:
        return {name: written["Item"][name] for name in self._tables.table(written["TableName"]).key}

    def _item(self, table: str, key: Any) -> Any:
        return dynamodb().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")


turns = of_executions.turns


@pytest.fixture
def listener(cloud: Tables) -> Iterator[Listener]:  # noqa: F811
    listener, events = Listener(cloud), dynamodb().meta.events
    handlers = [
        (f"{event}.dynamodb.{operation}", handler)
        for operation in ("TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem")
        for event, handler in (
            ("provide-client-params", listener.before),
            ("after-call", listener.after),
        )
    ]
    for event, handler in handlers:
        events.register(event, handler)
    yield listener
    for event, handler in handlers:
        events.unregister(event, handler)


def run_alone() -> None:
    end(begin(), 20)


def run_behind_another(turns: Turns) -> None:
    first, second = begin(), begin(9)
    assert second["status"] == "waiting"
    end(first, 20)
    assert turns.give(21) == 1
    end(second, 30)


def prepare_exclusive() -> None:
    save_job(exclusive=True)


def prepare_queue() -> None:
    save_job(overlap="queue_all")


def prepare_limit() -> None:
    put_limit(slots=1)
    save_job(limit="db")


def prepare_rate() -> None:
    put_limit(per_second=10)
    save_job(limit="db")


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        ("SNS", save_job),
        ("exclusive", prepare_exclusive),
        ("limit, a slot is free", prepare_limit),
        ("limit per second", prepare_rate),
        ("waits for the lock", prepare_queue),
        ("waits for the lock, one look", prepare_queue),
        ("waits for a slot", prepare_limit),
    ],
)
def test_a_kind_of_run_states_its_transactions_and_their_writes_are_recognized(
    name: str,
    prepare: Callable[[], Any],
    turns: Turns,
    listener: Listener,
) -> None:
    [case, _] = [each for each in CASES if each.name == name]
    prepare()
    listener.transactions, listener.single = [], []
    if case.course == "alone":
        run_alone()
    else:
        run_behind_another(turns)
    assert tuple(len(writes) for writes in listener.transactions) == case.transactions
    assert [each for writes in listener.transactions for each in writes if not each.is_transacted] == []
    if case.transactions:
        assert [each for each in listener.single if each.is_transacted] == []
