"""Claims in DynamoDB."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from sjm.receiver import DynamoDBSeen
from tests.unit.sjm.receiver.dynamodb import Table


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="seen",
            KeySchema=[{"AttributeName": "attempt", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "attempt", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


def items(client: Any) -> list[dict[str, Any]]:
    return list(client.scan(TableName="seen")["Items"])


def test_an_attempt_is_claimed_once_until_it_is_forgotten(table: Any) -> None:
    seen = DynamoDBSeen("seen", key="attempt", ttl_attribute="gone_at", keep_seconds=60, now=lambda: 1000.5)

    assert [seen.claim("a", 1), seen.claim("a", 1), seen.claim("a", 2)] == [True, False, True]
    (item,) = (each for each in items(table) if each["attempt"]["S"] == "a#1")
    assert item["gone_at"] == {"N": "1060"}
    seen.forget("a", 1)
    assert seen.claim("a", 1)


class LostAnswer:
    """A client whose first write arrives, and whose answer is lost."""

    def __init__(self, client: Any, *, repeats: bool = False, loses_deletes: bool = False) -> None:
        self._client = client
        self._repeats = repeats
        self._loses_deletes = loses_deletes
        self.exceptions = client.exceptions

    def put_item(self, **arguments: Any) -> None:
        self._client.put_item(**arguments)
        if not self._repeats:
            raise ReadTimeoutError(endpoint_url="https://dynamodb.example")
        self._client.put_item(**arguments)  # as boto3 does

    def delete_item(self, **arguments: Any) -> None:
        if self._loses_deletes:
            raise ReadTimeoutError(endpoint_url="https://dynamodb.example")
        self._client.delete_item(**arguments)


def test_a_write_that_boto3_repeats_is_no_duplicate(table: Any) -> None:
    assert DynamoDBSeen("seen", key="attempt", client=LostAnswer(table, repeats=True)).claim("a", 1)


def test_a_claim_whose_answer_is_lost_is_withdrawn_for_the_repeated_notification(table: Any) -> None:
    with pytest.raises(ReadTimeoutError):
        DynamoDBSeen("seen", key="attempt", client=LostAnswer(table)).claim("a", 1)

    assert DynamoDBSeen("seen", key="attempt").claim("a", 1)


def test_a_claim_that_cannot_be_withdrawn_raises_what_happened_first(table: Any) -> None:
    with pytest.raises(ReadTimeoutError):
        DynamoDBSeen("seen", key="attempt", client=LostAnswer(table, loses_deletes=True)).claim("a", 1)


def test_a_lost_answer_does_not_withdraw_the_claim_of_another(table: Any) -> None:
    class Unreachable(LostAnswer):
        def put_item(self, **_: Any) -> None:
            raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

    assert DynamoDBSeen("seen", key="attempt").claim("a", 1)
    with pytest.raises(ReadTimeoutError):
        DynamoDBSeen("seen", key="attempt", client=Unreachable(table)).claim("a", 1)

    assert not DynamoDBSeen("seen", key="attempt").claim("a", 1)


def test_it_says_what_to_install_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ImportError, match=r"serverless-job-manager\[dynamodb\]"):
        DynamoDBSeen("seen").claim("a", 1)
    with pytest.raises(ValueError, match="more than 0"):
        DynamoDBSeen("seen", keep_seconds=0)


def test_many_that_claim_at_once_make_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    may_make = threading.Event()

    def slow(self: Any, name: str, **_: Any) -> Table:
        made.append(name)
        may_make.wait(0.2)
        return Table()

    monkeypatch.setattr("boto3.session.Session.client", slow)
    seen = DynamoDBSeen("seen")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda _: seen.claim("a", 1), range(8)))

    assert made == ["dynamodb"]
    assert sum(won) == 1
