"""Express executions of jobs whose machine dies, or runs more than once: found by the sweep, and never lost.

AWS may run an Express execution more than once, or lose its state:
https://docs.aws.amazon.com/step-functions/latest/dg/express-at-least-once-execution.html
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from jobmanager.aws.items import to_item
from jobmanager.core.names import guid_of_execution, job_guid
from local.faults import plans
from local.faults.plans import AGAIN, DIES_AFTER, DIES_BEFORE, RUN, TWICE, Call, Fault
from local.faults.worker import KILL
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause, perform
from tests.integration.polling import patient, poll
from tests.integration.scenario import Json, Scenario
from tests.integration.test_workflow_types import Typed

pytestmark = pytest.mark.skipif(
    plans.SETTING not in os.environ, reason="faults need the emulator that we start"
)

type Work = Callable[[Notification, Callbacks, Pause], None]

BEGINS, NOTIFIES, CONFIRMS = "dynamodb.TransactWriteItems#1", "http.POST#1", "dynamodb.UpdateItem#1"
SECONDS_UNTIL_SWEPT = 60
NOBODY = "http://127.0.0.1:9/nobody"


class Deaths(Typed):
    """An exclusive Express job, whose machine or function dies at a call."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario, "express")
        self.machine = scenario.outputs["express_state_machine_arn"].rpartition(":")[2]
        self.guid = job_guid(scenario.service_name, "a")
        self.faults: list[Fault] = []

    def plan(self, *faults: Fault) -> None:
        self.faults = list(faults)
        plans.plan([self.guid], faults)

    def of_machine(self, call: str, kind: str) -> Fault:
        return Fault(Call(self.machine, call), kind)

    def of_function(self, call: str) -> Fault:
        """The function dies right after it made a call."""
        return Fault(Call(self.scenario.outputs["function_names"]["run_execution"], call), KILL)

    def dies(self, call: str) -> None:
        """The function dies right after a call, and with it the machine, which would repeat it."""
        self.plan(self.of_function(call), self.of_machine("RunJob#1", DIES_AFTER))

    def happen(self) -> None:
        """Waits until all faults have happened."""
        poll(lambda: all(fault.happened() for fault in self.faults), 60, "planned faults")

    def found_in_a_minute(self, at_ms: int) -> Json:
        """Checks when the sweep looks at the execution, and has it look now. Returns the record as it was."""
        record = self.record(self.scenario.execution_id("a", at_ms))
        assert self.is_found_in_a_minute(record)
        return record

    def is_found_in_a_minute(self, record: Json) -> bool:
        """Does the same; false if the execution has gone on since this record of it was read."""
        if "sweep_at" not in record:
            return False
        assert record["sweep_at"] - record["service_invoked_at_ms"] // 1000 <= SECONDS_UNTIL_SWEPT
        dynamodb, execution_id = self.scenario.aws.client("dynamodb"), record["execution_id"]
        values = to_item({":now": int(time.time()) - 1, ":then": record["sweep_at"]})
        try:
            dynamodb.update_item(
                TableName=self.scenario.outputs["executions_table_name"],
                Key=to_item({"job_guid": guid_of_execution(execution_id), "execution_id": execution_id}),
                UpdateExpression="SET sweep_at = :now",
                ConditionExpression="sweep_at = :then",
                ExpressionAttributeValues=values,
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    @contextmanager
    def job(self, work: Work | None = None, **fields: Any) -> Iterator[ObservedService]:
        with self.scenario.service(work=work or perform) as service:
            target = {"invocation_target": service.webhook_url("a")}
            self.put("a", **{"exclusive": True, "ttl_seconds": 300, **target, **fields})
            yield service


@pytest.fixture
def deaths(scenario: Scenario) -> Iterator[Deaths]:
    deaths = Deaths(scenario)
    yield deaths
    plans.forget([deaths.guid])


def notified(service: ObservedService) -> list[tuple[str, int]]:
    return [(each.notification["execution_id"], each.notification["attempt"]) for each in service.received]


def test_a_machine_that_dies_before_it_begins_leaves_nothing_and_the_next_tick_runs(deaths: Deaths) -> None:
    with deaths.job() as service:
        deaths.plan(deaths.of_machine("RunJob#1", DIES_BEFORE))
        first = deaths.scenario.tick()
        deaths.happen()
        second = deaths.scenario.tick(first + 60_000)
        deaths.wait_for_tick(second, "success")
        assert notified(service) == [(deaths.scenario.execution_id("a", second), 1)]
        assert len(deaths.scenario.history("a")) == 1


def test_a_machine_that_dies_after_it_has_begun_is_followed_by_another(deaths: Deaths) -> None:
    with deaths.job() as service:
        deaths.dies(BEGINS)
        at_ms = deaths.scenario.tick()
        deaths.happen()
        dead = deaths.found_in_a_minute(at_ms)["machine_execution"]
        done = deaths.wait_for_tick(at_ms, "success")
        assert dead
        assert notified(service) == [(done["execution_id"], 1)]
        assert "lock_execution" not in deaths.scenario.job("a")


def test_an_attempt_that_never_began_within_its_ttl_fails_and_another_may_follow(deaths: Deaths) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 1, "on": ["fail"]}
    with deaths.job(ttl_seconds=patient(10), retry=retry) as service:
        deaths.dies(BEGINS)
        at_ms = deaths.scenario.tick()
        deaths.happen()
        overdue_at = deaths.record(deaths.scenario.execution_id("a", at_ms))["lock_expires_at"] + 7
        time.sleep(max(0, overdue_at - time.time()))
        deaths.found_in_a_minute(at_ms)
        done = deaths.wait_for_tick(at_ms, "success")
        assert [made.get("error") for made in done["attempts"]] == ["Manager.NotNotified", None]
        assert notified(service) == [(done["execution_id"], 2)]


