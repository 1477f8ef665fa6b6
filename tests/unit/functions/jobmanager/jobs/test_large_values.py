"""A payload or a last state of more than 4 KiB stands beside the job, and always belongs to it."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from bench.table_writes import size_of
from functions.get_job.handler import handler as get_job
from functions.list_jobs.handler import handler as list_jobs
from jobmanager.aws import clients, tables
from jobmanager.aws.items import from_item
from jobmanager.core.errors import ManagerError
from jobmanager.core.settings import setting
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.jobs import changes, lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, LastExecution, job_view
from jobmanager.jobs.last_execution import record_last_execution
from jobmanager.jobs.untold import publish_untold
from tests.unit.functions.examples import NOON_MS, api_event, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
PAYLOAD = "p" * 32 * 1024
STATE = "s" * 64 * 1024
NAMES = ("billing", "nightly")
# The second one has a character of two bytes.
BORDERS = [("x" * 4096, False), ("x" * 4097, True), ("ü" * 2048, False), ("ü" * 2048 + "x", True)]


def items() -> dict[str, dict[str, Any]]:
    """All items of the jobs table, by their sort keys."""
    found = clients.dynamodb().scan(TableName=setting("JOBS_TABLE"))["Items"]
    return {item["job_name"]["S"]: item for item in found}


def job() -> Job:
    return jobs.read(*NAMES)


def finished(number: int, state: str | None = STATE, **fields: Any) -> LastExecution:
    """A success that ended so many minutes after noon."""
    at_ms = NOON_MS + number * 60_000
    ended: dict[str, Any] = {
        "execution_id": due(at_ms=at_ms)["execution_id"],
        "finished_at_ms": at_ms,
        "status": "success",
        **fields,
    }
    return cast(LastExecution, {**ended, **({} if state is None else {"state": state})})


def record(ended: LastExecution) -> Job | None:
    return record_last_execution(*NAMES, ended, "fencing_token" in ended)


def last_state() -> str | None:
    return job()["last_successful_execution"].get("state")


@pytest.mark.parametrize(("text", "is_apart"), BORDERS)
def test_the_job_is_the_same_on_both_sides_of_the_border(text: str, is_apart: bool) -> None:
    save_job(payload=text)
    record(finished(1, text))
    assert (job()["payload"], last_state()) == (text, text)
    assert items().keys() == {"nightly", *(["nightly#payload", "nightly#state"] if is_apart else [])}
    assert ("payload" in items()["nightly"]) != is_apart


def test_a_large_job_is_a_small_item() -> None:
    save_job(payload=PAYLOAD, exclusive=True)
    begin(due(), NOON_MS)
    assert lock.extend(*NAMES, due()["execution_id"], NOON_MS // 1000 + 60)
    record(finished(1, STATE, fencing_token=1))
    assert size_of(items()["nightly"]) < 2048


def test_the_items_of_values_are_in_no_index_and_in_no_list() -> None:
    save_job(payload=PAYLOAD)
    record(finished(1))
    indexed = {"job_key", "job_guid", "catalog", "active_schedule", "untold_since"}
    assert not items()["nightly#payload"].keys() & indexed
    assert not items()["nightly#state"].keys() & indexed
    listed = json.loads(list_jobs(api_event(), lambda_context())["body"])["results"]
    assert [each["job_name"] for each in listed] == ["nightly"]
    assert not {"payload", "payload_version"} & listed[0].keys()
    assert not {"state", "state_is_apart"} & listed[0]["last_successful_execution"].keys()


@pytest.mark.parametrize("name", ["nightly#payload", "nightly#state"])
def test_the_item_of_a_value_is_no_job(name: str) -> None:
    save_job(payload=PAYLOAD)
    record(finished(1))
    assert jobs.find("billing", name) is None


def test_get_job_shows_large_values_and_not_how_they_are_stored() -> None:
    save_job(payload=PAYLOAD)
    record(finished(1))
    event = api_event(service_name="billing", job_name="nightly")
    shown = json.loads(get_job(event, lambda_context())["body"])
    assert (shown["payload"], shown["last_successful_execution"]["state"]) == (PAYLOAD, STATE)
    assert "payload_version" not in shown
    assert "state_is_apart" not in shown["last_successful_execution"]


@pytest.mark.parametrize("before", ["", "small", PAYLOAD, PAYLOAD + "!"], ids=len)
@pytest.mark.parametrize("after", ["", "small", PAYLOAD, PAYLOAD + "!"], ids=len)
def test_a_put_replaces_a_payload_of_any_size_by_one_of_any_size(before: str, after: str) -> None:
    save_job(payload=before)
    saved = save_job(payload=after)
    assert job()["payload"] == after
    assert saved["version"] == (1 if before == after else 2)
    # What is not the payload any more is not kept.
    kept = from_item(items().get("nightly#payload", {})).get("payload", "")
    assert kept == (after if len(after) > 4096 else "")


def test_a_put_of_other_fields_does_not_write_the_large_payload_again() -> None:
    save_job(payload=PAYLOAD)
    written = items()["nightly#payload"]
    save_job(payload=PAYLOAD, description="new")
    changes.pause(*NAMES, {"reason": "migration"}, "ann", NOON_MS)
    assert items()["nightly#payload"] == written
    assert (job()["payload"], job()["description"], job()["version"]) == (PAYLOAD, "new", 3)


def test_the_event_of_a_change_names_a_large_payload_only_if_it_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published: list[dict[str, Any]] = []
    monkeypatch.setattr("jobmanager.jobs.events.publish", lambda _, message: published.append(message))
    save_job(payload=PAYLOAD)
    save_job(payload=PAYLOAD, description="new")
    save_job(payload=PAYLOAD + "!", description="new")
    assert [message["changed"] for message in published[1:]] == [["description"], ["payload"]]


def test_an_execution_that_begins_while_a_put_changes_the_payload_has_one_version_of_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The definition is read, then the PUT is done, then the payload is read."""
    save_job(payload=PAYLOAD, ttl_seconds=60)
    get = tables.get
    reads: list[Any] = []

    def get_then_put(table: str, key: Any) -> Any:
        found = get(table, key)
        if key.get("job_name") == "nightly" and not reads:
            reads.append(key)
            save_job(payload=PAYLOAD + "!", ttl_seconds=90)
        return found

    monkeypatch.setattr(tables, "get", get_then_put)
    begun = begin(due(), NOON_MS)
    assert reads
    assert (begun["payload"], begun["ttl_seconds"]) == (PAYLOAD + "!", 90)


