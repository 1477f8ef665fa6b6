"""Each promise of an execution, for both types of state machine."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.names import guid_of_execution
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause
from tests.integration.polling import patient, poll
from tests.integration.scenario import FINAL, Held, Json, Scenario, is_silent
from tests.integration.sweeps import reap, reap_expired
from tests.unit.functions.target import Wire

TYPES = ("standard", "express")


class Typed:
    """A scenario whose jobs have one workflow type. It sweeps while it waits for an Express execution."""

    def __init__(self, scenario: Scenario, workflow_type: str) -> None:
        self.scenario, self.workflow_type = scenario, workflow_type
        self.reap = reap_expired
        self._swept_at = time.monotonic()

    def put(self, job_name: str = "a", **fields: Any) -> None:
        self.scenario.put(job_name, workflow_type=self.workflow_type, **fields)

    def post(self, *more: str, expected: int = 201, body: Json | None = None, key: str | None = None) -> Json:
        """POSTs to a path below the job's executions."""
        return self.scenario.post(self.scenario.job_path("a", "executions", *more), expected, body, key)

    def record(self, execution_id: str) -> Json:
        """The item of an execution."""
        key = {"job_guid": guid_of_execution(execution_id), "execution_id": execution_id}
        found = self.scenario.aws.client("dynamodb").get_item(
            TableName=self.scenario.outputs["executions_table_name"], Key=to_item(key), ConsistentRead=True
        )
        return from_item(found["Item"])

    def sweep(self) -> None:
        """Sweeps, but not more than once each second, as a sweep takes longer than a test's other looks."""
        if self.workflow_type == "express" and time.monotonic() > self._swept_at + 1:
            self.reap(self.scenario)
            self._swept_at = time.monotonic()

    def wait(self, execution_id: str, *statuses: str, seconds: float = 90) -> Json:
        """Waits until an execution has one of the statuses; it must not end in another.

        Of an end, it waits until it is settled: the lock is free then, and the event is published.
        """
        path = self.scenario.job_path("a", "executions", execution_id)

        def look() -> Json | None:
            self.sweep()
            answer = self.scenario.api.request("GET", path)
            if answer.status == 404:
                return None
            found: Json = answer.body
            if found["status"] not in statuses and found["status"] not in FINAL:
                return None
            assert found["status"] in statuses, found
            assert found["workflow_type"] == self.workflow_type
            is_settled = "settled_at_ms" in self.record(execution_id)
            return found if is_settled or found["status"] not in FINAL else None

        return poll(look, seconds, f"{' or '.join(statuses)} of {execution_id}")

    def wait_for_tick(self, at_ms: int, *statuses: str, seconds: float = 90) -> Json:
        return self.wait(self.scenario.execution_id("a", at_ms), *statuses, seconds=seconds)


@pytest.fixture(params=TYPES)
def typed(scenario: Scenario, request: pytest.FixtureRequest) -> Typed:
    return Typed(scenario, request.param)


def callback_url(service: ObservedService) -> str:
    """The callback_url of the first notification."""
    url: str = service.received[0].notification["callback_url"]
    return url


@pytest.mark.parametrize("over_sns", [True, False], ids=["sns", "webhook"])
def test_a_service_is_notified_and_its_result_is_kept(typed: Typed, over_sns: bool) -> None:
    with typed.scenario.service(over_sns=over_sns) as service:
        target = {} if over_sns else {"invocation_target": service.webhook_url("a")}
        typed.put(payload='{"do": "succeed", "state": "s-1"}', **target)
        first = typed.wait_for_tick(typed.scenario.tick(), "success")
        assert (first["state"], first["attempt"]) == ("s-1", 1)
        typed.wait_for_tick(typed.scenario.tick(typed.scenario.tick_time() + 60_000), "success")
        states = [each.notification["last_successful_execution"].get("state") for each in service.received]
        assert states == [None, "s-1"]


@pytest.mark.slow
def test_heartbeats_keep_an_execution_alive_past_its_ttl(typed: Typed) -> None:
    ttl = patient(10)
    work = json.dumps({"do": "succeed", "seconds": ttl + 3, "heartbeats": 6})
    with typed.scenario.service(over_sns=True) as service:
        typed.put(ttl_seconds=ttl, payload=work)
        done = typed.wait_for_tick(typed.scenario.tick(), "success")
        assert done["duration_ms"] > ttl * 1000
        assert len(service.received) == 1


