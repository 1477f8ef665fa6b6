"""A payload or a state of more than 4 KiB stands beside the record, which is as small as any other."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bench.table_writes import size_of
from functions.cancel_execution.handler import handler as cancel
from functions.get_execution.handler import handler as get_execution
from functions.rerun_execution.handler import handler as rerun
from functions.start_execution.handler import handler as start
from jobmanager.aws import clients, tables
from jobmanager.aws.items import from_item
from jobmanager.aws.large_values import is_large
from jobmanager.core.settings import setting
from jobmanager.delivery.machines import StandardTask
from jobmanager.delivery.notify import notify, run
from jobmanager.executions import large_values, settle
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.history import list_executions
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.record import expires_at
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store as jobs
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import (
    NOON_MS,
    api_event,
    due,
    end_as,
    finish,
    lambda_context,
    save_job,
    stored,
)
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")
PAYLOAD = "p" * 32 * 1024
STATE = "s" * 64 * 1024
JUST_INLINE = ["x" * 4096, "ü" * 2048, "€" * 1365 + "x"]
JUST_LARGE = ["x" * 4097, "ü" * 2048 + "x", "€" * 1366]
PATH = {"service_name": "billing", "job_name": "nightly"}


def raw() -> list[dict[str, Any]]:
    """All items of the executions table."""
    return clients.dynamodb().scan(TableName=setting("EXECUTIONS_TABLE"))["Items"]


def values() -> dict[str, dict[str, Any]]:
    """The items of large values, by what they are."""
    found = [from_item(item) for item in raw()]
    return {
        item["execution_id"].split("#")[2]: item
        for item in found
        if item["execution_id"].startswith("large#")
    }


def size_of_record() -> int:
    (record,) = (item for item in raw() if "#" not in item["execution_id"]["S"])
    return size_of(record)


def write_inline(execution_id: str, name: str, value: str) -> None:
    """Makes a record what the version before has written."""
    placeholder = "#state" if name == "state" else name
    executions.update_if(
        execution_id,
        f"SET {placeholder} = :value REMOVE {name}_sha256",
        "attribute_exists(execution_id)",
        {":value": value},
    )


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, machines: Machines) -> None:
    monkeypatch.setattr("jobmanager.executions.by_hand.start_machine_of", lambda record: None)
    monkeypatch.setattr("functions.receive_callback.handler.now_ms", lambda: NOON_MS + 1000)


def started(**fields: Any) -> dict[str, Any]:
    return {**due(), **task_limits(save_job(**fields))}


def ask(handler: Any, body: Any = None, key: str | None = None, **path: str) -> tuple[int, dict[str, Any]]:
    event = api_event("POST", None if body is None else json.dumps(body))
    event["pathParameters"] = {**PATH, **path}
    if key is not None:
        event["headers"]["idempotency-key"] = key
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.parametrize("text", JUST_INLINE)
def test_a_text_of_4096_bytes_is_not_large(text: str) -> None:
    assert len(text.encode()) == 4096
    assert not is_large(text)


@pytest.mark.parametrize("text", JUST_LARGE)
def test_a_longer_text_is_large_whatever_its_characters(text: str) -> None:
    assert len(text.encode()) in (4097, 4098)
    assert is_large(text)


@pytest.mark.parametrize("text", [*JUST_INLINE, *JUST_LARGE])
def test_the_whole_record_is_the_same_on_both_sides_of_the_border(text: str) -> None:
    save_job(payload=text)
    record = begin(due(), NOON_MS)
    end_as(record, "success", {"state": text}, NOON_MS + 1)
    found = executions.whole(stored(record), "payload", "state")
    assert (found["payload"], found["state"]) == (text, text)
    assert set(values()) == ({"payload", "state"} if text in JUST_LARGE else set())
    assert ("payload" in stored(record)) == ("state" in stored(record)) == (text in JUST_INLINE)


def test_a_run_with_small_values_makes_no_other_call(
    monkeypatch: pytest.MonkeyPatch, target: Target, machines: Machines
) -> None:
    execution = started(payload=JUST_INLINE[0], invocation_target=target.url)
    client = clients.dynamodb()
    made: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(**request: Any) -> Any:
            made.append(name)
            return call(**request)

        return called

    for name in ("get_item", "put_item", "update_item", "batch_get_item", "transact_write_items", "query"):
        monkeypatch.setattr(client, name, noted(name, getattr(client, name)))
    run(execution, StandardTask("token-1"), NOON_MS)
    # The job; the record; the service's secrets.
    assert made == ["get_item", "put_item", "get_item"]
    made.clear()
    assert call_back(target, status="success", state=JUST_INLINE[0]) == 200
    assert made == ["get_item", "update_item", "update_item", "update_item"]


def test_no_write_after_the_first_pays_for_a_large_payload_or_state(
    target: Target, machines: Machines
) -> None:
    execution = started(payload=PAYLOAD, invocation_target=target.url, exclusive=True)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert size_of_record() < 2048
    assert call_back(target, status="processing", progress=50) == 200
    assert size_of_record() < 2048
    assert call_back(target, status="success", state=STATE) == 200
    assert size_of_record() < 2048
    assert "settled_at_ms" in stored(execution)


def test_the_notification_has_a_large_payload_at_each_try_and_attempt(
    target: Target, machines: Machines
) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 1, "on": ["fail"]}
    execution = started(payload=PAYLOAD, invocation_target=target.url, retry=retry)
    run(execution, StandardTask("token-1"), NOON_MS)
    again = {**machine_input(stored(execution)), "attempt": 1}
    run(again, StandardTask("token-2"), NOON_MS)
    assert call_back(target, status="fail", error="x") == 200
    notify({**again, "attempt": 2}, StandardTask("token-3"), NOON_MS + 2000)
    assert [body["payload"] for body in target.bodies] == [PAYLOAD] * 3


def test_two_versions_of_a_job_that_begin_one_execution_do_not_mix(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one has written its payload, and finds that the execution has begun with the other."""
    save_job(payload=PAYLOAD, invocation_target=target.url)
    insert = tables.insert

    def inserted_later(*arguments: Any) -> bool:
        monkeypatch.setattr(tables, "insert", insert)
        save_job(payload=PAYLOAD + "!", invocation_target=target.url)
        begin(due(), NOON_MS)
        return insert(*arguments)

    monkeypatch.setattr(tables, "insert", inserted_later)
    record = begin(due(), NOON_MS)
    assert executions.whole(record, "payload")["payload"] == PAYLOAD + "!"
    keys = [item["execution_id"]["S"] for item in raw() if item["execution_id"]["S"].startswith("large#")]
    assert len(keys) == 2  # the unused one expires


