"""Events of jobs: each change is published at least once, even if the function dies before it publishes."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from functions.reap_executions import handler as reaper
from jobmanager.aws import tables, topics
from jobmanager.core.errors import AwsCallFailed
from jobmanager.jobs import changes
from jobmanager.jobs import events as job_events
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.untold import publish_untold
from tests.unit.functions.examples import ACCOUNT, NOON_MS, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
type Messages = list[dict[str, Any]]


@pytest.fixture
def published(cloud: object) -> Callable[[], Messages]:
    """Returns the events published since the last call, each with the attributes of its message."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="published")["QueueUrl"]
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:events"
    boto3.client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:published"
    )

    def receive() -> Messages:
        found: Messages = []
        while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for each in got:
                envelope = json.loads(each["Body"])
                attributes = {n: a["Value"] for n, a in envelope["MessageAttributes"].items()}
                found.append(json.loads(envelope["Message"]) | {"attributes": attributes})
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return sorted(found, key=lambda message: message["version"])

    return receive


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes SNS fail, or work again."""

    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalError"}}, "Publish")

    def be_silent(is_silent: bool) -> None:
        monkeypatch.setattr(job_events, "publish", refuse if is_silent else topics.publish)

    return be_silent


def stored() -> Job:
    job = jobs.find("billing", "nightly")
    assert job
    return job


def names(messages: Messages) -> list[tuple[str, int]]:
    return [(message["event"], message["version"]) for message in messages]


def test_each_change_is_published_once_with_the_changed_fields(published: Callable[[], Messages]) -> None:
    save_job(payload="secret", owner="ledger", tags={"team": "a"})
    save_job(payload="other", owner="ledger", tags={"team": "a"})
    changes.pause("billing", "nightly", {"reason": "r", "until": NOON_MS + 1000}, "bob", NOON_MS)
    changes.resume("billing", "nightly", "bob", NOON_MS)
    changes.delete("billing", "nightly", "bob", NOON_MS)
    save_job()
    messages = published()
    assert names(messages) == [
        ("job.created", 1),
        ("job.updated", 2),
        ("job.paused", 3),
        ("job.resumed", 4),
        ("job.deleted", 5),
        ("job.created", 6),
    ]
    created, updated, paused, resumed, deleted, again = messages
    assert {"schedule", "payload", "owner", "tags"} <= set(created["changed"])
    assert updated["changed"] == ["payload"]
    assert [paused["changed"], resumed["changed"], deleted["changed"]] == [["paused"], ["paused"], []]
    assert "owner" not in again["changed"]
    assert paused["paused"]["until"] == "2026-11-23T12:00:01Z"
    assert (updated["updated_by"], paused["updated_by"]) == ("tester", "bob")
    assert created["attributes"] == {
        "event": "job.created",
        "service_name": "billing",
        "job_name": "nightly",
    }
    assert created["occurred_at"] == "2026-11-23T12:00:00Z"
    assert (created["owner"], created["tags"], created["enabled"]) == ("ledger", {"team": "a"}, True)
    assert all("secret" not in json.dumps(message) for message in messages)
    assert "untold_events" not in stored()


def test_a_request_that_changes_nothing_publishes_nothing(published: Callable[[], Messages]) -> None:
    save_job()
    published()
    save_job()
    changes.resume("billing", "nightly", "ann", NOON_MS)
    assert published() == []
    for _ in range(2):
        changes.delete("billing", "nightly", "ann", NOON_MS)
    assert names(published()) == [("job.deleted", 2)]


def test_a_change_is_saved_even_if_sns_fails_and_a_retry_publishes_it(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    silence(True)
    save_job()
    assert stored()["version"] == 1
    silence(False)
    save_job()
    assert names(published()) == [("job.created", 1)]
    save_job()
    assert published() == []


def test_the_next_change_publishes_what_a_function_that_died_did_not(
    published: Callable[[], Messages], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(job_events, "publish", die)
        with pytest.raises(Died):
            save_job()
    save_job(payload="new")
    messages = published()
    assert names(messages) == [("job.created", 1), ("job.updated", 2)]
    assert all("schedule" in message for message in messages)


def test_an_event_whose_clearing_was_lost_is_published_twice_and_no_more(
    published: Callable[[], Messages], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(job_events, "_cleared", lambda _: False)
        save_job()
    save_job()
    save_job()
    assert names(published()) == [("job.created", 1), ("job.created", 1)]


def test_all_changes_made_while_sns_fails_are_published_later(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    silence(True)
    for payload in "abc":
        save_job(payload=payload)
    silence(False)
    assert job_events.publish_pending(stored())
    messages = published()
    assert names(messages) == [("job.created", 1), ("job.updated", 2), ("job.updated", 3)]
    assert ["schedule" in message for message in messages] == [False, False, True]
    assert "untold_events" not in stored()


def test_the_list_of_unpublished_events_has_a_limit(silence: Callable[[bool], None]) -> None:
    silence(True)
    for number in range(25):
        save_job(payload=str(number))
    untold = stored()["untold_events"]
    assert [event["version"] for event in untold] == list(range(6, 26))


def test_clearing_keeps_events_that_a_concurrent_change_added(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    silence(True)
    save_job()
    seen = stored()
    save_job(payload="new")
    silence(False)
    job_events.publish_pending(seen)
    assert [event["version"] for event in stored()["untold_events"]] == [1, 2]
    job_events.publish_pending(stored())
    assert names(published()) == [("job.created", 1), ("job.created", 1), ("job.updated", 2)]


def test_a_deleted_job_stays_in_the_catalog_until_its_deletion_is_published(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    save_job()
    silence(True)
    delete_job("billing", "nightly", "ann", NOON_MS)
    assert "catalog" in stored()
    assert jobs.read_many(["billing/nightly"]) == []
    silence(False)
    delete_job("billing", "nightly", "ann", NOON_MS)
    assert "catalog" not in stored()
    assert names(published()) == [("job.created", 1), ("job.deleted", 2)]


@pytest.fixture
def cleared_meanwhile(monkeypatch: pytest.MonkeyPatch, silence: Callable[[bool], None]) -> None:
    """Lets another function clear the pending events just before each change is written. Then SNS fails."""
    replace = jobs.replace

    def clear_then_replace(old: Job | None, new: Job, *unless_changed: Any) -> bool:
        assert old is not None
        silence(False)
        job_events.publish_pending(old)
        silence(True)
        return replace(old, new, *unless_changed)

    monkeypatch.setattr(jobs, "replace", clear_then_replace)


def test_the_upkeep_finds_a_change_although_earlier_events_were_cleared_meanwhile(
    silence: Callable[[bool], None], request: pytest.FixtureRequest
) -> None:
    silence(True)
    save_job()
    request.getfixturevalue("cleared_meanwhile")
    changes.delete("billing", "nightly", "ann", NOON_MS)
    assert "untold_events" in stored()
    silence(False)
    assert upkeep() == 1


def test_a_job_that_is_created_again_while_its_deletion_is_published_is_in_the_catalog(
    silence: Callable[[bool], None], request: pytest.FixtureRequest
) -> None:
    save_job()
    silence(True)
    changes.delete("billing", "nightly", "ann", NOON_MS)
    request.getfixturevalue("cleared_meanwhile")
    save_job()
    assert "catalog" in stored()


MINUTE_MS = 60_000


def upkeep(at_ms: int = NOON_MS + 2 * MINUTE_MS, remaining_ms: int = 300_000) -> int:
    return publish_untold(at_ms, lambda: remaining_ms)


@pytest.mark.parametrize("change", ["created", "updated", "paused", "resumed", "deleted"])
def test_the_upkeep_publishes_an_event_that_sns_refused(
    published: Callable[[], Messages], silence: Callable[[bool], None], change: str
) -> None:
    if change != "created":
        save_job()
    if change == "resumed":
        changes.pause("billing", "nightly", {"reason": "r"}, "ann", NOON_MS)
    published()
    silence(True)
    match change:
        case "created" | "updated":
            save_job(payload="new")
        case "paused":
            changes.pause("billing", "nightly", {"reason": "r"}, "ann", NOON_MS)
        case "resumed":
            changes.resume("billing", "nightly", "ann", NOON_MS)
        case "deleted":
            delete_job("billing", "nightly", "ann", NOON_MS)
    assert upkeep() == 0
    silence(False)
    assert upkeep() == 1
    assert [message["event"] for message in published()] == [f"job.{change}"]
    assert not stored().keys() & {"untold_events", "untold_since"}
    assert ("catalog" in stored()) == (change != "deleted")
    assert (upkeep(), published()) == (0, [])


def test_the_upkeep_leaves_a_change_to_its_own_function_for_a_minute(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    silence(True)
    save_job()
    silence(False)
    assert upkeep(NOON_MS + MINUTE_MS) == 0
    assert upkeep(NOON_MS + MINUTE_MS + 1000) == 1
    assert names(published()) == [("job.created", 1)]


def test_the_upkeep_continues_after_a_job_that_cannot_be_published_and_stops_after_three(
    published: Callable[[], Messages], silence: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(True)
    for number in range(5):
        save_job(f"job-{number}", at_ms=NOON_MS + 1000 * number)
    tried: list[str] = []

    def publish_some(client: Any, message: dict[str, Any]) -> None:
        tried.append(message["job_name"])
        if message["job_name"] in refused:
            raise ClientError({"Error": {"Code": "InternalError"}}, "Publish")

    monkeypatch.setattr(job_events, "publish", publish_some)
    refused = {"job-0", "job-1", "job-2"}
    assert (upkeep(), tried) == (0, ["job-0", "job-1", "job-2"])
    refused = {"job-0"}
    assert upkeep(remaining_ms=1000) == 0
    assert upkeep() == 4


def test_malformed_jobs_do_not_stop_the_publishing_of_other_changes(
    published: Callable[[], Messages], silence: Callable[[bool], None]
) -> None:
    """However many there are: the oldest come first, and they would come first in each run."""
    silence(True)
    for number in range(5):
        save_job(f"job-{number}", at_ms=NOON_MS + 1000 * number)
    silence(False)
    for number in range(4):
        malformed = {":events": [{"event": "job.renamed"}]}
        name = f"job-{number}"
        jobs.update_if("billing", name, "SET untold_events = :events", "attribute_exists(job_key)", malformed)
    with pytest.raises(AwsCallFailed, match="the events of 4 jobs"):
        upkeep()
    assert [message["job_name"] for message in published()] == ["job-4"]


def test_a_failed_reaping_does_not_stop_the_publishing_of_changes(
    published: Callable[[], Messages], silence: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(True)
    save_job()
    silence(False)

    def fail(*_: Any) -> dict[str, int]:
        raise AwsCallFailed("1 overdue executions were not ended")

    monkeypatch.setattr(reaper, "now_ms", lambda: NOON_MS + 2 * MINUTE_MS)
    with monkeypatch.context() as failing:
        failing.setattr(reaper, "reap", fail)
        with pytest.raises(AwsCallFailed):
            reaper.handler({}, lambda_context())
    assert names(published()) == [("job.created", 1)]
    assert reaper.handler({}, lambda_context()) == {
        "reaped": 0,
        "retried": 0,
        "closed": 0,
        "restarted": 0,
        "told": 0,
    }


def test_a_clearing_that_fails_does_not_fail_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")

    monkeypatch.setattr(tables, "update_if", refuse)
    assert save_job()["version"] == 1
