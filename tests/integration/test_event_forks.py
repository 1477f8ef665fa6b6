"""Real events are archived, searched, replayed, and delivered to subscribers."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.aws import clients as product_aws
from jobmanager.core.clock import iso
from jobmanager.schedules.events import publish_missed
from tests.integration.contract import CheckedApi
from tests.integration.forks import Forks, answers
from tests.integration.polling import poll
from tests.integration.scenario import Scenario, own_schedule

# One worker applies the modules, once.
pytestmark = [pytest.mark.xdist_group("event_forks"), pytest.mark.slow(3)]

type Json = dict[str, Any]

REPLAY_SECONDS = 60


@pytest.fixture(scope="module")
def forks(aws: Any, outputs: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(aws, outputs, tmp_path_factory.mktemp("event_forks"))
    try:
        yield forks
    finally:
        forks.close()


@pytest.fixture(scope="module")
def subscribed(forks: Forks) -> Json:
    """The queues of the subscribers, by name."""
    return {name: forks.queue(name) for name in ("queue", "function", "closed", "target")}


@pytest.fixture(scope="module")
def applying(forks: Forks, subscribed: Json) -> Iterator[Future[Json]]:
    """Applies every module in a thread, because Terraform waits half a minute for Firehose."""
    mine = {"service_name": [forks.service_name]}
    subscribers = {
        "queue": {"queue": subscribed["queue"], "filter": mine | {"event": ["execution.*"]}},
        "function": {"function": forks.function(subscribed["function"]), "filter": mine},
        "url": {"url": forks.listener.url, "filter": mine | {"event": ["job.created"]}},
        "mail": {"mail_address": f"{forks.service_name}@example.com"},
        "closed": {"queue": subscribed["closed"], "filter": mine},
    }
    target = {"arn": subscribed["target"]["arn"]}
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(forks.terraform.apply, replay_target=target, subscribers=subscribers)


@pytest.fixture(scope="module")
def applied(applying: Future[Json], events_published: None) -> Json:
    """Terraform's outputs, once every module is applied."""
    return applying.result()


@pytest.fixture(scope="module")
def scenario(forks: Forks, aws: Any, outputs: Json, api: CheckedApi) -> Scenario:
    return Scenario(aws, outputs, api, forks.service_name, own_schedule())


@pytest.fixture(scope="module")
def events_published(
    forks: Forks, applying: Future[Json], subscribed: Json, scenario: Scenario, outputs: Json
) -> None:
    """Makes the service publish events of many kinds, once all subscribers have subscribed."""
    poll(lambda: applying.done() or len(forks.subscriptions()) == 7, 60, "seven subscriptions")
    forks.leave_out_others()
    forks.sqs.set_queue_attributes(QueueUrl=subscribed["closed"]["id"], Attributes={"Policy": ""})
    late, unused = own_schedule(), own_schedule()
    with scenario.service(over_sns=True):
        scenario.put("good")
        scenario.put("bad", payload=json.dumps({"do": "fail", "error": "no", "summary": "disk full"}))
        scenario.put("slow", payload=json.dumps({"do": "succeed", "seconds": 2}))
        scenario.put("late", schedule=late, starting_deadline_seconds=1)
        scenario.set_back("late")
        scenario.put("idle", schedule=unused)
        scenario.put("paused", schedule=unused)
        paused = scenario.api.request("POST", scenario.job_path("paused", "pause"), {"reason": "at night"})
        assert paused.status == 200
        scenario.put("deleted", schedule=unused)
        scenario.delete("deleted")
        at_ms = scenario.tick()
        scenario.tick(at_ms - 60_000, late)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EVENTS_TOPIC_ARN", outputs["events_topic_arn"])
            missed = {"schedule": unused, "first_missed": iso(at_ms), "last_missed": iso(at_ms), "count": 3}
            for _ in range(2):  # events are delivered at least once
                publish_missed(missed, at_ms)
            product_aws._client.cache_clear()
        for job in ("good", "bad", "slow"):
            scenario.wait_until(job, at_ms, "success", "fail")


