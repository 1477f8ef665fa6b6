"""route_alerts, with a queue and a table that behave as AWS's: at least once, in any order, with faults."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.route_alerts.handler import handler
from jobmanager.alerts import group as groups
from jobmanager.alerts import route as routing
from jobmanager.alerts.destination import AlertUndelivered
from jobmanager.alerts.group import EMPTY, Group, Message
from jobmanager.core.errors import AwsCallFailed
from tests.unit.functions.examples import NOON_MS, lambda_context
from tests.unit.functions.jobmanager.alerts.published import event, failure
from tests.unit.functions.jobmanager.alerts.test_group import check_order

SECOND, MINUTE = 1_000, 60_000
VISIBILITY_MS = 185_000
SETTINGS = {
    "ALERT_EVENTS": "execution.failed,execution.timed_out",
    "ALERT_KIND": "slack",
    "ALERT_SOURCE": "sjm-test",
    "ALERTS_TABLE": "alerts",
    "CONSOLE_URL": "none",
    "DEAD_LETTER_QUEUE_URL": "dead-letters",
    "GROUP_BY": "service",
    "LONGEST_WINDOW_SECONDS": "3600",
    "QUEUE_URL": "queue",
    "QUIET_SECONDS": "300",
    "ROUTE": "on-call",
    "WINDOW_SECONDS": "900",
}


class Died(BaseException):
    """The function was ended in the middle of a call."""


class Place:
    """The queue, the table and the destination of a route, on a virtual clock."""

    def __init__(self, seed: int = 0, faults: float = 0.0, deaths: float = 0.0) -> None:
        self.now = NOON_MS
        self.chance = random.Random(seed)
        self.faults = faults
        self.deaths = deaths
        self.queue: list[dict[str, Any]] = []
        self.dead: list[str] = []
        self.table: dict[str, tuple[str, int]] = {}
        self.posts: list[Message] = []
        self.post: Callable[[Message], None] = lambda message: None
        self.depth = 0
        self.writes = 0

    def publish(self, body: str, delay_ms: int = 0) -> None:
        self.queue.append({"body": body, "visible_at": self.now + delay_ms})

    def may_die(self) -> None:
        if self.chance.random() < self.deaths:
            raise Died

    def read(self, name: str) -> tuple[Group, int]:
        self.may_die()
        stored, version = self.table.get(name, (json.dumps(EMPTY), 0))
        return json.loads(stored), version

    def write(self, name: str, group: Group, version: int, now_ms: int) -> bool:
        self.may_die()
        self.meanwhile()
        if self.table.get(name, ("", 0))[1] != version:
            return False
        self.table[name] = (json.dumps(group), version + 1)
        self.writes += 1
        self.may_die()
        return True

    def send(self, message: Message) -> None:
        self.may_die()
        self.meanwhile()
        if self.chance.random() < self.faults:
            raise AlertUndelivered("the destination answered 500")
        self.post(message)
        self.posts.append(copy.deepcopy(message))
        self.now += self.chance.randint(0, 5) * SECOND if self.faults else 0
        self.may_die()

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:
        self.may_die()
        assert 0 <= DelaySeconds <= 900
        if QueueUrl == "dead-letters":
            self.dead.append(MessageBody)
        else:
            self.publish(MessageBody, DelaySeconds * SECOND)
        self.may_die()

    def meanwhile(self) -> None:
        """Another invocation may run in the middle of this one."""
        if self.faults and self.depth == 1 and self.chance.random() < 0.3:
            self.run_once()

    def run_once(self) -> bool:
        """Invokes the function with some of the visible messages; False if there is none."""
        visible = [message for message in self.queue if message["visible_at"] <= self.now]
        if not visible:
            return False
        batch = self.chance.sample(visible, min(len(visible), self.chance.randint(1, 10)))
        for message in batch:
            message["visible_at"] = self.now + VISIBILITY_MS
        self.depth += 1
        try:
            routing.route(batch, self.now + 10 * SECOND, lambda: self.now)
        except Died:
            return True
        finally:
            self.depth -= 1
        is_doubled = self.faults and self.chance.random() < 0.1
        if not is_doubled:
            done = {id(message) for message in batch}
            self.queue = [message for message in self.queue if id(message) not in done]
        return True

    def run(self, until_ms: int) -> None:
        """Invokes the function whenever messages are visible."""
        while self.queue:
            self.now = max(self.now, min(message["visible_at"] for message in self.queue))
            if self.now > until_ms:
                break
            self.run_once()
        self.now = max(self.now, until_ms)

    def group(self, name: str = "service billing") -> Group:
        return self.read(name)[0]

    @property
    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.posts]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    return use(Place(), monkeypatch)


def use(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(routing, "store", place)
    monkeypatch.setattr(routing, "sqs", lambda: place)
    monkeypatch.setattr(routing, "send", place.send)
    monkeypatch.setattr(routing, "tries", range)
    return place


def test_the_first_failure_is_told_at_once_and_its_end_once(place: Place) -> None:
    place.publish(failure())
    place.run_once()
    assert place.kinds == ["opened"]

    place.publish(event("execution.succeeded", at_ms=NOON_MS + MINUTE), MINUTE)
    place.run(NOON_MS + 100 * MINUTE)
    assert place.kinds == ["opened", "over"]
    assert place.queue == []


def test_a_hundred_failures_are_one_more_message(place: Place) -> None:
    place.publish(failure("first"))
    place.run_once()
    for number in range(100):
        place.publish(failure(f"job-{number}", NOON_MS + number), number * SECOND)
    place.run(NOON_MS + 8 * 60 * MINUTE)

    assert place.kinds == ["opened", "update"]
    assert place.posts[1]["news"] == 100
    assert place.queue == []


def test_a_window_longer_than_the_longest_delay_of_sqs_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", "4000")
    place.publish(failure("a"))
    place.publish(failure("b", NOON_MS + 1), SECOND)
    place.run(NOON_MS + 120 * MINUTE)

    assert [message["at_ms"] // MINUTE - NOON_MS // MINUTE for message in place.posts] == [0, 66]


def test_a_success_of_a_job_without_a_problem_writes_nothing(place: Place) -> None:
    for number in range(50):
        place.publish(event("execution.succeeded", f"job-{number}"))
    place.run(NOON_MS + MINUTE)

    assert (place.writes, place.posts, place.queue) == (0, [], [])


def test_messages_of_others_are_dropped(place: Place) -> None:
    for body in ("no JSON", "[]", "{}", '{"pulse": 7}', '{"event": "execution.failed"}'):
        place.publish(body)
    place.run(NOON_MS + MINUTE)

    assert (place.writes, place.queue) == (0, [])


def test_a_message_that_is_not_taken_is_sent_again_when_the_destination_asks(place: Place) -> None:
    answers: list[Exception | None] = [AlertUndelivered("429", 77), AlertUndelivered("500"), None]
    tried: list[int] = []

    def post(message: Message) -> None:
        tried.append(place.now)
        if answer := answers.pop(0):
            raise answer

    place.post = post
    place.publish(failure())
    place.run(NOON_MS + 10 * MINUTE)

    assert [(at_ms - NOON_MS) // SECOND for at_ms in tried] == [0, 77, 77 + 30]
    assert place.kinds == ["opened"]


def test_a_destination_may_ask_for_a_longer_pause_than_sqs_delays(place: Place) -> None:
    answers: list[Exception | None] = [AlertUndelivered("429", 2_000), None]

    def post(message: Message) -> None:
        if answer := answers.pop(0):
            raise answer

    place.post = post
    place.publish(failure())
    place.run(NOON_MS + 33 * MINUTE)
    assert place.kinds == []
    place.run(NOON_MS + 34 * MINUTE)
    assert place.kinds == ["opened"]


def test_a_destination_that_is_down_is_tried_alone_by_the_pulse_however_many_events_come(
    place: Place,
) -> None:
    tried = 0

    def post(message: Message) -> None:
        nonlocal tried
        tried += 1
        raise AlertUndelivered("no answer")

    place.post = post
    for number in range(600):
        place.publish(failure(f"job-{number % 30}", NOON_MS + number), number * 6 * SECOND)
    place.run(NOON_MS + 60 * MINUTE)
    assert tried <= 12
    assert len(place.queue) == 1

    place.post = lambda message: None
    place.run(NOON_MS + 300 * MINUTE)
    assert place.kinds == ["opened", "update"]
    assert place.posts[0]["problems"] == 1  # as it was planned an hour ago
    assert place.posts[1]["failing"] == 30


def test_after_the_last_try_the_pulse_is_a_dead_letter_and_the_next_signal_tries_again(place: Place) -> None:
    def refuse(message: Message) -> None:
        raise AlertUndelivered("the destination answered 403")

    place.post = refuse
    place.publish(failure("a"))
    place.run(NOON_MS + 10 * 60 * MINUTE)
    assert place.queue == []
    assert [json.loads(body) for body in place.dead] == [{"pulse": "service billing"}]
    assert place.group()["outbox"]["kind"] == "opened"

    place.post = lambda message: None
    place.publish(failure("b", place.now))
    place.run(place.now + MINUTE)
    assert place.kinds == ["opened"]


def test_a_pulse_that_is_moved_back_from_the_dead_letters_is_tried(place: Place) -> None:
    place.post = lambda message: (_ for _ in ()).throw(AlertUndelivered("no answer"))
    place.publish(failure("a"))
    place.run(NOON_MS + 10 * 60 * MINUTE)
    place.post = lambda message: None
    place.publish(place.dead[0])
    place.run(place.now + MINUTE)

    assert place.kinds == ["opened"]


def test_after_one_failure_no_other_group_of_the_batch_is_tried(place: Place) -> None:
    tried: list[str] = []

    def post(message: Message) -> None:
        tried.append(message["group"])
        raise AlertUndelivered("no answer")

    place.post = post
    bodies = [failure(service_name=f"service-{n}") for n in range(5)]
    routing.route([{"body": body} for body in bodies], place.now + MINUTE, lambda: place.now)

    assert len(tried) == 1
    assert len(place.queue) == 5


def test_no_delivery_begins_when_the_function_is_about_to_end(place: Place) -> None:
    routing.route([{"body": failure()}], place.now, lambda: place.now)
    assert (place.posts, len(place.queue)) == ([], 1)

    place.run(place.now + MINUTE)
    assert place.kinds == ["opened"]


def test_an_error_of_aws_in_one_group_fails_the_batch_and_spares_the_others(place: Place) -> None:
    read = place.read

    def broken(name: str) -> tuple[Group, int]:
        if name == "service a":
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetItem")
        return read(name)

    place.read = broken  # type: ignore[method-assign]
    records = [{"body": failure(service_name=name)} for name in ("a", "b")]
    with pytest.raises(AwsCallFailed):
        handler({"Records": records}, lambda_context())

    assert [message["group"] for message in place.posts] == ["service b"]


def test_who_dies_after_sending_sends_the_same_message_once_more(place: Place) -> None:
    def post(message: Message) -> None:
        place.post = lambda message: None
        place.posts.append(copy.deepcopy(message))
        raise Died

    place.post = post
    place.publish(failure("a"))
    place.run_once()
    place.publish(failure("b", NOON_MS + 1), SECOND)  # it does not get into the message
    place.run(NOON_MS + 10 * MINUTE)

    first, second = place.posts
    assert first == second
    place.run(NOON_MS + 60 * MINUTE)
    assert place.kinds == ["opened", "opened", "update"]


@pytest.mark.parametrize("seed", range(60))
def test_under_every_fault_nothing_is_lost_and_messages_leave_in_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions die at any call, others run in between, deliveries fail, messages come twice and late."""
    deaths = 0.05 if seed % 2 else 0.0
    place = use(Place(seed, faults=0.3, deaths=deaths), monkeypatch)
    failed: set[str] = set()
    for number in range(place.chance.randint(1, 40)):
        service, job = place.chance.choice(["billing", "ledger"]), f"job-{place.chance.randint(0, 5)}"
        at_ms = NOON_MS + number * place.chance.randint(1, 20) * MINUTE
        is_failure = place.chance.random() < 0.6
        body = event("execution.failed" if is_failure else "execution.succeeded", job, at_ms, service)
        late_ms = place.chance.randint(0, 20) * SECOND
        for _ in range(place.chance.choice([1, 1, 1, 2])):
            place.publish(body, at_ms - NOON_MS + late_ms)
        if is_failure:
            failed.add(f"{service}/{job}")
    place.run(NOON_MS + 50 * 60 * MINUTE)
    # In the end every job succeeds, twice, as scheduled jobs do.
    for _ in range(2):
        for service in ("billing", "ledger"):
            for number in range(6):
                place.publish(event("execution.succeeded", f"job-{number}", place.now, service))
        place.run(place.now + 20 * 60 * MINUTE)

    assert place.queue == []
    assert place.dead == []
    place.deaths = 0
    shown: set[str] = set()
    for service in ("billing", "ledger"):
        group = place.group(f"service {service}")
        assert "outbox" not in group
        assert not group["problems"]
        told = [message for message in place.posts if message["group"] == f"service {service}"]
        once: dict[tuple[str, int], Message] = {}
        for message in told:
            assert once.setdefault((message["alert_id"], message["number"]), message) == message
        if not deaths:
            assert len(once) == len(told)  # only who dies sends a message twice
        check_order(list(once.values()))
        shown |= {row["subject"] for message in told for row in message["rows"]}
    assert shown == failed


def test_a_function_of_a_claim_has_ended_before_the_claim_does() -> None:
    from tests.unit.terraform.blocks import TERRAFORM

    text = (TERRAFORM / "modules" / "alert_route" / "main.tf").read_text()
    (timeout,) = [
        line.split("=")[1] for line in text.splitlines() if line.strip().startswith("route_timeout ")
    ]
    assert int(timeout) * 1000 < groups.CLAIM_MS < 6 * int(timeout) * 1000
