"""Exclusive jobs run one execution at a time, and a fencing token distinguishes the holders of the lock."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.polling import patient, poll
from tests.integration.scenario import Held, Scenario, own_schedule

SILENT = '{"do": "silent"}'


def test_while_an_exclusive_job_runs_its_next_tick_is_skipped_and_nobody_is_notified(
    scenario: Scenario,
) -> None:
    work = Held()
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a", exclusive=True)
        first = scenario.tick()
        scenario.wait_until("a", first, "running")
        service.wait_for(lambda s: len(s.received) == 1, 20, "the first notification")
        second = scenario.tick(first + 1000)
        skipped = scenario.wait_until("a", second, "skipped")
        assert skipped["reason"] == {
            "code": "lock_held",
            "detail": f"the lock is held by {scenario.execution_id('a', first)}",
        }
        assert [each["execution_id"] for each in scenario.history("a", "reason=lock_held")] == [
            scenario.execution_id("a", second)
        ]
        assert scenario.history("a", "reason=job_paused") == []
        assert scenario.machine("a", second)["status"] == "SUCCEEDED"
        work.release()
        scenario.wait_until("a", first, "success")
        scenario.machine("a", first)
        third = scenario.tick(first + 2000)
        scenario.wait_until("a", third, "success")
        tokens = [received.notification["fencing_token"] for received in service.received]
        assert tokens == [1, 2]


def test_an_expired_lock_passes_on_and_the_old_execution_cannot_free_it(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", exclusive=True, ttl_seconds=patient(12), payload=SILENT)
        first = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 20, "the first notification")
        old_url = service.received[0].notification["callback_url"]
        shorter = {"status": "processing", "extend_seconds": 1}
        assert scenario.callback(old_url, shorter).status == 200
        scenario.put("a", exclusive=True, ttl_seconds=120, payload=SILENT)  # for the second
        time.sleep(2.1)  # extend_seconds shortened only the lock; the task still waits
        second = scenario.tick(first + 1000)
        service.wait_for(lambda s: len(s.received) == 2, 20, "the second notification")
        assert service.received[1].notification["fencing_token"] == 2
        gone = scenario.callback(old_url, {"status": "success"})
        assert (gone.status, gone.body["type"]) == (410, "/problems/execution-over")
        scenario.wait_until("a", first, "timeout", seconds=30)
        scenario.machine("a", first)
        holder = scenario.job("a")
        assert holder["lock_execution"] == scenario.execution_id("a", second)
        scenario.callback(service.received[1].notification["callback_url"], {"status": "success"})
        scenario.machine("a", second)
        poll(lambda: "lock_execution" not in scenario.job("a"), 10, "free lock")


def test_exactly_one_of_20_simultaneous_starts_holds_the_lock(scenario: Scenario) -> None:
    work = Held()
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a", exclusive=True)
        now = scenario.tick_time()
        times = [now + number * 1000 for number in range(20)]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(scenario.tick, times))
        found = [scenario.wait_until("a", at_ms, "running", "skipped", "success") for at_ms in times]
        held = [execution for execution in found if execution["status"] != "skipped"]
        assert len(held) == 1
        work.release()
        service.wait_for(lambda s: len(s.callbacks) == 1, 40, "the one result")
        assert [received.notification["execution_id"] for received in service.received] == [
            held[0]["execution_id"]
        ]


def test_jobs_that_are_not_exclusive_overlap(scenario: Scenario) -> None:
    work = Held()
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a")
        first = scenario.tick()
        second = scenario.tick(first + 1000)
        service.wait_for(lambda s: len(s.received) == 2, 20, "both notifications")
        assert service.callbacks == ()
        work.release()
        for at_ms in (first, second):
            assert "fencing_token" not in scenario.wait_until("a", at_ms, "success")


def test_a_job_that_becomes_exclusive_while_it_runs_has_no_second_run_beside_the_first(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("a", payload=SILENT)
        first = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 20, "the notification")
        running = scenario.execution_id("a", first)
        scenario.put("a", payload=SILENT, exclusive=True)
        runs = scenario.job_path("a", "executions")
        for path in (runs, f"{runs}/{running}/rerun"):
            refused = scenario.api.request("POST", path)
            assert (refused.status, refused.body["lock_execution"]) == (409, running)
        second = scenario.tick(first + 10_000)
        skipped = scenario.wait_until("a", second, "skipped")
        assert skipped["reason"] == {"code": "lock_held", "detail": f"the lock is held by {running}"}
        url = service.received[0].notification["callback_url"]
        assert scenario.callback(url, {"status": "success"}).status == 200
        scenario.wait_until("a", first, "success")
        starts: list[Callable[[], object]] = [
            lambda: scenario.tick(first + 20_000),
            lambda: scenario.api.request("POST", runs),
            lambda: scenario.api.request("POST", f"{runs}/{running}/rerun"),
        ]
        for number, start in enumerate(starts, 1):
            start()
            poll(lambda number=number: len(service.received) > number, 60, "the next notification")  # type: ignore[misc]
            notification = service.received[-1].notification
            assert notification["fencing_token"] == number
            assert scenario.callback(notification["callback_url"], {"status": "success"}).status == 200


@pytest.mark.parametrize("order", ["before its execution begins", "between the ticks"])
def test_a_job_that_moves_between_two_schedules_that_fire_at_once_runs_once(
    scenario: Scenario, order: str
) -> None:
    later = own_schedule()
    with scenario.service(over_sns=True) as service:
        scenario.put("stays")
        scenario.put("a", payload='{"do": "succeed"}')
        scenario.put("b", schedule=later)
        at_ms = scenario.tick_time() + 1000
        if order == "between the ticks":
            scenario.tick(at_ms)
            scenario.wait_until("a", at_ms, "success")
            scenario.put("a", payload='{"do": "succeed"}', schedule=later)
            scenario.tick(at_ms, later)
        else:
            # The tick of the old schedule saw the job there, and its execution begins once it has moved.
            due = {"job_name": "a", "service_name": scenario.service_name, "schedule": scenario.schedule}
            scenario.put("a", payload='{"do": "succeed"}', schedule=later)
            at_ms = scenario.start(due)
            scenario.wait_until("a", at_ms, "skipped")
            for _ in range(2):
                scenario.tick(at_ms, later)
        poll(lambda: [e for e in scenario.history("a") if e["status"] == "success"], 30, "success")
        statuses = sorted(execution["status"] for execution in scenario.history("a"))
        assert statuses == (["success"] if order == "between the ticks" else ["skipped", "success"])
        assert len([n for n in service.received if n.notification["job_name"] == "a"]) == 1
        for name in ("stays", "a", "b"):
            scenario.delete(name)


def test_a_late_tick_starts_no_job_that_was_created_after_it(scenario: Scenario) -> None:
    scenario.put("a")
    at_ms = scenario.tick(scenario.tick_time() - 3_600_000)
    assert scenario.wait_until("a", at_ms, "skipped")["reason"]["code"] == "not_active_then"


def test_a_job_that_moves_after_its_tick_is_skipped(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("a", schedule="cron(2 0 1 1 ? 2199)")
        due = {"job_name": "a", "service_name": scenario.service_name, "schedule": scenario.schedule}
        at_ms = scenario.start(due)
        skipped = scenario.wait_until("a", at_ms, "skipped")
        assert skipped["reason"] == {
            "code": "schedule_changed",
            "detail": "the job has moved to the schedule cron(2 0 1 1 ? 2199)",
        }
        scenario.machine("a", at_ms)
        assert service.received == ()
