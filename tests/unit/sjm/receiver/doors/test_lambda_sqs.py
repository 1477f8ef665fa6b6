"""The door of a Lambda function that reads a queue."""

import json
import threading
from typing import Any

import pytest

from sjm.receiver import MemorySeen, OutOfTime, Receiver, Run
from sjm.receiver.pool import Pool
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.doors.lambda_context import Context
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager


def records(*bodies: Any) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"AWSTraceHeader": f"Root={number}"},
            }
            for number, body in enumerate(bodies)
        ]
    }


def failed(jobs: Receiver, event: dict[str, Any], seconds: float = 300) -> list[str]:
    answer = jobs.lambda_sqs(event, Context(seconds))
    assert list(answer) == ["batchItemFailures"]
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def test_messages_are_worked_on_raw_and_in_an_envelope(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver(secrets=None)
    jobs.job("nightly")(lambda run: f"{run.payload} {run.trace_header}")
    raw, wrapped = manager.notification(payload="ß 🎉"), manager.notification()
    envelope = {"Type": "Notification", "TopicArn": "arn:…", "Message": json.dumps(wrapped)}

    assert failed(jobs, records(raw, envelope)) == []
    assert manager.results(raw["execution_id"]) == [{"status": "success", "summary": "ß 🎉 Root=0"}]
    assert manager.results(wrapped["execution_id"])[0]["summary"] == '{"ledger": 7} Root=1'
    assert failed(jobs, {}) == []


def test_messages_of_a_batch_are_worked_on_at_once(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    all_there = threading.Barrier(10)
    jobs.job("nightly")(lambda run: all_there.wait(WAIT_SECONDS) and None)

    assert failed(jobs, records(*(manager.notification() for _ in range(10)))) == []
    assert len(manager.results()) == 10


def test_more_messages_than_workers_wait_for_each_other(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver(workers=2)
    jobs.job("nightly")(lambda run: None)

    assert failed(jobs, records(*(manager.notification() for _ in range(10)))) == []
    assert len(manager.results()) == 10


def test_duplicates_and_tests_are_deleted_without_work(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    may_end = threading.Event()
    worked: list[Run] = []

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        worked.append(run)
        may_end.wait(WAIT_SECONDS)

    notification = manager.notification()
    test = {"test": True, "job_name": "nightly"}
    threading.Timer(0.05, may_end.set).start()
    assert failed(jobs, records(notification, notification, test)) == []
    assert failed(jobs, records(notification)) == []
    assert len(worked) == 1


def test_a_job_that_fails_is_no_failed_message(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        raise KeyError("ledger")

    notification = manager.notification()
    assert failed(jobs, records(notification)) == []
    assert manager.results()[0]["error"]["name"] == "KeyError"


def test_an_unknown_job_fails_in_words(manager: Manager, make_receiver: MakeReceiver) -> None:
    assert failed(make_receiver(), records(manager.notification("monthly"))) == []
    assert manager.results()[0]["error"] == {
        "name": "UnknownJob",
        "message": "this service has no job 'monthly'; it has: none",
    }


def test_what_is_no_notification_and_what_has_no_claim_stays_in_the_queue(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    class Unreachable(MemorySeen):
        def claim(self, execution_id: str, attempt: int) -> bool:
            if attempt == 2:
                raise ConnectionError
            return super().claim(execution_id, attempt)

    jobs = make_receiver(seen=Unreachable(), workers=1)
    jobs.job("nightly")(lambda run: None)
    bodies = [
        "{",
        {"hello": "world"},
        manager.notification(attempt=2),
        manager.notification(sync=True),
        manager.notification(),
    ]

    assert failed(jobs, records(*bodies)) == ["m0", "m1", "m2", "m3"]
    assert len(manager.results()) == 1


def test_a_thread_that_cannot_start_leaves_the_message_in_the_queue(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_receiver(workers=1)
    jobs.job("nightly")(lambda run: None)
    event = records(manager.notification())

    def no_more_threads(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "submit", no_more_threads)
        assert failed(jobs, event) == ["m0"]
    assert failed(jobs, event) == []


def test_messages_for_which_there_is_no_time_stay_in_the_queue(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver(workers=1, leave_seconds=1)

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        while True:
            run.progress()

    first, second = manager.notification(), manager.notification()
    assert failed(jobs, records(first, second), seconds=6) == ["m1"]
    assert manager.results(first["execution_id"])[0]["error"]["name"].endswith(OutOfTime.__name__)
    assert manager.results(second["execution_id"]) == []
    assert failed(jobs, records(first), seconds=1) == ["m0"]


def test_a_result_that_is_not_answered_in_time_is_said(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make_receiver(leave_seconds=0)
    jobs.job("nightly")(lambda run: None)
    notification = manager.notification()
    manager.always(notification["execution_id"], 503)

    assert failed(jobs, records(notification), seconds=4) == []
    assert "is not answered at the end of the invocation" in caplog.text


def test_it_says_why_messages_stay_where_the_timeout_is_too_short(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)

    assert failed(jobs, records(manager.notification()), seconds=3) == ["m0"]
    assert "message m0 is left in its queue" in caplog.text
    assert "leave_seconds" in caplog.text


def test_after_a_failed_message_of_a_fifo_queue_its_group_waits(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    event = records("no notification", manager.notification(), manager.notification())
    for record, group in zip(event["Records"], "aab", strict=True):
        record["eventSourceARN"] = "arn:aws:sqs:eu-central-1:123456789012:jobs.fifo"
        record["attributes"]["MessageGroupId"] = group

    assert failed(jobs, event) == ["m0", "m1"]
    assert len(manager.results()) == 1
