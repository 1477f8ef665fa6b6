"""Schedules of EventBridge Scheduler fire, are shared and repaired, and go with their last job."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobmanager.core.clock import iso, ms_of_iso, now_ms
from local.api_client import path_of
from tests.integration.polling import patient, poll
from tests.integration.scenario import Json, Scenario
from tests.integration.test_reconciler import set_back
from tests.integration.test_rules import TRIES, as_code, logged, pause_for_failures
from tests.integration.upkeep import only_one

KATHMANDU = "Asia/Kathmandu"
EVERY_MINUTE = "cron(* * * * ? *)"


class Trigger:
    """The schedule of EventBridge Scheduler that this scenario's jobs share."""

    WANTED = (
        "Name",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "State",
        "Target",
        "FlexibleTimeWindow",
    )

    def __init__(self, scenario: Scenario, schedule: str, time_zone: str = KATHMANDU) -> None:
        self.key = f"{schedule} {time_zone}"
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        self.name = f"{scenario.outputs['prefix']}-schedule-{digest}"
        self._client = scenario.aws.client("scheduler")

    def found(self) -> Json | None:
        """The schedule; None if there is none."""
        try:
            found: Json = self._client.get_schedule(Name=self.name)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        return {name: value for name, value in found.items() if name in self.WANTED}

    def disable(self) -> None:
        """Disables the schedule, as somebody by hand."""
        self._client.update_schedule(**{**(self.found() or {}), "State": "DISABLED"})

    def delete(self) -> None:
        """Deletes the schedule, as somebody by hand."""
        self._client.delete_schedule(Name=self.name)

    def put(self, wanted: Json) -> None:
        """Makes a schedule that nobody needs, as a function that died between two steps leaves it behind."""
        self._client.create_schedule(**wanted)


@pytest.fixture
def trigger(scenario: Scenario) -> Trigger:
    return Trigger(scenario, scenario.schedule)


def act(scenario: Scenario, job_name: str, what: str, body: Json | None = None) -> None:
    answer = scenario.api.request("POST", scenario.job_path(job_name, what), body)
    assert answer.status == 200, answer


def reconcile(scenario: Scenario, trigger: Trigger) -> list[Json]:
    """Runs the reconciler with the API. Returns its repairs of this trigger."""
    answer = scenario.api.request("POST", path_of("schedules", "reconcile"))
    assert answer.status == 200, answer
    return [each for each in answer.body["changed"] if each["schedule"] == trigger.key]


def listed(scenario: Scenario, trigger: Trigger) -> Json:
    """The trigger's schedule in the list of all schedules of the stage, page by page."""
    more: dict[str, str | int] = {}
    while True:
        answer = scenario.api.request("GET", "/schedules", query={"limit": 100, **more}).body
        for each in answer["results"]:
            if each["schedule_key"] == trigger.key:
                found: Json = each
                return found
        more = {"more": answer["paging"]["more"]}


def test_jobs_of_one_zone_share_one_schedule_until_the_last_leaves(
    scenario: Scenario, trigger: Trigger
) -> None:
    scenario.put("a", time_zone=KATHMANDU)
    scenario.put("b", time_zone="asia/kathmandu")
    found = trigger.found()
    assert found is not None
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == (
        scenario.schedule,
        KATHMANDU,
    )
    assert scenario.rules() == []
    scenario.delete("a")
    assert trigger.found() == found
    scenario.put("b", schedule="cron(0 0 1 1 ? 2199)")
    assert trigger.found() is None
    scenario.delete("b")


def leave_by_delete(scenario: Scenario, job_name: str) -> None:
    scenario.delete(job_name)


def leave_by_pause(scenario: Scenario, job_name: str) -> None:
    act(scenario, job_name, "pause", {"reason": "audit"})


def leave_by_move(scenario: Scenario, job_name: str) -> None:
    scenario.put(job_name, schedule="cron(0 0 1 1 ? 2198)")


def leave_as_code(scenario: Scenario, job_name: str) -> None:
    as_code(scenario, "delete", job_name)


@pytest.mark.parametrize(
    "function, leave",
    [
        ("delete_job", leave_by_delete),
        ("pause_job", leave_by_pause),
        ("pause_failing_job", pause_for_failures),
        ("release_schedule", leave_by_move),
        ("manage_job", leave_as_code),
    ],
)
@pytest.mark.parametrize("spoil", [Trigger.disable, Trigger.delete])
def test_a_job_that_leaves_a_schedule_repairs_it_for_the_jobs_that_stay(
    scenario: Scenario,
    trigger: Trigger,
    function: str,
    leave: Callable[[Scenario, str], None],
    spoil: Callable[[Trigger], None],
) -> None:
    """The schedule was changed by hand. The jobs that stay do not have to wait for the reconciler.

    Another test's reconciler may run first. Then the test repeats with another job. A busy emulator may write
    a function's log lines only with those of its next invocation. So each try reads all of the test's lines.
    """
    scenario.put("stays", time_zone=KATHMANDU)
    wanted = trigger.found()
    since_ms = now_ms()
    for number in range(TRIES):
        if leave is leave_as_code:
            as_code(scenario, "put", f"leaves-{number}", time_zone=KATHMANDU)
        else:
            scenario.put(f"leaves-{number}", time_zone=KATHMANDU)
        spoil(trigger)
        leave(scenario, f"leaves-{number}")
        assert trigger.found() == wanted
        lines = logged(scenario, function, "schedule put", since_ms)
        if any(line.get("trigger") == trigger.name for line in lines):
            break
    else:
        pytest.fail(f"{function} never put the schedule")
    scenario.delete("stays")
    assert trigger.found() is None