def test_a_service_that_nobody_knows_to_be_notified_is_notified_once_more(deaths: Deaths) -> None:
    with deaths.job(lambda *_: None) as service:
        deaths.dies(NOTIFIES)
        at_ms = deaths.scenario.tick()
        deaths.happen()
        assert len(service.received) == 1
        deaths.found_in_a_minute(at_ms)
        deaths.sweep()
        service.wait_for(lambda s: len(s.received) == 2, 60, "the second notification")
        deaths.sweep()
        urls = [each.notification["callback_url"] for each in service.received]
        result = {"status": "success", "state": "s-1"}
        assert [deaths.scenario.callback(url, result).status for url in urls] == [200, 200]
        done = deaths.wait_for_tick(at_ms, "success")
        assert notified(service) == [(done["execution_id"], 1)] * 2


def test_a_service_that_calls_back_is_not_notified_again_although_its_machine_died(deaths: Deaths) -> None:
    with deaths.job() as service:
        deaths.dies(NOTIFIES)
        at_ms = deaths.scenario.tick()
        deaths.happen()
        done = deaths.wait_for_tick(at_ms, "success")
        deaths.sweep()
        assert notified(service) == [(done["execution_id"], 1)]


def test_a_service_that_has_sent_a_heartbeat_is_not_notified_again(deaths: Deaths) -> None:
    def beats(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        callbacks.heartbeat()

    with deaths.job(beats) as service:
        deaths.dies(NOTIFIES)
        at_ms = deaths.scenario.tick()
        deaths.happen()
        service.wait_for(lambda s: len(s.callbacks) == 1, 60, "the heartbeat")
        before = deaths.found_in_a_minute(at_ms)
        deaths.sweep()
        after = deaths.record(before["execution_id"])
        assert after["sweep_at"] >= after["lock_expires_at"]
        answer = deaths.scenario.callback(
            service.received[0].notification["callback_url"], {"status": "success"}
        )
        assert answer.status == 200
        deaths.wait_for_tick(at_ms, "success")
        assert len(service.received) == 1


@pytest.mark.parametrize("call", [CONFIRMS, None], ids=["in the function", "after it"])
def test_a_machine_that_dies_when_all_is_done_is_not_missed(deaths: Deaths, call: str | None) -> None:
    with deaths.job(lambda *_: None) as service:
        of_function = [deaths.of_function(call)] if call else []
        deaths.plan(*of_function, deaths.of_machine("RunJob#1", DIES_AFTER))
        at_ms = deaths.scenario.tick()
        deaths.happen()
        execution_id = deaths.found_in_a_minute(at_ms)["execution_id"]
        deaths.sweep()
        assert deaths.record(execution_id)["status"] == "running"
        deaths.scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        deaths.wait_for_tick(at_ms, "success")
        assert notified(service) == [(execution_id, 1)]


def test_a_machine_that_dies_before_it_settles_is_followed_by_another(deaths: Deaths) -> None:
    deaths.put(exclusive=True, ttl_seconds=300, invocation_target=NOBODY)
    deaths.plan(deaths.of_machine("SettleExecution#1", DIES_BEFORE))
    at_ms = deaths.scenario.tick()
    deaths.happen()
    deaths.found_in_a_minute(at_ms)
    failed = deaths.wait_for_tick(at_ms, "fail")
    assert failed["error"] == "NotificationUndelivered"
    assert "lock_execution" not in deaths.scenario.job("a")


@pytest.mark.parametrize(("kind", "most"), [(TWICE, 2), (AGAIN, 1)])
def test_a_machine_that_aws_runs_twice_is_one_execution(deaths: Deaths, kind: str, most: int) -> None:
    """Two at once have one id, so neither knows of the other. One after the other knows what was done."""
    with deaths.job(lambda *_: None) as service:
        deaths.plan(deaths.of_machine(RUN, kind))
        at_ms = deaths.scenario.tick()
        deaths.happen()
        service.wait_for(lambda s: len(s.received) >= 1, 60, "the notification")
        time.sleep(patient(3))  # for a notification that must not come
        answers = [
            deaths.scenario.callback(each.notification["callback_url"], {"status": "success"}).status
            for each in service.received
        ]
        done = deaths.wait_for_tick(at_ms, "success")
        assert set(answers) == {200}
        assert set(notified(service)) == {(done["execution_id"], 1)}
        assert len(service.received) <= most
        assert len(deaths.scenario.history("a")) == 1


def test_five_equal_ticks_of_which_one_dies_are_one_execution_and_one_notification(deaths: Deaths) -> None:
    with deaths.job() as service:
        deaths.dies(BEGINS)
        at_ms = deaths.scenario.tick_time()
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda _: deaths.scenario.tick(at_ms), range(5)))
        deaths.happen()
        # One of the other four may take over from the dead one at any time.
        deaths.is_found_in_a_minute(deaths.record(deaths.scenario.execution_id("a", at_ms)))
        done = deaths.wait_for_tick(at_ms, "success")
        time.sleep(patient(3))  # for the machines that must do nothing
        assert notified(service) == [(done["execution_id"], 1)]
        assert len(deaths.scenario.history("a")) == 1