def test_a_put_that_makes_the_payload_small_meanwhile_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(payload=PAYLOAD)
    get = tables.get
    reads: list[Any] = []

    def get_then_put(table: str, key: Any) -> Any:
        found = get(table, key)
        if not reads:
            reads.append(key)
            save_job(payload="small")
        return found

    monkeypatch.setattr(tables, "get", get_then_put)
    assert job()["payload"] == "small"


def test_of_two_concurrent_puts_the_payload_belongs_to_the_definition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job(payload=PAYLOAD)
    find = jobs.find

    def find_then_lose(service_name: str, job_name: str, **options: Any) -> Job | None:
        seen = find(service_name, job_name, **options)
        monkeypatch.setattr(jobs, "find", find)
        save_job(payload=PAYLOAD + "first", description="first")
        return seen

    monkeypatch.setattr(jobs, "find", find_then_lose)
    save_job(payload=PAYLOAD + "second", description="second")
    assert (job()["payload"], job()["description"]) == (PAYLOAD + "second", "second")


def test_a_put_that_fails_leaves_definition_and_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(payload=PAYLOAD)
    with monkeypatch.context() as dying:
        dying.setattr(tables, "transact", lambda changes: pytest.fail("the function dies"))
        with pytest.raises(pytest.fail.Exception):
            save_job(payload=PAYLOAD + "!")
    assert (job()["payload"], job()["version"]) == (PAYLOAD, 1)


def test_a_job_that_was_deleted_and_made_again_has_its_own_payload_and_its_last_state() -> None:
    save_job(payload=PAYLOAD)
    record(finished(1))
    changes.delete(*NAMES, "ann", NOON_MS)
    tombstone = jobs.find(*NAMES)
    assert tombstone is not None
    assert tombstone["payload"] == PAYLOAD
    save_job(payload=PAYLOAD + "!")
    assert (job()["payload"], last_state()) == (PAYLOAD + "!", STATE)
    changes.delete(*NAMES, "ann", NOON_MS)
    save_job(payload="small")
    assert (job()["payload"], last_state()) == ("small", STATE)


def before_this_version(**fields: Any) -> None:
    """Saves a job as the version before wrote it: with large values in its item."""
    save_job(**{name: value for name, value in fields.items() if name != "state"})
    update = "SET payload = :payload, last_successful_execution = :last REMOVE payload_version"
    values = {":payload": fields["payload"], ":last": finished(0, fields["state"])}
    jobs.update_if(*NAMES, update, "attribute_exists(job_key)", values)
    for name in ("nightly#payload", "nightly#state"):
        key = {"service_name": {"S": "billing"}, "job_name": {"S": name}}
        clients.dynamodb().delete_item(TableName=setting("JOBS_TABLE"), Key=key)


def test_what_the_version_before_wrote_is_read_and_moves_out_at_the_next_write() -> None:
    before_this_version(payload=PAYLOAD, state=STATE)
    assert (job()["payload"], last_state()) == (PAYLOAD, STATE)
    assert save_job(payload=PAYLOAD)["version"] == 1  # the same definition changes nothing
    changes.pause(*NAMES, {"reason": "migration"}, "ann", NOON_MS)
    assert items().keys() == {"nightly", "nightly#payload"}
    assert (job()["payload"], last_state()) == (PAYLOAD, STATE)
    record(finished(1, STATE))
    assert items().keys() == {"nightly", "nightly#payload", "nightly#state"}
    assert size_of(items()["nightly"]) < 2048
    assert last_state() == STATE


