"""Executions wait for the lock of their job, for a slot of a limit, or for their time, and then run."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso
from jobmanager.core.names import job_guid
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.record import Due
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause, Webhook, WebhookListener
from sjm.receiver import Answer
from tests.exhaustive import cases
from tests.integration.polling import CLOCK, MOST_PATIENCE, patient, poll
from tests.integration.published_events import PublishedEvents
from tests.integration.scenario import Held, Json, Scenario, fails, is_silent
from tests.integration.sweeps import reap, reap_expired

TYPES = pytest.mark.parametrize("workflow_type", ["standard", "express"])
LONG: Json = {"ttl_seconds": 600}


class OneByOne:
    """A service's work that ends in the order in which the test releases it; each as success."""

    def __init__(self) -> None:
        self._released = threading.Semaphore(0)

    def __call__(self, _: Notification, callbacks: Callbacks, __: Pause) -> None:
        self._released.acquire(timeout=600)
        callbacks.success()

    def release(self, count: int = 1) -> None:
        self._released.release(count)


def by_hand(scenario: Scenario, job_name: str) -> Json:
    return scenario.post(scenario.job_path(job_name, "executions"))


def found(scenario: Scenario, execution: Json) -> Json:
    now = scenario.execution_named(execution["job_name"], execution["execution_id"])
    assert now is not None
    return now


def wait_for(scenario: Scenario, execution: Json, status: str, seconds: float = 90) -> Json:
    return scenario.wait_for(execution["job_name"], execution["execution_id"], status, seconds=seconds)


def tokens(service: ObservedService) -> list[int]:
    return [received.notification["fencing_token"] for received in service.received]


def names_of(service: ObservedService) -> list[str]:
    return [received.notification["execution_id"] for received in service.received]


def is_notified(service: ObservedService, number: int) -> bool:
    assert len(service.received) <= number
    return len(service.received) == number


@TYPES
def test_all_that_wait_for_the_lock_run_in_the_order_of_their_ticks(
    scenario: Scenario, workflow_type: str
) -> None:
    work = OneByOne()
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a", overlap="queue_all", workflow_type=workflow_type, **LONG)
        first = scenario.tick()
        scenario.wait_until("a", first, "running")
        later = [scenario.tick(first + 1000 * number) for number in (1, 2, 3)]
        waiting = [scenario.wait_until("a", tick, "waiting") for tick in later]
        holder = scenario.execution_id("a", first)
        assert waiting[0]["reason"] == {"code": "lock_held", "detail": f"the lock is held by {holder}"}
        assert {each["execution_id"] for each in scenario.history("a", "status=waiting")} == {
            each["execution_id"] for each in waiting
        }
        if workflow_type == "standard":
            assert scenario.machine("a", later[0])["status"] == "SUCCEEDED"
        for number in range(1, 5):
            poll(partial(is_notified, service, number), 60, f"notification {number}")
            work.release()
        for tick in (first, *later):
            ended = scenario.wait_until("a", tick, "success")
            assert ended["started_at_ms"] >= ended.get("waiting_since_ms", 0)
        assert names_of(service) == [scenario.execution_id("a", tick) for tick in (first, *later)]
        assert tokens(service) == [1, 2, 3, 4]


@TYPES
def test_of_20_ticks_while_it_runs_the_first_and_the_last_run(scenario: Scenario, workflow_type: str) -> None:
    work = OneByOne()
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a", overlap="queue_one", workflow_type=workflow_type, **LONG)
        first = scenario.tick()
        scenario.wait_until("a", first, "running")
        later = [first + 1000 * number for number in range(1, 20)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(scenario.tick, later))
        for tick in later[:-1]:
            skipped = scenario.wait_until("a", tick, "skipped", seconds=120)
            assert skipped["reason"]["code"] == "superseded"
        scenario.wait_until("a", later[-1], "waiting")
        work.release(2)
        for tick in (first, later[-1]):
            scenario.wait_until("a", tick, "success")
        assert names_of(service) == [scenario.execution_id("a", tick) for tick in (first, later[-1])]
        assert tokens(service) == [1, 2]


@TYPES
def test_a_job_that_is_due_again_cancels_what_runs_and_runs_itself(
    scenario: Scenario, published: PublishedEvents, workflow_type: str
) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", overlap="cancel_running", workflow_type=workflow_type, **LONG)
        first = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 60, "the first notification")
        second = scenario.tick(first + 1000)
        service.wait_for(lambda s: len(s.received) == 2, 90, "the second notification")
        cancelled = scenario.wait_until("a", first, "cancelled")
        assert scenario.execution_id("a", second) in cancelled["cause"]
        gone = scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        assert gone.status == 410
        done = scenario.callback(service.received[1].notification["callback_url"], {"status": "success"})
        assert done.status == 200
        scenario.wait_until("a", second, "success")
        assert tokens(service) == [1, 2]
        assert published.wait_for("execution.cancelled")["execution_id"] == scenario.execution_id("a", first)


