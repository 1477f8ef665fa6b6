"""Backfill: what a job missed is found and started once, oldest first, on a real stage."""

import time
from itertools import pairwise
from typing import Any

import pytest

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.names import execution_id, job_guid
from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario, own_schedule

MINUTE_MS, DAY_MS = 60_000, 86_400_000
HOURLY = "cron(0 * * * ? *)"


def ask(scenario: Scenario, expected: int, body: Json, job_name: str = "a", key: str | None = None) -> Json:
    headers = {"idempotency-key": key} if key else None
    answer = scenario.api.request("POST", scenario.job_path(job_name, "backfill"), body, headers)
    assert answer.status == expected, answer
    found: Json = answer.body
    return found


def created_at(scenario: Scenario, job_name: str, at_ms: int) -> None:
    """Writes an early creation into a job's item, because a job missed nothing before."""
    scenario.aws.client("dynamodb").update_item(
        TableName=scenario.outputs["jobs_table_name"],
        Key=to_item({"service_name": scenario.service_name, "job_name": job_name}),
        UpdateExpression="SET created_at = :at",
        ExpressionAttributeValues=to_item({":at": iso(at_ms)}),
    )


def write_history(scenario: Scenario, job_name: str, times_ms: list[int]) -> None:
    """Writes the keys of executions, as far as a backfill looks at them."""
    change_history(scenario, [{"PutRequest": {"Item": key}} for key in keys(scenario, job_name, times_ms)])


def remove_history(scenario: Scenario, job_name: str, times_ms: list[int]) -> None:
    """Removes what :func:`write_history` wrote, which no list of executions could show."""
    change_history(scenario, [{"DeleteRequest": {"Key": key}} for key in keys(scenario, job_name, times_ms)])


def keys(scenario: Scenario, job_name: str, times_ms: list[int]) -> list[Json]:
    guid = job_guid(scenario.service_name, job_name)
    return [to_item({"job_guid": guid, "execution_id": execution_id(guid, ms)}) for ms in times_ms]


def change_history(scenario: Scenario, requests: list[Json]) -> None:
    client, table = scenario.aws.client("dynamodb"), scenario.outputs["executions_table_name"]
    for start in range(0, len(requests), 25):
        answer = client.batch_write_item(RequestItems={table: requests[start : start + 25]})
        assert not answer.get("UnprocessedItems")


def record(scenario: Scenario, identifier: str) -> Json | None:
    key = {"job_guid": job_guid(scenario.service_name, "a"), "execution_id": identifier}
    found = scenario.aws.client("dynamodb").get_item(
        TableName=scenario.outputs["executions_table_name"], Key=to_item(key), ConsistentRead=True
    )
    return from_item(found["Item"]) if "Item" in found else None


def wait_for(scenario: Scenario, found: Json, *statuses: str) -> list[Json]:
    """Waits until each execution of a backfill has ended as one of the statuses."""

    def look() -> list[Any] | None:
        records = [record(scenario, each["execution_id"]) for each in found["times"]]
        is_done = all(each and "settled_at_ms" in each and each["status"] in statuses for each in records)
        return records if is_done else None

    return poll(look, 180, f"{' or '.join(statuses)} of {len(found['times'])} executions")


