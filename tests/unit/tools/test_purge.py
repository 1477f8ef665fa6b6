"""make purge: deletes old history and keeps open executions, even if DynamoDB leaves requests unprocessed."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions.large_values import item_key
from jobmanager.executions.order import time_key
from jobmanager.executions.record import day_shard, shard, sweep_shard
from tools import purge

TABLE = "sjm-dev-executions"
OUTPUTS = {
    "prefix": "sjm-dev",
    "executions_table_name": TABLE,
    "state_machine_arn": "arn:aws:states:eu-central-1:123456789012:stateMachine:sjm-dev-run-job",
    "index_shards_to_read": 4,
}
DAY_MS = 86_400_000
NEW_YEAR_MS = purge.time_of("2026-01-01")
RANGE = ("--before", "2026-01-01", "--since", "2025-12-20")

KEYS_ONLY: Any = {"ProjectionType": "KEYS_ONLY"}

type Json = dict[str, Any]


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The executions table in moto. moto is not thread-safe, so the purge uses one thread."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("INDEX_SHARDS", str(OUTPUTS["index_shards_to_read"]))
    monkeypatch.setattr(purge, "AT_ONCE", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        names = ("job_guid", "execution_id", "service_name", "day_shard", "time_key")
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=_key("job_guid", "execution_id"),
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            GlobalSecondaryIndexes=[
                {"IndexName": index, "KeySchema": _key(key, "time_key"), "Projection": KEYS_ONLY}
                for index, key in (("by_service", "service_name"), ("by_day", "day_shard"))
            ],
        )
        yield client


def _key(partition: str, order: str) -> Any:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": order, "KeyType": "RANGE"},
    ]


def put(dynamodb: Any, at_ms: int, service_name: str = "billing", job: str = "a", **fields: Any) -> str:
    """Puts a record, closed unless the fields say otherwise, and returns its execution_id."""
    identifier = execution_id(job_guid(service_name, job), at_ms)
    record = {
        "job_guid": job_guid(service_name, job),
        "execution_id": identifier,
        "service_name": service_name,
        "status": "success",
        "time_key": time_key(identifier, at_ms),
        "day_shard": day_shard(at_ms, shard(identifier)),
        **({} if "sweep_shard" in fields else {"settled_at_ms": at_ms}),
        **fields,
    }
    dynamodb.put_item(TableName=TABLE, Item=to_item(record))
    return identifier


def remaining(dynamodb: Any) -> set[str]:
    return {item["execution_id"]["S"] for item in dynamodb.scan(TableName=TABLE)["Items"]}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, outputs: Any = OUTPUTS) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(outputs)))
    return purge.main(arguments)


def intercept(monkeypatch: pytest.MonkeyPatch, operation: str, change: Callable[[Json, int], Json]) -> None:
    """Calls ``change`` with each request of an operation and its number.

    It may change the request. What it returns is added to the answer.
    """
    call, seen = BaseClient._make_api_call, []  # type: ignore[attr-defined]

    def intercepted(client: BaseClient, operation_name: str, parameters: Json) -> Any:
        if operation_name != operation:
            return call(client, operation_name, parameters)
        seen.append(operation_name)
        added_to_answer = change(parameters, len(seen))
        return call(client, operation_name, parameters) | added_to_answer

    monkeypatch.setattr(BaseClient, "_make_api_call", intercepted)


def test_older_closed_executions_are_deleted_and_the_rest_stays(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for back in range(1, 4):
        for job in ("a", "b", "c"):
            put(dynamodb, NEW_YEAR_MS - back * DAY_MS, job=job)
    put(dynamodb, NEW_YEAR_MS - 1000, "shipping")
    stay = {
        put(dynamodb, NEW_YEAR_MS),
        put(dynamodb, NEW_YEAR_MS - 20 * DAY_MS),  # before --since
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job="r", status="running", sweep_shard=sweep_shard(0)),
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job="e", status="success", sweep_shard=sweep_shard(0)),
    }
    key = {"job_guid": job_guid("billing", "a"), "execution_id": "key#0", "expires_at": 1}
    dynamodb.put_item(TableName=TABLE, Item=to_item(key))

    assert run(monkeypatch, *RANGE) == 0

    assert remaining(dynamodb) == stay | {"key#0"}
    assert capsys.readouterr().out.splitlines() == [
        "2025-12-29: executions deleted: 3",
        "2025-12-30: executions deleted: 3",
        "2025-12-31: executions deleted: 4; open ones that stay: 2",
        "sjm-dev: executions deleted: 10; open ones that stay: 2",
    ]


def test_large_values_are_deleted_before_their_record_so_that_another_run_finds_them(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {"payload_sha256": "1" * 64, "state_sha256": "2" * 64}
    old = put(dynamodb, NEW_YEAR_MS - DAY_MS, **hashes)
    new = put(dynamodb, NEW_YEAR_MS, **hashes)
    running = put(dynamodb, NEW_YEAR_MS - 2 * DAY_MS, status="running", sweep_shard=sweep_shard(0), **hashes)
    for identifier in (old, new, running):
        for name in ("payload", "state"):
            key = item_key(identifier, name, hashes[f"{name}_sha256"])
            dynamodb.put_item(TableName=TABLE, Item=to_item({**key, "large_text": "x" * 5000}))
    before = remaining(dynamodb)

    def refuse_the_second(request: Json, number: int) -> Json:
        if number == 2:
            raise RuntimeError("the purge is interrupted")
        return {}

    with monkeypatch.context() as interrupted:
        intercept(interrupted, "BatchWriteItem", refuse_the_second)
        with pytest.raises(RuntimeError):
            run(interrupted, *RANGE)
    assert old in remaining(dynamodb)

    assert run(monkeypatch, *RANGE) == 0
    assert before - remaining(dynamodb) == {each for each in before if old in each}
    assert len(remaining(dynamodb)) == 6


def test_with_a_service_only_its_history_is_deleted(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(dynamodb, NEW_YEAR_MS - DAY_MS, "billing")
    stays = put(dynamodb, NEW_YEAR_MS - DAY_MS, "billing-eu")

    assert run(monkeypatch, *RANGE, "--service", "billing") == 0

    assert remaining(dynamodb) == {stays}
    assert capsys.readouterr().out.endswith("sjm-dev, service billing: executions deleted: 1\n")


def test_a_dry_run_counts_and_deletes_nothing(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(dynamodb, NEW_YEAR_MS - DAY_MS)
    before = remaining(dynamodb)

    assert run(monkeypatch, *RANGE, "--dry-run") == 0
    assert remaining(dynamodb) == before
    assert capsys.readouterr().out.endswith("sjm-dev: executions that would be deleted: 1\n")

    for counted in (1, 0):
        assert run(monkeypatch, *RANGE) == 0
        assert capsys.readouterr().out.endswith(f"sjm-dev: executions deleted: {counted}\n")


def table_was(monkeypatch: pytest.MonkeyPatch, created_ms: int, **more: Any) -> None:
    def describe_table(client: Any, request: Json) -> Json:
        return {"Table": {"CreationDateTime": datetime.fromtimestamp(created_ms / 1000, UTC), **more}}

    client_type: Any = BaseClient
    made = client_type._make_api_call

    def call(client: Any, operation: str, request: Json) -> Any:
        return (
            describe_table(client, request)
            if operation == "DescribeTable"
            else made(client, operation, request)
        )

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


def test_without_since_no_day_before_the_tables_creation_is_queried(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(request: Json, _: int) -> Json:
        asked.append(request["ExpressionAttributeValues"][":partition"]["S"])
        return {}

    intercept(monkeypatch, "Query", note)
    table_was(monkeypatch, NEW_YEAR_MS - 2 * DAY_MS)
    put(dynamodb, NEW_YEAR_MS - 2 * DAY_MS)

    assert run(monkeypatch, "--before", "2026-01-01") == 0

    assert remaining(dynamodb) == set()
    assert len(set(asked)) == len(asked) == 3 * 4


@pytest.mark.parametrize("arguments", [(), ("--service", "billing")])
def test_a_table_that_is_younger_than_the_day_has_nothing_to_purge(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    table_was(monkeypatch, NEW_YEAR_MS + 2 * DAY_MS)

    assert run(monkeypatch, "--before", "2026-01-01", *arguments) == 0


def test_without_since_every_day_of_the_longest_retention_is_queried_if_the_table_was_restored(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(request: Json, _: int) -> Json:
        asked.append(request["ExpressionAttributeValues"][":partition"]["S"])
        return {}

    monkeypatch.setattr(purge, "now_ms", lambda: NEW_YEAR_MS)
    monkeypatch.setattr(purge, "OLDEST_DAYS", 60)
    table_was(monkeypatch, NEW_YEAR_MS, RestoreSummary={})
    intercept(monkeypatch, "Query", note)
    put(dynamodb, NEW_YEAR_MS - 60 * DAY_MS)

    assert run(monkeypatch, "--before", "2026-01-01") == 0

    assert remaining(dynamodb) == set()
    assert len(set(asked)) == len(asked) == 60 * 4


def test_requests_that_dynamodb_leaves_unprocessed_are_retried(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in range(60):
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job=str(job))
    stays = put(dynamodb, NEW_YEAR_MS - DAY_MS, job="r", status="running")
    sizes: list[int] = []

    def half_of_the_keys(request: Json, number: int) -> Json:
        requested = request["RequestItems"][TABLE]
        keys = requested["Keys"]
        if number > 4:
            return {}
        requested["Keys"] = keys[::2]
        return {"UnprocessedKeys": {TABLE: {**requested, "Keys": keys[1::2]}} if keys[1::2] else {}}

    def half_of_the_writes(request: Json, number: int) -> Json:
        writes = request["RequestItems"][TABLE]
        sizes.append(len(writes))
        if len(writes) == 1:
            return {}
        request["RequestItems"][TABLE] = writes[::2]
        return {"UnprocessedItems": {TABLE: writes[1::2]}}

    intercept(monkeypatch, "BatchGetItem", half_of_the_keys)
    intercept(monkeypatch, "BatchWriteItem", half_of_the_writes)

    assert run(monkeypatch, *RANGE, "--service", "billing") == 0

    assert remaining(dynamodb) == {stays}
    assert max(sizes) == 25


def test_a_purge_that_gives_up_continues_at_the_next_run(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in range(30):
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job=str(job))

    def nothing_after_the_first(request: Json, number: int) -> Json:
        if number == 1:
            return {}
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "BatchWriteItem")

    with monkeypatch.context() as patch:
        intercept(patch, "BatchWriteItem", nothing_after_the_first)
        with pytest.raises(ClientError):
            run(patch, *RANGE, "--service", "billing")
    assert len(remaining(dynamodb)) == 5

    with monkeypatch.context() as patch:
        intercept(patch, "BatchWriteItem", lambda request, _: {"UnprocessedItems": request["RequestItems"]})
        with pytest.raises(purge.PurgeError, match="Run this again later; it continues"):
            run(patch, *RANGE, "--service", "billing")

    assert run(monkeypatch, *RANGE, "--service", "billing") == 0
    assert remaining(dynamodb) == set()


def test_a_record_that_expires_during_the_purge_is_not_counted(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(dynamodb, NEW_YEAR_MS - DAY_MS)

    def expired(request: Json, _: int) -> Json:
        for key in request["RequestItems"][TABLE]["Keys"]:
            dynamodb.delete_item(TableName=TABLE, Key=key)
        return {}

    intercept(monkeypatch, "BatchGetItem", expired)
    assert run(monkeypatch, *RANGE) == 0
    assert capsys.readouterr().out == "sjm-dev: executions deleted: 0\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--before"),
        (("--before", "yesterday"), "is neither a day such as 2026-01-01"),
        (("--before", "2026-01-01T00:00:00"), "is neither a day such as 2026-01-01"),
        (("--before", "9999-01-01"), "--before must not be in the future"),
        (("--before", "2025-01-01", "--since", "2025-01-01"), "--since must be earlier than --before"),
    ],
)
def test_an_invalid_range_of_time_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_outputs_the_error_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *RANGE, outputs={})
    assert "terraform output -json" in capsys.readouterr().err


def test_a_day_is_in_utc_and_a_time_in_its_own_zone() -> None:
    assert iso(purge.time_of("2026-01-01")) == "2026-01-01T00:00:00Z"
    assert iso(purge.time_of("2026-01-01T12:00:00Z")) == "2026-01-01T12:00:00Z"
    assert iso(purge.time_of("2026-01-01T12:00:00+02:00")) == "2026-01-01T10:00:00Z"