@pytest.fixture(scope="module")
def archived(forks: Forks, applied: Json, scenario: Scenario) -> Iterator[Json]:
    """The archived events of the service, by object, and by job and event."""
    wanted = {("good", "execution.succeeded"), ("bad", "execution.failed"), ("slow", "execution.succeeded")}
    wanted |= {("late", "execution.skipped"), ("idle", "job.created"), ("paused", "job.paused")}
    wanted |= {("deleted", "job.deleted")}
    missing = wanted

    def look() -> Json | None:
        nonlocal missing
        objects = forks.archived(applied["archive"]["archive"]["bucket"])
        events = [event for found in objects.values() for event in found]
        there = {(event["job_name"], event["event"]): scenario.checked_event(event) for event in events}
        missing = wanted - there.keys()
        return None if missing else {"objects": objects, "events": there}

    try:
        found = poll(look, 60, "all events in the archive")
    except AssertionError as error:
        error.add_note(f"missing: {sorted(missing)}")
        raise
    yield found
    scenario.check_messages()


def test_each_event_is_archived_unchanged_under_its_day(archived: Json) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for key, events in archived["objects"].items():
        day, name = key.removeprefix("events/").split("/")
        assert day.startswith("day=20")
        assert day <= f"day={today}"
        assert name.endswith(".gz")
        assert all(event["occurred_at"][:10] <= today for event in events)
    failed = archived["events"]["bad", "execution.failed"]
    assert (failed["status"], failed["summary"], failed["attempt"]) == ("fail", "disk full", 1)
    assert failed["finished_at_ms"] >= failed["service_invoked_at_ms"]


def test_the_saved_queries_answer_the_operators_questions(
    forks: Forks, applied: Json, archived: Json
) -> None:
    search = applied["search"]
    analyst = forks.analyst(search["policy_arn"])

    def own(name: str) -> dict[str | None, Json]:
        rows = answers(analyst, search["workgroup_name"], name)
        return {row["job_name"]: row for row in rows if row["service_name"] == forks.service_name}

    try:
        failed = own("what failed this week")
        assert failed.keys() == {"bad"}
        assert (failed["bad"]["failed"], failed["bad"]["timed_out"], failed["bad"]["executions"]) == (
            "1",
            "0",
            "1",
        )
        assert (failed["bad"]["its_error"], failed["bad"]["its_summary"]) == ("no", "disk full")
        assert failed["bad"]["has_recovered"] == "false"

        slow = own("what is slow")
        assert {"slow"} <= slow.keys() <= {"good", "bad", "slow"}
        # On a slow machine, any job may be the slowest.
        seconds = {str(job_name): float(row["work_p95"]) for job_name, row in slow.items()}
        assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
        assert seconds["slow"] >= 2
        assert (
            slow["slow"]["longest_execution_id"]
            == archived["events"]["slow", "execution.succeeded"]["execution_id"]
        )

        never = own("what never ran")
        assert never.keys() == {"idle", "late", "paused"}
        assert never["paused"]["why"] == "paused"
        assert (never["idle"]["why"], never["idle"]["missed_ticks"]) == ("ticks were missed", "3")
        assert (never["late"]["skipped"], never["late"]["why"][:9]) == ("1", "skipped: ")
        assert never["idle"]["last_started"] is None
        assert never["idle"]["schedule"] == archived["events"]["idle", "job.created"]["schedule"]

        with pytest.raises(ClientError, match="AccessDenied"):
            analyst.client("athena").start_query_execution(QueryString="SELECT 1", WorkGroup="primary")
        with pytest.raises(ClientError, match="AccessDenied"):
            analyst.client("s3").put_object(
                Bucket=applied["archive"]["archive"]["bucket"], Key="events/day=2026-01-01/forged", Body=b"{}"
            )
    finally:
        forks.forget_analyst()


def test_a_queue_receives_the_events_that_pass_its_filter_unchanged(
    forks: Forks, events_published: None, subscribed: Json
) -> None:
    # Three jobs started and ended, and one was skipped.
    received = [
        json.loads(m["Body"]) for m in forks.receive(subscribed["queue"]["id"], 7, forks.service_name)
    ]

    assert {event["event"].partition(".")[0] for event in received} == {"execution"}
    assert {event["job_name"] for event in received} == {"good", "bad", "slow", "late"}