@pytest.mark.parametrize("token", [None, 5])
def test_an_earlier_execution_does_not_replace_the_large_state_of_a_later_one(token: int | None) -> None:
    save_job(exclusive=token is not None)
    held = {} if token is None else {"fencing_token": token}
    earlier = {} if token is None else {"fencing_token": token - 1}
    record(finished(2, STATE, summary="later", **held))
    record(finished(1, "e" * 5000, **earlier))
    assert job()["last_successful_execution"]["summary"] == "later"
    assert last_state() == STATE


@pytest.mark.parametrize("first", [1, 2])
def test_of_two_that_ended_at_once_the_state_and_the_job_have_the_same_one(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    save_job()
    one, other = (
        finished(number, f"{number}" * 5000, finished_at_ms=NOON_MS) for number in (first, 3 - first)
    )
    update_if = jobs.update_if

    def settle_other_after(*written: Any) -> Job | None:
        monkeypatch.setattr(jobs, "update_if", update_if)
        updated = update_if(*written)
        record(other)
        return updated

    monkeypatch.setattr(jobs, "update_if", settle_other_after)
    record(one)
    names = {job()["last_execution"]["execution_id"]}
    for item in ("nightly", "nightly#state"):
        names.add(from_item(items()[item])["last_successful_execution"]["execution_id"])
    assert names == {finished(2)["execution_id"]}
    assert last_state() == "2" * 5000


@pytest.mark.parametrize("second", ["small", None])
def test_a_later_success_with_a_small_state_or_none_replaces_a_large_one(second: str | None) -> None:
    save_job()
    record(finished(1))
    record(finished(2, second))
    assert last_state() == second
    record(finished(1))  # the first one is settled once more
    assert last_state() == second
    assert "state_is_apart" not in items()["nightly"]["last_successful_execution"]["M"]


def test_a_failure_stores_no_state() -> None:
    save_job()
    record(finished(1, STATE, status="fail"))
    assert items().keys() == {"nightly"}


def test_a_settlement_that_dies_between_its_two_writes_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job()
    record(finished(1, "o" * 5000))
    update_if = tables.update_if

    def dies_at_the_job(table: str, key: Any, *change: Any) -> Any:
        if key["job_name"] == "nightly":
            raise RuntimeError("the function dies")
        return update_if(table, key, *change)

    with monkeypatch.context() as dying:
        dying.setattr(tables, "update_if", dies_at_the_job)
        with pytest.raises(RuntimeError):
            record(finished(2))
    # The later success is over, and its state is shown as soon as it is written.
    assert job()["last_successful_execution"] == finished(2)
    record(finished(2))
    assert job()["last_successful_execution"] == finished(2)
    assert job()["last_execution"]["execution_id"] == finished(2)["execution_id"]


def test_a_small_job_is_read_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(payload="x" * 4096)
    record(finished(1, "x" * 4096))
    get, reads = clients.dynamodb().get_item, []

    def noted(**request: Any) -> Any:
        reads.append(request["Key"])
        return get(**request)

    monkeypatch.setattr(clients.dynamodb(), "get_item", noted)
    job()
    assert len(reads) == 1


@pytest.fixture
def restored(cloud: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job from a backup that has a half of its last change."""
    monkeypatch.setattr("jobmanager.core.retry.time.sleep", lambda seconds: None)
    save_job(payload=PAYLOAD)
    jobs.update_if(*NAMES, "SET payload_version = :v", "attribute_exists(job_key)", {":v": 9})


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("read", [job, lambda: begin(due(), NOON_MS)], ids=["get", "begin"])
def test_a_job_with_the_payload_of_another_version_does_not_run(read: Callable[[], object]) -> None:
    with pytest.raises(ManagerError, match="payload of billing/nightly"):
        read()


@pytest.mark.usefixtures("restored")
def test_an_execution_of_such_a_job_is_settled_even_if_a_later_one_has_ended() -> None:
    record(finished(2, "late"))
    updated = record(finished(1, "early"))
    assert updated is not None
    assert updated["last_execution"]["finished_at_ms"] == finished(2)["finished_at_ms"]


@pytest.mark.usefixtures("restored")
def test_the_changes_of_such_a_job_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event has the payload."""
    published: list[dict[str, Any]] = []
    monkeypatch.setattr("jobmanager.jobs.events.publish", lambda _, message: published.append(message))
    event = {"event": "job.created", "occurred_at": "2026-11-23T12:00:00Z", "version": 1}
    values = {":events": [event], ":since": event["occurred_at"]}
    update = "SET untold_events = :events, untold_since = :since"
    jobs.update_if(*NAMES, update, "attribute_exists(job_key)", values)
    assert publish_untold(NOON_MS + 120_000, lambda: 300_000) == 1
    assert [message["event"] for message in published] == ["job.created"]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("payload", ["", "small", PAYLOAD], ids=len)
def test_a_put_gives_such_a_job_its_payload_back(payload: str) -> None:
    save_job(payload=payload)
    assert job()["payload"] == payload
    assert "payload_version" not in job_view(job(), NOON_MS)
    assert executions.whole(begin(due(), NOON_MS), "payload")["payload"] == payload
