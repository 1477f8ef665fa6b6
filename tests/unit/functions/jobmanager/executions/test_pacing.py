"""``per_second`` of a limit: executions wait for their time in a queue, and notify one after the other."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from functions.start_spread_executions.handler import handler
from jobmanager.aws import tables
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.executions import delayed_starts, pacing
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.pacing import Timed, send, start_or_send_again, wait_to_notify
from jobmanager.executions.record import Execution
from jobmanager.executions.time_limits import task_limits
from jobmanager.limits import store as limits
from tests.unit.functions.examples import due, lambda_context, save_job, stored
from tests.unit.functions.target import Target
from tests.unit.functions.waiting import (
    OF_STANDARD,
    WORKFLOW_TYPES,
    Turns,
    at,
    begin,
    callback_of,
    limit,
    put_limit,
    summary,
)

pytestmark = pytest.mark.usefixtures("cloud", "machines", "turns")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the function waited. The clock is at noon."""
    waits: list[float] = []
    monkeypatch.setattr(pacing, "time", SimpleNamespace(sleep=waits.append))
    for module in ("jobmanager.executions.pacing", "jobmanager.delivery.notify"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: at(0))
    return waits


def message(seconds: float) -> Timed:
    return {"waiting_execution": "x", "may_start_at_ms": at(seconds)}


@pytest.mark.parametrize(
    ("seconds", "delay"), [(-5, 0), (0.9, 0), (1.9, 1), (20, 20), (900, 900), (901, 900), (86_400, 900)]
)
def test_a_message_is_delayed_until_the_time_or_for_fifteen_minutes(
    seconds: float, delay: int, turns: Turns
) -> None:
    send(message(seconds), at(0))
    assert turns.sent == [(message(seconds), delay)]


@pytest.mark.parametrize(("early", "is_started"), [(1.001, False), (1, True), (0, True), (-60, True)])
def test_a_message_that_comes_early_is_sent_again(early: float, is_started: bool, turns: Turns) -> None:
    start_or_send_again(message(100), at(100 - early))
    assert turns.asked == ([{"execution_id": "x"}] if is_started else [])
    assert turns.sent == ([] if is_started else [(message(100), 1)])


def deliver(seconds: float, monkeypatch: pytest.MonkeyPatch, *bodies: Any) -> int:
    monkeypatch.setattr(delayed_starts, "now_ms", lambda: at(seconds))
    records = [{"messageId": f"m-{n}", "body": json.dumps(body)} for n, body in enumerate(bodies)]
    return handler({"Records": records}, lambda_context())["started"]


@WORKFLOW_TYPES
def test_an_execution_waits_longer_than_sqs_delays_and_starts_at_its_time(
    workflow_type: str, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_limit(per_second=1)
    save_job(limit="db", workflow_type=workflow_type)
    limits.reserve(limit(), "next_start_ms", at(1999))
    waits = begin(0, callback=callback_of(workflow_type))
    assert waits["may_start_at_ms"] == at(2000)
    seconds, delays = 0, []
    while turns.sent:
        body, delay = turns.sent.pop()
        seconds += delay
        delays.append(delay)
        assert deliver(seconds, monkeypatch, body) == 0
    assert delays == [900, 900, 200]
    assert turns.give(seconds) == 1
    assert stored(waits)["started_at_ms"] == at(2000)


def test_a_message_that_is_delivered_twice_starts_nothing_twice(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_limit(per_second=1)
    save_job(limit="db")
    limits.reserve(limit(), "next_start_ms", at(19))
    waits = begin()
    ((body, _),) = turns.sent
    deliver(20, monkeypatch, body, body)
    assert len(turns.asked) == 2
    assert turns.give(20) == 1
    assert summary(waits) == ("running", None)


def test_one_message_that_is_not_sent_again_brings_all_back(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns.is_down = True
    with pytest.raises(RuntimeError):
        deliver(0, monkeypatch, message(100))
    turns.is_down = False
    deliver(0, monkeypatch, message(100))
    assert turns.sent == [(message(100), 100)]


# --- before the notification --------------------------------------------------------------------------------


def record_of(**fields: Any) -> Execution:
    save_job(**fields)
    return begin_to_notify(due(), OF_STANDARD, at(0)).record


@pytest.mark.parametrize("how", ["no limit", "a limit that is not there", "only slots"])
def test_nobody_waits_to_notify_without_per_second(how: str, slept: list[float]) -> None:
    if how == "only slots":
        put_limit(slots=1)
    wait_to_notify(record_of(**({} if how == "no limit" else {"limit": "db"})))
    assert slept == []
    if how == "only slots":
        assert "next_call_ms" not in limit()


def test_notifications_are_sent_one_after_the_other(slept: list[float]) -> None:
    put_limit(per_second=4)
    record = record_of(limit="db")
    for _ in range(4):
        wait_to_notify(record)
    assert slept == [0, 0.25, 0.5, 0.75]


def test_a_function_waits_for_twenty_seconds_at_most(slept: list[float]) -> None:
    put_limit(per_second=1)
    record = record_of(limit="db")
    limits.reserve(limit(), "next_call_ms", at(999))
    wait_to_notify(record)
    assert slept == [20]


def test_a_limit_that_is_deleted_as_it_is_reserved_lets_nobody_wait(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_limit(per_second=1)
    record = record_of(limit="db")
    limits.reserve(limit(), "next_call_ms", at(999))
    seen = limit()
    limits.delete(seen)
    monkeypatch.setattr(limits, "find", lambda *_: seen)
    wait_to_notify(record)
    assert slept == [0]


def test_a_time_that_another_reserved_in_between_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made = put_limit(per_second=10)
    update_if = tables.update_if
    calls = iter(range(10))

    def update_late(*arguments: Any) -> Any:
        if next(calls) == 1:  # this one has seen that nobody has reserved a time, and is about to
            assert limits.reserve(made, "next_start_ms", at(0)) == at(0)
        return update_if(*arguments)

    monkeypatch.setattr(tables, "update_if", update_late)
    assert limits.reserve(made, "next_start_ms", at(0)) == at(0.1)


@WORKFLOW_TYPES
def test_each_service_is_notified_at_its_own_time(
    workflow_type: str, slept: list[float], target: Target
) -> None:
    put_limit(per_second=2)
    saved = save_job(limit="db", workflow_type=workflow_type, invocation_target=target.url)
    of_machine: dict[str, Any] = {"task_token": "t"}
    for number in range(2):
        execution = {**due(at_ms=at(number)), **task_limits(saved)}
        if workflow_type == "express":
            name = f"arn:aws:states:a:b:express:c:d:m-{number}"
            of_machine = {"machine_execution": name, "execution": execution}
        run(execution, machine_of(of_machine), at(0))
    assert (len(target.bodies), slept) == (2, [0, 0.5])
