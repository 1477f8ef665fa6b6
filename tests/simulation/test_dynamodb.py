import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings

from tests.simulation.moto_client import moto_client
from tests.simulation.same_as import OPERATIONS, Asked, Operation, compare, stand_in, table_definition
from tests.stand_ins.dynamodb import Table, Tables
from tests.stand_ins.errors import Unsupported
from tests.stand_ins.values import to_item
from tests.unit.functions import quick_moto


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        quick_moto.apply(patch)
        with moto_client("dynamodb") as client:
            client.create_table(**table_definition("things"))
            yield client


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=OPERATIONS)
def test_the_stand_in_answers_as_moto_does(moto: Any, operations: list[Operation]) -> None:
    example = f"{uuid.uuid4().hex} "
    compare(operations, Asked(moto, "things", example), Asked(stand_in(), "things", example))


def test_an_index_is_as_late_as_it_is_asked_to_be_and_the_table_is_not() -> None:
    now_ms, late_ms = [1000], [0]
    (table,) = stand_in().tables.values()
    tables = Tables(
        [Table("things", table.key, table.indexes, table.numbers)], lambda: now_ms[0], lambda: late_ms[0]
    )

    def on_the_shelf() -> int:
        answer = tables.query(
            TableName="things",
            IndexName="by_shelf",
            KeyConditionExpression="shelf = :shelf",
            ExpressionAttributeValues=to_item({":shelf": "x"}),
        )
        return int(answer["Count"])

    key = to_item({"keeper": "ann", "thing_id": "a"})
    tables.put_item(TableName="things", Item=key | to_item({"shelf": "x"}))
    now_ms[0] = 2000
    assert on_the_shelf() == 1
    late_ms[0] = 1500
    assert on_the_shelf() == 0
    assert "Item" in tables.get_item(TableName="things", Key=key, ConsistentRead=True)


def test_a_filter_sees_only_what_the_index_holds() -> None:
    """An index has copies of its own. moto and the stage's emulator filter before they leave out the rest.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.Projections
    """
    tables = stand_in()
    item = {"keeper": "ann", "thing_id": "a", "shelf": "x", "weight": 1, "phase": "new"}
    tables.put_item(TableName="things", Item=to_item(item))

    def found_in(index: str) -> int:
        answer = tables.query(
            TableName="things",
            IndexName=index,
            KeyConditionExpression="shelf = :shelf",
            FilterExpression="attribute_exists(phase)",
            ExpressionAttributeValues=to_item({":shelf": "x"}),
        )
        return int(answer["Count"])

    assert found_in("by_shelf") == 1
    assert found_in("by_weight") == 0


def test_an_item_may_have_400_kb_and_a_transaction_with_more_writes_nothing() -> None:
    tables = stand_in()
    key = to_item({"keeper": "ann", "thing_id": "a"})
    largest = "é" * ((400 * 1024 - len("keeperannthing_idatext")) // 2)
    tables.put_item(TableName="things", Item=key | to_item({"text": largest}))
    other = {"Put": {"TableName": "things", "Item": to_item({"keeper": "bob", "thing_id": "b"})}}
    too_large = {"Put": {"TableName": "things", "Item": key | to_item({"text": f"{largest}é"})}}
    with pytest.raises(ClientError, match="ValidationError"):
        tables.transact_write_items(TransactItems=[other, too_large])
    assert len(tables.scan("things")["Items"]) == 1


@pytest.mark.parametrize(
    "condition",
    [
        "weight + :one = :two",
        "attribute_type(weight, :one)",
        "weight <> :one",
        "names[0] = :one",
        "size(phase) = :one",
    ],
)
def test_what_the_stand_in_does_not_know_it_refuses_loudly(condition: str) -> None:
    values = {":one": 1, ":two": 2}
    request = {
        "TableName": "things",
        "Item": to_item({"keeper": "ann", "thing_id": "a", "phase": "running"}),
        "ExpressionAttributeValues": to_item({name: values[name] for name in values if name in condition}),
    }
    tables = stand_in()
    tables.put_item(TableName="things", Item=request["Item"])
    with pytest.raises(Unsupported):
        tables.put_item(**request, ConditionExpression=condition)