@pytest.mark.parametrize("schedule", ["cron(0/5 * * * ? *)", "rate(5 minutes)"])
def test_a_week_of_a_five_minute_job_with_37_missing_finds_these_37(
    scenario: Scenario, schedule: str
) -> None:
    # The local stage keeps the history for seven days, so the week lacks its first two hours.
    end_ms = (scenario.tick_time() - 10 * MINUTE_MS) // (5 * MINUTE_MS) * 5 * MINUTE_MS
    every = list(range(end_ms - 7 * DAY_MS + 120 * MINUTE_MS, end_ms, 5 * MINUTE_MS))
    missing = [*every[7:27], every[300], *every[1500:1515], every[-1]]
    assert (len(every), len(missing)) == (1992, 37)
    # Its schedule fires while the test runs, and must start nothing.
    scenario.put("a", schedule=schedule, enabled=False)
    created_at(scenario, "a", end_ms - 8 * DAY_MS)
    ran = [ms for ms in every if ms not in missing]
    week = {"since": iso(every[0]), "until": iso(end_ms)}
    write_history(scenario, "a", ran)
    try:
        with scenario.service(over_sns=True) as service:
            rehearsal = ask(scenario, 200, {**week, "dry_run": True})
            assert [each["scheduled_time"] for each in rehearsal["times"]] == [iso(ms) for ms in missing]
            found = ask(scenario, 202, week)
            assert found["times"] == rehearsal["times"]
            again = ask(scenario, 202, week)
            records = wait_for(scenario, found, "success")
            assert {each["backfill_of"]["backfill_id"] for each in records} == {found["backfill_id"]}
            assert again["backfill_id"] == found["backfill_id"]
            assert ask(scenario, 202, week)["count"] == 0
            time.sleep(3)  # time for a second start of one of them
            notified = [each.notification["execution_id"] for each in service.received]
            assert sorted(notified) == sorted(each["execution_id"] for each in found["times"])
            told = {each.notification["scheduled_time"] for each in service.received}
            assert told == {iso(ms) for ms in missing}
    finally:
        remove_history(scenario, "a", ran)


@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_all_times_run_once_for_each_request(scenario: Scenario, workflow_type: str) -> None:
    until_ms = scenario.tick_time() // (60 * MINUTE_MS) * 60 * MINUTE_MS
    hours = {"since": iso(until_ms - 180 * MINUTE_MS), "until": iso(until_ms), "only_missed": False}
    scenario.put("a", schedule=HOURLY, enabled=False, workflow_type=workflow_type)
    with scenario.service(over_sns=True) as service:
        found = ask(scenario, 202, hours)
        assert found["count"] == 3
        records = wait_for(scenario, found, "success")
        assert [each.get("workflow_type", "standard") for each in records] == [workflow_type] * 3
        ask(scenario, 202, hours)
        once_more = ask(scenario, 202, hours, key="once-more")
        wait_for(scenario, once_more, "success")
        time.sleep(3)
        assert len(service.received) == 6
        shown = scenario.history("a")[0]
        assert shown["backfill_of"]["requested_by"].startswith("arn:")
        assert shown["starts_at"] == shown["backfill_of"]["requested_at"]


def test_an_exclusive_job_runs_one_time_and_skips_the_others(scenario: Scenario) -> None:
    until_ms = scenario.tick_time() // (60 * MINUTE_MS) * 60 * MINUTE_MS
    scenario.put("a", schedule=HOURLY, enabled=False, exclusive=True)
    hours = {"since": iso(until_ms - 120 * MINUTE_MS), "until": iso(until_ms), "only_missed": False}
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        found = ask(scenario, 202, hours)
        service.wait_for(lambda s: len(s.received) == 1, 60, "one notification")

        def look() -> list[str] | None:
            records = [record(scenario, each["execution_id"]) for each in found["times"]]
            return [each["status"] for each in records if each] if all(records) else None

        assert sorted(poll(look, 60, "both records")) == ["running", "skipped"]
        scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})


def test_a_rate_that_never_ran_is_counted_from_its_schedule(scenario: Scenario) -> None:
    scenario.put("a", schedule="rate(2 days)")
    created_at(scenario, "a", scenario.tick_time() - 60 * DAY_MS)
    found = ask(scenario, 200, {"since": iso(scenario.tick_time() - 13 * DAY_MS // 2), "dry_run": True})
    times = [ms_of_iso(each["scheduled_time"]) for each in found["times"]]
    assert len(times) in (3, 4)
    assert {later - earlier for earlier, later in pairwise(times)} == {2 * DAY_MS}


def test_a_bad_backfill_is_refused(scenario: Scenario) -> None:
    scenario.put("a", schedule=own_schedule())
    problem = ask(scenario, 400, {"since": "yesterday"})
    assert problem["errors"][0]["pointer"] == "/since"
    ask(scenario, 404, {"since": iso(scenario.tick_time() - DAY_MS)}, job_name="b")