@pytest.mark.slow
def test_a_silent_service_times_out_and_its_late_callback_is_refused(typed: Typed) -> None:
    typed.reap = reap  # here the sweep must find the execution without help
    with typed.scenario.service(over_sns=True, work=is_silent) as service:
        typed.put(ttl_seconds=patient(10), exclusive=True)
        ended = typed.wait_for_tick(typed.scenario.tick(), "timeout", seconds=120)
        assert ended["error"] == "Job.HeartbeatTimeout"
        assert "fault" not in ended
        assert "lock_execution" not in typed.scenario.job("a")
        late = typed.scenario.callback(
            service.received[0].notification["callback_url"], {"status": "success"}
        )
        assert (late.status, late.body["execution_status"]) == (410, "timeout")
        assert len(service.received) == 1


@pytest.mark.slow
def test_an_execution_that_lasts_too_long_times_out_in_spite_of_its_heartbeats(typed: Typed) -> None:
    def beats(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        while callbacks.heartbeat().status != 410 and pause(1):
            pass

    with typed.scenario.service(over_sns=True, work=beats):
        typed.put(ttl_seconds=patient(10), max_duration_seconds=patient(15))
        ended = typed.wait_for_tick(typed.scenario.tick(), "timeout", seconds=120)
        assert ended["error"] == "Job.Timeout"


def test_a_failed_attempt_is_followed_by_another_under_the_same_lock(typed: Typed) -> None:
    def fails_first(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if notification["attempt"] == 1:
            callbacks.fail("LedgerBusy")
        else:
            callbacks.success(state="kept")

    retry = {"max_attempts": 3, "interval_seconds": 2, "on": ["fail"]}
    with typed.scenario.service(work=fails_first) as service:
        typed.put(invocation_target=service.webhook_url("a"), exclusive=True, retry=retry)
        done = typed.wait_for_tick(typed.scenario.tick(), "success", seconds=120)
        assert [(made["attempt"], made["status"]) for made in done["attempts"]] == [
            (1, "fail"),
            (2, "success"),
        ]
        first, second = (received.notification for received in service.received)
        assert first["callback_url"] != second["callback_url"]
        assert first["fencing_token"] == second["fencing_token"] == done["fencing_token"]
        assert typed.scenario.job("a")["last_successful_execution"]["state"] == "kept"


@pytest.mark.slow
def test_a_timeout_is_followed_by_another_attempt_if_the_job_asks_for_it(typed: Typed) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 1, "on": ["timeout"]}
    with typed.scenario.service(over_sns=True, work=is_silent) as service:
        typed.put(ttl_seconds=patient(10), exclusive=True, retry=retry)
        at_ms = typed.scenario.tick()

        def second() -> Notification | None:
            typed.sweep()
            return service.received[1].notification if len(service.received) > 1 else None

        notification = poll(second, 120, "the second attempt")
        stale = typed.scenario.callback(callback_url(service), {"status": "fail"})
        assert stale.status == 410
        answer = typed.scenario.callback(notification["callback_url"], {"status": "success"})
        assert (answer.status, answer.body["attempt"]) == (200, 2)
        done = typed.wait_for_tick(at_ms, "success")
        assert [made["status"] for made in done["attempts"]] == ["timeout", "success"]


def test_a_cancelled_execution_refuses_callbacks_and_frees_its_lock(typed: Typed) -> None:
    with typed.scenario.service(over_sns=True, work=is_silent) as service:
        typed.put(exclusive=True)
        started = typed.post()
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        assert typed.post(expected=409)["lock_execution"] == started["execution_id"]
        cancelled = typed.post(started["execution_id"], "cancel", expected=200, body={"reason": "wrong"})
        assert cancelled["status"] == "cancelled"
        gone = typed.scenario.callback(
            service.received[0].notification["callback_url"], {"status": "success"}
        )
        assert (gone.status, gone.body["execution_status"]) == (410, "cancelled")
        assert "lock_execution" not in typed.scenario.job("a")


def test_an_exclusive_job_is_skipped_while_it_runs_and_its_fencing_token_rises(typed: Typed) -> None:
    held = Held()
    with typed.scenario.service(over_sns=True, work=held) as service:
        typed.put(exclusive=True)
        first = typed.scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        skipped = typed.wait_for_tick(typed.scenario.tick(first + 60_000), "skipped")
        assert skipped["reason"]["code"] == "lock_held"
        held.release()
        one = typed.wait_for_tick(first, "success")
        two = typed.wait_for_tick(typed.scenario.tick(first + 120_000), "success")
        assert two["fencing_token"] == one["fencing_token"] + 1
        assert len(service.received) == 2


@pytest.mark.parametrize(
    ("payload", "status"), [('{"do": "succeed", "state": "s"}', "success"), ('{"do": "fail"}', "fail")]
)
def test_the_answer_of_a_sync_job_is_its_result(typed: Typed, payload: str, status: str) -> None:
    with typed.scenario.service() as service:
        sync: dict[str, Any] = {"async": False}
        typed.put(invocation_target=service.webhook_url("a"), payload=payload, **sync)
        done = typed.wait_for_tick(typed.scenario.tick(), status)
        assert "sweep_shard" not in typed.record(done["execution_id"])


def test_five_equal_ticks_at_once_are_one_execution_and_one_notification(typed: Typed) -> None:
    with typed.scenario.service(over_sns=True) as service:
        typed.put(exclusive=True)
        at_ms = typed.scenario.tick_time()
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda _: typed.scenario.tick(at_ms), range(5)))
        typed.wait_for_tick(at_ms, "success")
        time.sleep(patient(3))  # for the machines that must do nothing
        assert [each.notification["execution_id"] for each in service.received] == [
            typed.scenario.execution_id("a", at_ms)
        ]
        assert len(typed.scenario.history("a")) == 1