def test_an_execution_between_two_attempts_is_cancelled_for_the_next(scenario: Scenario) -> None:
    """No task waits then, so its state machine is stopped."""
    with scenario.service(over_sns=True, work=fails) as service:
        retry = {"max_attempts": 2, "interval_seconds": 600, "on": ["fail"]}
        scenario.put("a", overlap="cancel_running", retry=retry, **LONG)
        first = scenario.tick()
        poll(lambda: "next_attempt_at" in (scenario.execution("a", first) or {}), 60, "the end of attempt 1")
        second = scenario.tick(first + 1000)
        scenario.wait_until("a", first, "cancelled")
        assert scenario.machine("a", first)["status"] == "ABORTED"
        service.wait_for(lambda s: len(s.received) == 2, 60, "the second notification")
        assert tokens(service) == [1, 2]
        scenario.api.request(
            "POST", scenario.job_path("a", "executions", scenario.execution_id("a", second), "cancel")
        )


@contextmanager
def refusing(until: threading.Event) -> Iterator[WebhookListener]:
    """A webhook that is refused once the test says so."""

    def answer(webhook: Webhook) -> Answer:
        until.wait(12)
        return Answer(404, "refused")

    listener = WebhookListener(answer)
    listener.start()
    yield listener
    listener.stop()


type End = Callable[[Scenario, Json], None]


def _cancel(scenario: Scenario, running: Json) -> None:
    path = scenario.job_path("a", "executions", running["execution_id"], "cancel")
    assert scenario.api.request("POST", path).status == 200


def _cancel_many(scenario: Scenario, running: Json) -> None:
    body = {"execution_ids": [running["execution_id"]]}
    assert scenario.api.request("POST", "/executions/cancel", body).body["counts"] == {"cancelled": 1}


def _sweep(scenario: Scenario, running: Json) -> None:
    def ended() -> bool:
        reap_expired(scenario)
        return bool(found(scenario, running)["status"] == "timeout")

    poll(ended, 200, "the end by the sweep")


def _time_out(scenario: Scenario, running: Json) -> None:
    wait_for(scenario, running, "timeout", 120)


@pytest.mark.parametrize(
    ("end", "workflow_type"),
    [
        (_cancel, "standard"),
        (_cancel, "express"),
        (_cancel_many, "standard"),
        pytest.param(_time_out, "standard", marks=pytest.mark.slow(0.5)),
        pytest.param(_sweep, "express", marks=pytest.mark.slow(0.5)),
    ],
    ids=["cancelled", "cancelled express", "cancelled with others", "timed out", "swept"],
)
def test_whatever_ends_an_execution_those_start_that_wait_for_its_lock_and_its_slot(
    scenario: Scenario, end: End, workflow_type: str
) -> None:
    ttl_seconds = patient(10) if end in (_time_out, _sweep) else LONG["ttl_seconds"]
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put_limit("db", slots=1)
        scenario.put(
            "a",
            overlap="queue_all",
            limit="db",
            workflow_type=workflow_type,
            ttl_seconds=ttl_seconds,
        )
        scenario.put("b", limit="db", workflow_type=workflow_type, **LONG)
        first = by_hand(scenario, "a")
        service.wait_for(lambda s: len(s.received) == 1, 60, "the first notification")
        waits_for_slot = by_hand(scenario, "b")
        waits_for_lock = by_hand(scenario, "a")
        assert [each["status"] for each in (waits_for_slot, waits_for_lock)] == ["waiting", "waiting"]
        assert waits_for_slot["reason"]["code"] == "limit_reached"
        assert waits_for_lock["reason"]["code"] == "lock_held"
        assert scenario.limit("db")["holders"] == [first["execution_id"]]
        end(scenario, first)
        service.wait_for(lambda s: len(s.received) == 2, 90, "the one that waited for the slot")
        assert names_of(service)[1] == waits_for_slot["execution_id"]
        assert found(scenario, waits_for_lock)["reason"]["code"] == "limit_reached"  # it has the lock now
        done = scenario.callback(service.received[1].notification["callback_url"], {"status": "success"})
        assert done.status == 200
        service.wait_for(lambda s: len(s.received) == 3, 90, "the one that waited for the lock")
        assert names_of(service)[2] == waits_for_lock["execution_id"]
        assert service.received[2].notification["fencing_token"] == 2
        scenario.callback(service.received[2].notification["callback_url"], {"status": "success"})
        poll(lambda: scenario.limit("db")["holders"] == [], 30, "free slot")
        assert scenario.limit("db")["waiting"] == 0


