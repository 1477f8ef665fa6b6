"""make purge: old history goes, open executions stay, whatever DynamoDB leaves undone meanwhile."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid, time_key
from jobmanager.executions.record import day_shard, open_shard, shard
from tools import purge

TABLE = "sjm-dev-executions"
OUTPUTS = {
    "prefix": "sjm-dev",
    "executions_table_name": TABLE,
    "state_machine_arn": "arn:aws:states:eu-central-1:123456789012:stateMachine:sjm-dev-run-job",
}
DAY_MS = 86_400_000
NEW_YEAR_MS = purge.time_of("2026-01-01")
RANGE = ("--before", "2026-01-01", "--since", "2025-12-20")

KEYS_ONLY: Any = {"ProjectionType": "KEYS_ONLY"}

type Json = dict[str, Any]


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The executions table, in moto, which is called by one thread at a time."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
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
    """A record like those of the stage, closed unless the fields say otherwise."""
    identifier = execution_id(job_guid(service_name, job), at_ms)
    record = {
        "job_guid": job_guid(service_name, job),
        "execution_id": identifier,
        "service_name": service_name,
        "status": "success",
        "time_key": time_key(identifier),
        "day_shard": day_shard(at_ms, shard(identifier)),
        **fields,
    }
    dynamodb.put_item(TableName=TABLE, Item=to_item(record))
    return identifier


def left(dynamodb: Any) -> set[str]:
    return {item["execution_id"]["S"] for item in dynamodb.scan(TableName=TABLE)["Items"]}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, outputs: Any = OUTPUTS) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(outputs)))
    return purge.main(arguments)


def intercept(monkeypatch: pytest.MonkeyPatch, operation: str, instead: Callable[[Json, int], Json]) -> None:
    """Hands each request of an operation to a function, with its number; it may change it, and the answer."""
    call, seen = BaseClient._make_api_call, []  # type: ignore[attr-defined]

    def intercepted(client: BaseClient, operation_name: str, parameters: Json) -> Any:
        if operation_name != operation:
            return call(client, operation_name, parameters)
        seen.append(operation_name)
        left_undone = instead(parameters, len(seen))
        return call(client, operation_name, parameters) | left_undone

    monkeypatch.setattr(BaseClient, "_make_api_call", intercepted)


def test_what_is_older_goes_and_the_rest_stays(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for back in range(1, 4):
        for job in ("a", "b", "c"):
            put(dynamodb, NEW_YEAR_MS - back * DAY_MS, job=job)
    put(dynamodb, NEW_YEAR_MS - 1000, "shipping")
    stay = {
        put(dynamodb, NEW_YEAR_MS),
        put(dynamodb, NEW_YEAR_MS - 20 * DAY_MS),  # before --since
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job="r", status="running", open_shard=open_shard(0)),
        put(dynamodb, NEW_YEAR_MS - DAY_MS, job="e", status="success", open_shard=open_shard(0)),
    }
    key = {"job_guid": job_guid("billing", "a"), "execution_id": "key#0", "expires_at": 1}
    dynamodb.put_item(TableName=TABLE, Item=to_item(key))

    assert run(monkeypatch, *RANGE) == 0

    assert left(dynamodb) == stay | {"key#0"}
    assert capsys.readouterr().out.splitlines() == [
        "2025-12-29: executions deleted: 3",
        "2025-12-30: executions deleted: 3",
        "2025-12-31: executions deleted: 4; open ones that stay: 2",
        "sjm-dev: executions deleted: 10; open ones that stay: 2",
    ]


def test_only_one_services_history_goes(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(dynamodb, NEW_YEAR_MS - DAY_MS, "billing")
    stays = put(dynamodb, NEW_YEAR_MS - DAY_MS, "billing-eu")

    assert run(monkeypatch, *RANGE, "--service", "billing") == 0

    assert left(dynamodb) == {stays}
    assert capsys.readouterr().out.endswith("sjm-dev, service billing: executions deleted: 1\n")


def test_a_rehearsal_counts_and_deletes_nothing(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(dynamodb, NEW_YEAR_MS - DAY_MS)
    before = left(dynamodb)

    assert run(monkeypatch, *RANGE, "--dry-run") == 0
    assert left(dynamodb) == before
    assert capsys.readouterr().out.endswith("sjm-dev: executions that would be deleted: 1\n")

    for counted in (1, 0):
        assert run(monkeypatch, *RANGE) == 0
        assert capsys.readouterr().out.endswith(f"sjm-dev: executions deleted: {counted}\n")


def test_without_a_since_the_whole_retention_is_looked_through(
    dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(request: Json, _: int) -> Json:
        asked.append(request["ExpressionAttributeValues"][":partition"]["S"])
        return {}

    monkeypatch.setattr(purge, "now_ms", lambda: NEW_YEAR_MS)
    monkeypatch.setattr(purge, "OLDEST_DAYS", 60)
    intercept(monkeypatch, "Query", note)
    put(dynamodb, NEW_YEAR_MS - 60 * DAY_MS)

    assert run(monkeypatch, "--before", "2026-01-01") == 0

    assert left(dynamodb) == set()
    assert len(set(asked)) == len(asked) == 60 * 4


def test_what_dynamodb_leaves_unprocessed_is_tried_again(
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

    assert left(dynamodb) == {stays}
    assert max(sizes) == 25


def test_it_gives_up_with_a_sentence_and_goes_on_the_next_time(
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
    assert len(left(dynamodb)) == 5

    with monkeypatch.context() as patch:
        intercept(patch, "BatchWriteItem", lambda request, _: {"UnprocessedItems": request["RequestItems"]})
        with pytest.raises(purge.PurgeError, match="Run this again later; it goes on"):
            run(patch, *RANGE, "--service", "billing")

    assert run(monkeypatch, *RANGE, "--service", "billing") == 0
    assert left(dynamodb) == set()


def test_a_record_that_went_meanwhile_is_not_counted(
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
        (("--before", "yesterday"), "is no day such as 2026-01-01"),
        (("--before", "2026-01-01T00:00:00"), "is no day such as 2026-01-01"),
        (("--before", "9999-01-01"), "--before must not lie in the future"),
        (("--before", "2025-01-01", "--since", "2025-01-01"), "--since must lie before --before"),
    ],
)
def test_what_is_asked_for_must_make_sense(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_outputs_it_says_what_it_expects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *RANGE, outputs={})
    assert "terraform output -json" in capsys.readouterr().err


def test_a_time_is_in_utc_unless_it_says_otherwise() -> None:
    assert iso(purge.time_of("2026-01-01")) == "2026-01-01T00:00:00Z"
    assert iso(purge.time_of("2026-01-01T12:00:00Z")) == "2026-01-01T12:00:00Z"
    assert iso(purge.time_of("2026-01-01T12:00:00+02:00")) == "2026-01-01T10:00:00Z"
