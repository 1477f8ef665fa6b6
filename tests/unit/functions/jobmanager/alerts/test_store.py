"""The table of a route: a write counts only if nobody else has written since."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from jobmanager.alerts import store
from jobmanager.alerts.group import EMPTY, Pace, noted, planned
from jobmanager.alerts.signals import signal_in
from jobmanager.aws import clients
from tests.unit.functions.examples import NOON_MS
from tests.unit.functions.jobmanager.alerts.published import FAILED, failure

NAME = "service billing"


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ALERTS_TABLE", "alerts")
    with mock_aws():
        clients._client.cache_clear()
        boto3.client("dynamodb").create_table(
            TableName="alerts",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "group_name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "group_name", "AttributeType": "S"}],
        )
        yield
    clients._client.cache_clear()


def test_a_group_is_read_as_it_was_written() -> None:
    signal = signal_in(failure(summary="ü 𝄞 \x01"), FAILED, "service", None)
    assert signal
    group = planned(noted(EMPTY, signal, NOON_MS), NAME, Pace(900, 3600, 300), NOON_MS)

    assert store.read(NAME) == (EMPTY, 0)
    assert store.write(NAME, group, 0, NOON_MS)
    assert store.read(NAME) == (group, 1)
    assert store.read("service ledger") == (EMPTY, 0)


def test_of_two_concurrent_writes_the_second_is_refused() -> None:
    assert store.write(NAME, EMPTY, 0, NOON_MS)
    assert not store.write(NAME, EMPTY, 0, NOON_MS)
    assert store.write(NAME, EMPTY, 1, NOON_MS)
    assert not store.write(NAME, EMPTY, 1, NOON_MS)
    assert store.read(NAME)[1] == 2


def test_a_group_in_which_nothing_happens_expires() -> None:
    store.write(NAME, EMPTY, 0, NOON_MS)
    item = boto3.client("dynamodb").get_item(TableName="alerts", Key={"group_name": {"S": NAME}})["Item"]

    # SQS may keep a message for 14 days, and a monthly job fails once a month.
    assert int(item["expires_at"]["N"]) - NOON_MS // 1000 > 31 * 86_400