def test_a_run_now_happens_once_for_its_key_and_can_be_rerun(typed: Typed) -> None:
    with typed.scenario.service(over_sns=True) as service:
        typed.put(payload='{"do": "fail"}')
        body = {"payload": '{"do": "succeed", "state": "s-1"}'}
        first = typed.post(body=body, key="once")
        assert typed.post(body=body, key="once")["execution_id"] == first["execution_id"]
        typed.wait(first["execution_id"], "success")
        again = typed.post(first["execution_id"], "rerun")
        assert typed.wait(again["execution_id"], "success")["rerun_of"] == first["execution_id"]
        assert [each.notification["payload"] for each in service.received] == [body["payload"]] * 2


def test_an_execution_ends_as_it_began_if_its_job_changes_its_type(typed: Typed) -> None:
    held = Held()
    other = Typed(typed.scenario, "express" if typed.workflow_type == "standard" else "standard")
    with typed.scenario.service(over_sns=True, work=held) as service:
        typed.put(exclusive=True)
        first = typed.scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        other.put(exclusive=True)
        held.release()
        typed.wait_for_tick(first, "success")
        other.wait_for_tick(typed.scenario.tick(first + 60_000), "success")


def test_a_busy_service_is_notified_when_it_asked_to_be(typed: Typed) -> None:
    with Wire([b'HTTP/1.1 200 OK\r\n\r\n{"state": "cursor-42"}']) as service:
        service.says_first = [[b"HTTP/1.1 503 Busy\r\nRetry-After: 4\r\n\r\n"]]
        sync: dict[str, Any] = {"async": False}
        typed.put(invocation_target=service.url, exclusive=True, **sync)
        done = typed.wait_for_tick(typed.scenario.tick(), "success", seconds=150)
        assert (done["attempt"], done["state"]) == (1, "cursor-42")
        first, second = service.arrived_at
        assert second - first >= 4


def test_a_notification_that_the_service_rejects_fails_its_execution(typed: Typed) -> None:
    with typed.scenario.service() as service:
        service.script_answers(400)
        typed.put(invocation_target=service.webhook_url("a"))
        failed = typed.wait_for_tick(typed.scenario.tick(), "fail")
        assert failed["error"] == "Job.NotificationRejected"


def test_a_notification_is_repeated_until_the_service_takes_it(typed: Typed) -> None:
    with typed.scenario.service() as service:
        service.script_answers(500, 503)
        typed.put(invocation_target=service.webhook_url("a"))
        typed.wait_for_tick(typed.scenario.tick(), "success", seconds=150)
        assert len({each.notification["attempt"] for each in service.received}) == 1