@pytest.mark.parametrize(
    "leave", [leave_by_delete, leave_by_pause, pause_for_failures, leave_by_move, leave_as_code]
)
def test_the_last_job_takes_the_schedule_with_it(
    scenario: Scenario, trigger: Trigger, leave: Callable[[Scenario, str], None]
) -> None:
    if leave is leave_as_code:
        as_code(scenario, "put", "a", time_zone=KATHMANDU)
    else:
        scenario.put("a", time_zone=KATHMANDU)
    assert trigger.found() is not None
    leave(scenario, "a")
    assert trigger.found() is None


@pytest.mark.xdist_group("upkeep")
@pytest.mark.usefixtures("only_reconciler")
def test_a_job_that_comes_repairs_its_schedule(scenario: Scenario, trigger: Trigger) -> None:
    scenario.put("a", time_zone=KATHMANDU)
    wanted = trigger.found()
    trigger.disable()
    scenario.put("b", time_zone=KATHMANDU)
    assert trigger.found() == wanted
    act(scenario, "b", "pause", {"reason": "audit"})
    trigger.disable()
    act(scenario, "b", "resume")
    assert trigger.found() == wanted
    act(scenario, "b", "pause", {"reason": "audit"})
    trigger.delete()
    act(scenario, "b", "resume")
    assert trigger.found() == wanted


@pytest.mark.xdist_group("upkeep")
@pytest.mark.usefixtures("only_reconciler")
def test_a_job_that_does_not_fire_has_no_schedule_after_it_was_resumed(
    scenario: Scenario, trigger: Trigger
) -> None:
    scenario.put("a", time_zone=KATHMANDU)
    wanted = trigger.found()
    assert wanted is not None
    scenario.put("a", time_zone=KATHMANDU, enabled=False)
    assert trigger.found() is None
    trigger.put(wanted)
    act(scenario, "a", "resume")
    assert trigger.found() is None


@pytest.mark.xdist_group("upkeep")
@pytest.mark.usefixtures("only_reconciler")
def test_the_reconciler_repairs_schedules_and_removes_those_that_nobody_needs(
    scenario: Scenario, trigger: Trigger
) -> None:
    scenario.put("a", time_zone=KATHMANDU)
    wanted = trigger.found()
    assert wanted is not None
    for spoil, found in ((trigger.disable, "disabled"), (trigger.delete, "missing")):
        spoil()
        (change,) = reconcile(scenario, trigger)
        assert (change["found"], change["done"], change["trigger_type"]) == (found, "put", "scheduler")
        assert trigger.found() == wanted
    shown = listed(scenario, trigger)
    assert (shown["rule"], shown["time_zone"], shown["job_count"]) == ("in step", KATHMANDU, 1)
    scenario.delete("a")
    trigger.put(wanted)
    (change,) = reconcile(scenario, trigger)
    assert (change["found"], change["done"]) == ("orphaned", "removed")
    assert trigger.found() is None


@pytest.mark.slow
def test_a_job_every_minute_of_a_zone_with_an_odd_offset_fires_by_itself(scenario: Scenario) -> None:
    """Other jobs may share the schedule of each minute, so this one has bounds of its own."""
    until = datetime.now(UTC) + timedelta(days=1)
    with scenario.service(over_sns=True) as service:
        scenario.put("minutely", schedule=EVERY_MINUTE, time_zone=KATHMANDU, end_at=iso(ms(until)))
        try:
            service.wait_for(lambda s: bool(s.received), patient(150), "a tick")
        finally:
            scenario.delete("minutely")
    told: Json = service.received[0].notification
    assert told["scheduled_time_ms"] % 60_000 == 0
    assert (told["schedule"], told["time_zone"]) == (EVERY_MINUTE, KATHMANDU)


@pytest.mark.slow(2)
def test_a_job_fires_once_at_its_time_in_its_zone_and_is_completed(scenario: Scenario) -> None:
    """The grace period after its last tick is written into the table, so that the test need not wait."""
    due = (datetime.now(UTC) + timedelta(seconds=min(patient(30), 120))).replace(microsecond=0)
    schedule = f"at({due.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%dT%H:%M:%S})"
    trigger = Trigger(scenario, schedule, "Europe/Berlin")
    with scenario.service(over_sns=True):
        scenario.put("once", schedule=schedule, time_zone="Europe/Berlin")
        time.sleep(max(0.0, due.timestamp() - time.time()))
        ended = scenario.wait_until("once", ms(due), "success", seconds=120)
    assert ms_of_iso(ended["scheduled_time"]) == ms(due)
    key = {"stage": scenario.outputs["prefix"].split("-")[1], "schedule": trigger.key}
    poll(lambda: last_tick(scenario, key), 60, "a recorded tick")
    set_back(scenario, "schedules_table_name", key, "ended_ms", 1)
    with only_one("reconciler"):
        reconcile(scenario, trigger)
    job = scenario.job("once")
    assert ("completed_at" in job, job["next_fire_times"]) == (True, [])
    assert trigger.found() is None
    assert len(scenario.history("once")) == 1


def ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def last_tick(scenario: Scenario, key: Json) -> Any:
    item = scenario.aws.client("dynamodb").get_item(
        TableName=scenario.outputs["schedules_table_name"],
        Key={name: {"S": value} for name, value in key.items()},
        ConsistentRead=True,
    )
    return item["Item"].get("last_tick_ms")