def test_a_function_receives_every_event_of_its_service(
    forks: Forks, events_published: None, subscribed: Json
) -> None:
    messages = forks.receive(subscribed["function"]["id"], 14, forks.service_name)
    received = [json.loads(json.loads(m["Body"])["Records"][0]["Sns"]["Message"]) for m in messages]

    assert {event["service_name"] for event in received} == {forks.service_name}
    assert {"execution.failed", "job.created", "job.paused"} <= {event["event"] for event in received}


def test_a_url_confirms_its_subscription_and_receives_events(forks: Forks, events_published: None) -> None:
    assert forks.listener.confirmed.is_set()
    received = poll(
        lambda: forks.listener.received if len(forks.listener.received) >= 7 else None, 30, "7 events"
    )
    events = [json.loads(body) for body in received]

    assert {event["event"] for event in events} == {"job.created"}
    assert len({event["job_name"] for event in events}) == 7


def test_a_mail_address_is_pending_until_somebody_opens_the_link(
    forks: Forks, applied: Json, aws: Any
) -> None:
    mail = applied["subscriptions"]["mail"]
    found = aws.client("sns").get_subscription_attributes(SubscriptionArn=mail["arn"])["Attributes"]

    assert (found["Protocol"], found["Endpoint"]) == ("email", f"{forks.service_name}@example.com")
    assert found["PendingConfirmation"] == "true"
    assert found["RedrivePolicy"] == json.dumps(
        {"deadLetterTargetArn": mail["dead_letter_queue_arn"]}
    ).replace(" ", "")


def test_events_that_cannot_be_delivered_wait_in_the_dead_letter_queue(forks: Forks, applied: Json) -> None:
    url = applied["subscriptions"]["closed"]["dead_letter_queue_url"]
    kept = [json.loads(m["Body"]) for m in forks.receive(url, 14, forks.service_name)]

    assert {"execution.failed", "job.created"} <= {event["event"] for event in kept}


def test_a_replay_sends_the_range_again_keeps_all_events_and_can_be_repeated(
    forks: Forks, applied: Json, subscribed: Json, scenario: Scenario
) -> None:
    """The range covers the events of the first job. The second job is created after the range."""
    replay, target = applied["replay"], subscribed["target"]["id"]
    scenario.put("first", schedule=own_schedule())
    time.sleep(1.1)  # a range has whole seconds
    until_ms = scenario.tick_time()
    scenario.put("second", schedule=own_schedule())
    poll(lambda: forks.waiting(replay["queue_url"]) >= 2, 30, "events in the queue")
    assert forks.waiting(target) == 0

    forks.terraform.apply("event_replay", replay={"since": iso(until_ms - 3_600_000), "until": iso(until_ms)})
    (again,) = forks.receive(target, 1, f'"{forks.service_name}", "job_name": "first"', REPLAY_SECONDS)
    assert json.loads(again["Body"])["event"] == "job.created"
    assert again["MessageAttributes"]["event"]["StringValue"] == "job.created"
    poll(lambda: forks.waiting(replay["queue_url"]) == 0, REPLAY_SECONDS, "end of the replay")
    second = f'"{forks.service_name}", "job_name": "second"'
    assert all(second not in message["Body"] for message in drain(forks, target))

    # Events that are moved back during a replay are replayed again. Without a replay, they stay in the queue.
    move = {"SourceArn": replay["aside_queue_arn"], "DestinationArn": replay["queue_arn"]}
    forks.sqs.start_message_move_task(**move)
    forks.receive(target, 1, f'"{forks.service_name}", "job_name": "first"', REPLAY_SECONDS)
    poll(lambda: forks.waiting(replay["queue_url"]) == 0, REPLAY_SECONDS, "end of the second replay")

    forks.terraform.apply("event_replay", replay=None)
    forks.sqs.start_message_move_task(**move)
    drain(forks, target)
    bodies = [message["Body"] for message in drain(forks, replay["queue_url"])]
    own = [json.loads(json.loads(body)["Message"]) for body in bodies if forks.service_name in body]
    assert {"first", "second", "idle", "deleted"} <= {event["job_name"] for event in own}
    assert forks.waiting(target) == 0


def drain(forks: Forks, url: str) -> list[Json]:
    """Receives and deletes all messages of a queue."""
    found: list[Json] = []
    while got := forks.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        found += got
        for message in got:
            forks.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