def test_a_refused_notification_lets_the_next_start(scenario: Scenario) -> None:
    """run_execution settles it."""
    refuses = threading.Event()
    with scenario.service(over_sns=True) as service, refusing(refuses) as listener:
        scenario.put_limit("db", slots=1)
        scenario.put("a", invocation_target=f"{listener.url}/jobs/a", overlap="queue_all", limit="db", **LONG)
        scenario.put("b", limit="db", **LONG)
        first = by_hand(scenario, "a")
        poll(lambda: scenario.limit("db")["holders"] == [first["execution_id"]], 30, "the holder of the slot")
        waiting = by_hand(scenario, "b")
        second = by_hand(scenario, "a")
        assert [waiting["status"], second["status"]] == ["waiting", "waiting"]
        refuses.set()
        for execution, status in ((first, "fail"), (waiting, "success"), (second, "fail")):
            wait_for(scenario, execution, status)
        assert names_of(service) == [waiting["execution_id"]]


def test_all_start_that_wait_for_the_lock_of_a_job_that_comes_to_allow_overlap(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", overlap="queue_all", **LONG)
        executions = [by_hand(scenario, "a") for _ in range(3)]
        assert [each["status"] for each in executions] == ["running", "waiting", "waiting"]
        scenario.put("a", overlap="allow", **LONG)
        service.wait_for(lambda s: len(s.received) == 3, 60, "all notifications")
        assert {each["status"] for each in scenario.history("a")} == {"running"}


@TYPES
def test_never_more_run_than_a_limit_has_slots_and_all_run_in_order(
    scenario: Scenario, workflow_type: str
) -> None:
    running, most, changed = 0, 0, threading.Condition()

    def work(_: Notification, callbacks: Callbacks, pause: Pause) -> None:
        nonlocal running, most
        with changed:
            running += 1
            most = max(most, running)
            changed.notify_all()
            # On a slow machine the first would be done before the third starts.
            changed.wait_for(lambda: most >= 3, patient(20))
        pause(0.5)
        with changed:
            running -= 1
        callbacks.success()

    with scenario.service(over_sns=True, work=work) as service:
        scenario.put_limit("db", slots=3)
        for name in ("a", "b"):
            scenario.put(name, limit="db", workflow_type=workflow_type, **LONG)
        first = scenario.tick_time()
        ticks = [scenario.tick(first + 1000 * number) for number in range(8)]
        for tick in ticks:
            for name in ("a", "b"):
                scenario.wait_until(name, tick, "success", seconds=180)
        assert len(service.received) == 16
        assert most == 3
        # An execution ends before its slot is freed.
        poll(
            lambda: (scenario.limit("db")["held"], scenario.limit("db")["waiting"]) == (0, 0),
            60,
            "free slots",
        )


def test_a_limit_that_is_raised_lets_more_start_and_one_without_slots_all(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put_limit("db", slots=1)
        scenario.put("a", limit="db", **LONG)
        executions = [by_hand(scenario, "a") for _ in range(4)]
        assert [each["status"] for each in executions] == ["running", "waiting", "waiting", "waiting"]
        scenario.put_limit("db", slots=2)
        service.wait_for(lambda s: len(s.received) == 2, 60, "the second notification")
        scenario.put_limit("db", slots=1)
        scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        wait_for(scenario, executions[0], "success")
        assert scenario.limit("db")["held"] == 1
        assert len(service.received) == 2
        scenario.put_limit("db", per_second=100)
        service.wait_for(lambda s: len(s.received) == 4, 60, "all notifications")
        assert scenario.limit("db")["waiting"] == 0


@pytest.mark.slow(0.5)
@pytest.mark.samples
@TYPES
def test_no_more_are_notified_in_a_second_than_a_limit_allows(scenario: Scenario, workflow_type: str) -> None:
    """All that a slow machine delays arrives closer together, so more is allowed there."""
    jobs = [f"j{number}" for number in range(cases(30, 100))]
    slowness = 1.0

    def have_arrived(service: ObservedService) -> bool:
        nonlocal slowness
        slowness = max(slowness, CLOCK.slowness)
        return len(service.received) == len(jobs)

    with scenario.service(over_sns=True) as service:
        scenario.put_limit("db", per_second=5)
        for name in jobs:
            scenario.put(name, limit="db", workflow_type=workflow_type, **LONG)
        tick = scenario.tick()
        service.wait_for(have_arrived, 240, "all notifications")
        at = sorted(received.arrived_at for received in service.received)
        in_a_second = [sum(moment <= other < moment + 1 for other in at) for moment in at]
        assert max(in_a_second) <= 5 * min(slowness, MOST_PATIENCE) + 1, [
            round(moment - at[0], 2) for moment in at
        ]
        for name in jobs:
            scenario.wait_until(name, tick, "success")


@pytest.mark.slow(0.5)
def test_what_waits_longer_than_the_starting_deadline_is_skipped(
    scenario: Scenario, published: PublishedEvents
) -> None:
    with scenario.service(over_sns=True, work=is_silent):
        scenario.put_limit("db", slots=1)
        scenario.put("a", overlap="queue_all", limit="db", starting_deadline_seconds=10, **LONG)
        scenario.put("b", limit="db", starting_deadline_seconds=10, **LONG)
        by_hand(scenario, "a")
        second, other = by_hand(scenario, "a"), by_hand(scenario, "b")

        def ended() -> bool:
            reap(scenario)
            return {found(scenario, each)["status"] for each in (second, other)} == {"skipped"}

        poll(ended, 150, "the end of the wait")
        assert found(scenario, second)["reason"]["code"] == "lock_held"
        assert found(scenario, other)["reason"]["code"] == "limit_reached"
        assert published.wait_for("execution.skipped")["reason"]["code"] in ("lock_held", "limit_reached")
        assert scenario.limit("db")["waiting"] == 0


def test_what_waits_can_be_cancelled_alone_and_with_others(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent):
        scenario.put_limit("db", slots=1)
        scenario.put("a", overlap="queue_all", limit="db", **LONG)
        scenario.put("b", limit="db", **LONG)
        running = by_hand(scenario, "a")
        for_lock, for_slot = (
            [by_hand(scenario, "a") for _ in range(2)],
            [by_hand(scenario, "b") for _ in range(2)],
        )
        for each in (for_lock[0], for_slot[0]):
            path = scenario.job_path(each["job_name"], "executions", each["execution_id"], "cancel")
            answer = scenario.api.request("POST", path)
            assert (answer.status, answer.body["status"]) == (200, "cancelled")
        path = f"/services/{scenario.service_name}/executions/cancel"
        ids = [for_lock[1]["execution_id"], for_slot[1]["execution_id"]]
        answer = scenario.api.request("POST", path, {"execution_ids": ids})
        assert answer.body["counts"] == {"cancelled": 2}
        assert scenario.limit("db")["waiting"] == 0
        assert scenario.limit("db")["holders"] == [running["execution_id"]]


def test_a_run_by_hand_and_reruns_cancel_what_runs_and_jobs_after_it_follow(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", overlap="cancel_running", **LONG)
        scenario.put("b", schedule=None, after=[{"job": "a", "on": ["cancelled"]}], **LONG)

        def wait_for_notification(number: int) -> None:
            of_a = [received for received in service.received if received.job_name == "a"]
            assert len(of_a) <= number
            poll(
                lambda: sum(received.job_name == "a" for received in service.received) == number,
                90,
                f"notification {number}",
            )

        by_hand(scenario, "a")
        wait_for_notification(1)
        second = by_hand(scenario, "a")
        assert second["status"] == "waiting"
        wait_for_notification(2)
        path = scenario.job_path("a", "executions", second["execution_id"], "rerun")
        third = scenario.api.request("POST", path).body
        wait_for_notification(3)
        body = {"execution_ids": [third["execution_id"]]}
        assert scenario.api.request("POST", "/executions/rerun", body).body["counts"] == {"rerun": 1}
        wait_for_notification(4)
        assert len(scenario.history("a", "status=cancelled")) == 3
        poll(lambda: scenario.history("b"), 60, "the job after it")


def test_an_execution_starts_as_its_time_under_a_limit_comes(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put_limit("db", per_second=1)
        scenario.put("a", limit="db", **LONG)
        next_start_ms = int(time.time() * 1000) + 1000 * patient(8)
        scenario.aws.client("dynamodb").update_item(
            TableName=scenario.outputs["limits_table_name"],
            Key=to_item({"service_name": scenario.service_name, "limit_name": "db"}),
            UpdateExpression="SET next_start_ms = :next",
            ExpressionAttributeValues=to_item({":next": next_start_ms}),
        )
        waiting = by_hand(scenario, "a")
        assert (waiting["status"], waiting["may_start_at_ms"]) == ("waiting", next_start_ms)
        wait_for(scenario, waiting, "success")
        assert service.received[0].arrived_at * 1000 >= next_start_ms - 1100


@TYPES
def test_the_sweep_starts_what_got_its_turn_from_a_function_that_died(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, workflow_type: str
) -> None:
    """The turn is a transaction. The function may die between it and the start of the state machine."""
    table, shards = scenario.outputs["executions_table_name"], scenario.outputs["index_shards_to_read"]
    monkeypatch.setenv("JOBS_TABLE", scenario.outputs["jobs_table_name"])
    monkeypatch.setenv("EXECUTIONS_TABLE", table)
    monkeypatch.setenv("RETENTION_DAYS", "7")
    monkeypatch.setenv("INDEX_SHARDS", str(shards))
    with scenario.service(over_sns=True) as service:
        scenario.put("a", overlap="queue_all", workflow_type=workflow_type, **LONG)
        at_ms = scenario.tick_time()
        name, guid = scenario.execution_id("a", at_ms), job_guid(scenario.service_name, "a")
        due: Due = {
            "service_name": scenario.service_name,
            "job_name": "a",
            "job_guid": guid,
            "execution_id": name,
            "scheduled_time": iso(at_ms),
        }
        now_ms = int(time.time() * 1000)
        begin_by_hand(due, {"started_by": "a function that died before it started the machine"}, now_ms)
        scenario.aws.client("dynamodb").update_item(
            TableName=table,
            Key=to_item({"job_guid": guid, "execution_id": name}),
            UpdateExpression="SET waiting_since_ms = :now, sweep_at = :due",
            ExpressionAttributeValues=to_item({":now": now_ms, ":due": now_ms // 1000 - 1}),
        )
        reap(scenario)
        scenario.wait_for("a", name, "success")
        assert names_of(service) == [name]


def test_what_a_deleted_job_lets_wait_is_skipped(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", overlap="queue_all", **LONG)
        by_hand(scenario, "a")
        waiting = by_hand(scenario, "a")
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        scenario.delete("a")
        scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        assert wait_for(scenario, waiting, "skipped")["reason"]["code"] == "job_deleted"


def test_what_waits_for_a_job_that_allowed_overlap_for_a_moment_runs_once_nothing_runs_beside_it(
    scenario: Scenario,
) -> None:
    """Executions may have begun without the lock in that moment, so the turn looks for them."""
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", overlap="queue_all", **LONG)
        by_hand(scenario, "a")
        service.wait_for(lambda s: len(s.received) == 1, 60, "the first notification")
        scenario.put("a", overlap="allow", **LONG)
        scenario.put("a", overlap="queue_all", **LONG)
        waiting = by_hand(scenario, "a")
        assert waiting["status"] == "waiting"
        scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        service.wait_for(lambda s: len(s.received) == 2, 120, "the second notification")
        assert tokens(service) == [1, 2]


def test_reruns_wait_too(scenario: Scenario) -> None:
    held = Held()
    with scenario.service(over_sns=True, work=held) as service:
        scenario.put_limit("db", slots=1)
        scenario.put("a", limit="db", payload="of the job", **LONG)
        first = scenario.api.request("POST", scenario.job_path("a", "executions"), {"payload": "mine"}).body
        path = scenario.job_path("a", "executions", first["execution_id"], "rerun")
        second = scenario.api.request("POST", path).body
        assert (second["status"], second["payload"]) == ("waiting", "mine")
        body = {"execution_ids": [first["execution_id"]], "again": True}
        counts = scenario.api.request("POST", "/executions/rerun", body).body["counts"]
        assert counts == {"rerun": 1}
        held.release()
        service.wait_for(lambda s: len(s.callbacks) == 3, 90, "three results")
        assert {received.notification["payload"] for received in service.received} == {"mine"}


def test_a_run_by_hand_that_waits_is_the_same_for_the_same_key(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent):
        scenario.put("a", overlap="queue_all", payload="of the job", **LONG)
        by_hand(scenario, "a")
        path, key = scenario.job_path("a", "executions"), {"idempotency-key": "once"}
        answers = [scenario.api.request("POST", path, None, key) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 201]
        assert len({answer.body["execution_id"] for answer in answers}) == 1
        assert answers[0].body["status"] == "waiting"
        assert len(scenario.history("a", "status=waiting&reason=lock_held")) == 1