def test_the_first_of_two_large_states_is_recorded(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    seen = stored(execution)
    first = record_outcome(seen, "success", {"state": STATE}, NOON_MS + 1)
    assert record_outcome(seen, "success", {"state": STATE + "!"}, NOON_MS + 2) is None
    assert first is not None
    assert first["state"] == STATE
    assert executions.whole(stored(execution), "state")["state"] == STATE


def test_a_repeated_callback_with_the_same_large_state_gets_200_and_another_410(
    target: Target, machines: Machines
) -> None:
    run(started(invocation_target=target.url), StandardTask("token-1"), NOON_MS)
    assert call_back(target, status="success", state=STATE) == 200
    written = values()
    assert call_back(target, status="success", state=STATE) == 200
    assert call_back(target, status="success", state=STATE[:-1] + "!") == 410
    assert call_back(target, status="success", state="s") == 410
    assert call_back(target, status="success") == 410
    assert values() == written


def test_a_large_state_that_the_version_before_recorded_is_compared_too(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url)
    run(execution, StandardTask("token-1"), NOON_MS)
    assert call_back(target, status="success", state=STATE) == 200
    write_inline(execution["execution_id"], "state", STATE)
    assert call_back(target, status="success", state=STATE) == 200
    assert call_back(target, status="success", state=STATE[:-1] + "!") == 410


def test_the_reaper_or_finish_execution_stores_a_large_state_on_the_job_too() -> None:
    save_job()
    execution = begin(due(), NOON_MS)
    end_as(execution, "success", {"state": STATE}, NOON_MS + 5)  # and then the function dies
    finish({**due(), "status": "success"}, NOON_MS + 10)
    assert jobs.read("billing", "nightly")["last_successful_execution"]["state"] == STATE


def test_a_value_lives_at_least_as_long_as_its_record() -> None:
    month_seconds = 30 * 86_400
    save_job(payload=PAYLOAD, ttl_seconds=60, max_duration_seconds=month_seconds)
    record = begin(due(), NOON_MS)
    ended_at_ms = NOON_MS + month_seconds * 1000
    end_as(record, "success", {"state": STATE}, ended_at_ms)
    later = ended_at_ms + 6 * 86_400_000  # the reaper failed for days
    closed = settle.settle(stored(record), later)
    assert closed["expires_at"] == expires_at(later)
    assert all(item["expires_at"] >= closed["expires_at"] for item in values().values())


def test_a_value_that_is_written_again_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function died after it wrote the values, and the tick is redriven two weeks later."""
    save_job(payload=PAYLOAD)
    later = NOON_MS + 14 * 86_400_000
    with monkeypatch.context() as dying:
        dying.setattr(tables, "insert", lambda *_: pytest.fail("the function dies"))
        with pytest.raises(pytest.fail.Exception):
            begin(due(), NOON_MS)
    assert values().keys() == {"payload"}
    record = begin(due(), later)
    for at_ms in (NOON_MS, later):
        executions.with_values_apart(record, {"state": STATE}, expires_at(at_ms))
        executions.with_values_apart(record, {"state": STATE}, expires_at(NOON_MS))
    assert values()["payload"]["expires_at"] == large_values.expiry(record["expires_at"])
    assert values()["state"]["expires_at"] == large_values.expiry(expires_at(later))


def test_the_items_of_values_are_in_no_index_and_in_no_list() -> None:
    save_job(payload=PAYLOAD)
    record = begin(due(), NOON_MS)
    end_as(record, "success", {"state": STATE}, NOON_MS + 5)
    for item in values().values():
        assert item.keys() == {"job_guid", "execution_id", "large_text", "expires_at"}
    for query in ({}, {"service_name": "billing"}, {**PATH}, {"job_guid": record["job_guid"]}):
        (listed,) = list_executions(dict(query), NOON_MS + 1000)["results"]
        assert listed["execution_id"] == record["execution_id"]
        assert not listed.keys() & {"payload", "state", "payload_sha256", "state_sha256"}


def test_get_execution_shows_large_values_and_no_hashes() -> None:
    save_job(payload=PAYLOAD)
    record = begin(due(), NOON_MS)
    end_as(record, "success", {"state": STATE}, NOON_MS + 5)
    status, shown = ask(get_execution, execution_id=record["execution_id"])
    assert (status, shown["payload"], shown["state"]) == (200, PAYLOAD, STATE)
    assert not shown.keys() & {"payload_sha256", "state_sha256"}


def test_get_execution_shows_what_the_version_before_recorded() -> None:
    save_job(payload=PAYLOAD)
    record = begin(due(), NOON_MS)
    end_as(record, "success", {"state": STATE}, NOON_MS + 5)
    for name, value in (("payload", PAYLOAD), ("state", STATE)):
        write_inline(record["execution_id"], name, value)
    for key in [item["execution_id"] for item in values().values()]:
        clients.dynamodb().delete_item(
            TableName=setting("EXECUTIONS_TABLE"),
            Key={"job_guid": {"S": record["job_guid"]}, "execution_id": {"S": key}},
        )
    _, shown = ask(get_execution, execution_id=record["execution_id"])
    assert (shown["payload"], shown["state"]) == (PAYLOAD, STATE)


def test_an_execution_whose_values_are_gone_is_shown_without_them() -> None:
    save_job(payload=PAYLOAD)
    record = begin(due(), NOON_MS)
    executions.update_if(
        record["execution_id"],
        "SET payload_sha256 = :other",
        "#status = :r",
        {":other": "0", ":r": "running"},
    )
    status, shown = ask(get_execution, execution_id=record["execution_id"])
    assert (status, shown["status"]) == (200, "running")
    assert "payload" not in shown


def test_a_skipped_execution_has_its_large_payload() -> None:
    save_job(payload=PAYLOAD, enabled=False)
    record = begin(due(), NOON_MS)
    assert record["status"] == "skipped"
    assert size_of_record() < 2048
    assert executions.whole(stored(record), "payload")["payload"] == PAYLOAD


def test_run_now_cancel_and_rerun_show_and_keep_a_large_payload() -> None:
    save_job(payload="small")
    status, first = ask(start, {"payload": PAYLOAD})
    assert (status, first["payload"]) == (201, PAYLOAD)
    save_job(payload="other")
    status, cancelled = ask(cancel, execution_id=first["execution_id"])
    assert (status, cancelled["payload"]) == (200, PAYLOAD)
    status, second = ask(rerun, execution_id=first["execution_id"])
    assert (status, second["payload"]) == (201, PAYLOAD)
    assert executions.whole(stored(second), "payload")["payload"] == PAYLOAD


def test_an_idempotency_key_is_compared_by_a_large_payload_too() -> None:
    save_job(payload="small")
    first = ask(start, {"payload": PAYLOAD}, key="k")
    assert first[0] == 201
    assert ask(start, {"payload": PAYLOAD}, key="k")[1]["execution_id"] == first[1]["execution_id"]
    assert ask(start, {"payload": PAYLOAD[:-1] + "!"}, key="k")[0] == 409
    assert ask(start, {"payload": "small"}, key="k")[0] == 409
    assert ask(start, key="k")[0] == 409


def test_a_key_without_a_payload_fits_the_run_of_a_job_with_a_large_one() -> None:
    save_job(payload=PAYLOAD)
    first = ask(start, key="k")
    assert first[1]["payload"] == PAYLOAD
    assert ask(start, key="k")[1] == first[1]
    assert ask(start, {"payload": ""}, key="k")[0] == 409
