"""When a job fires: what a PUT may say about it, and which schedule the job is then on."""

import json
from typing import Any

import pytest

from functions.get_job.handler import handler as get_job
from functions.list_jobs.handler import handler as list_jobs
from jobmanager.aws.clients import scheduler as scheduler_client
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import BadRequest
from jobmanager.delivery import notification
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.view import execution_view
from jobmanager.jobs import changes, pausing, store
from jobmanager.jobs.definition import Job
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.next_runs import next_runs_of
from jobmanager.jobs.timing import schedule_key, timing_errors
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import definition, job_errors, validate
from jobmanager.schedules import counts
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.trigger_kind import trigger_name
from jobmanager.schedules.triggers import settle_all
from tests.unit.functions.examples import NOON_MS, api_event, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
HALF_PAST_TWO = "cron(30 2 * * ? *)"
BERLIN: dict[str, Any] = {"schedule": HALF_PAST_TWO, "time_zone": "Europe/Berlin"}
CHRISTMAS = {"schedule": "at(2026-12-24T18:00:00)", "time_zone": "Europe/Berlin"}


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobmanager.schedules.scheduler.now_ms", lambda: NOON_MS)


def put(job_name: str = "nightly", **fields: Any) -> dict[str, Any]:
    """One PUT, step by step as the state machine takes them."""
    body = {"invocation_type": "sns", **fields}
    change = {"service_name": "billing", "job_name": job_name, "job": body, "updated_by": "ann"}
    valid = validate(change)
    if valid["job"]["enabled"]:
        valid |= put_schedule(valid["schedule_key"], NOON_MS)
    saved = save_change(valid, NOON_MS)
    settle_all(saved["schedules"])
    return saved


def stored() -> Job:
    return store.read("billing", "nightly")


def triggers() -> list[str]:
    """The names of the schedules of EventBridge Scheduler."""
    return [each["Name"] for each in scheduler_client().list_schedules()["Schedules"]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": HALF_PAST_TWO}, {}),
        ({"schedule": HALF_PAST_TWO, "time_zone": "utc"}, {}),
        ({"schedule": HALF_PAST_TWO, "time_zone": "europe/berlin"}, {"time_zone": "Europe/Berlin"}),
        (
            {
                "schedule": HALF_PAST_TWO,
                "start_at": "2026-12-01T01:00:00+01:00",
                "end_at": "2027-01-01T00:00:00.5Z",
            },
            {"start_at": "2026-12-01T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"},
        ),
        (
            {"schedule": HALF_PAST_TWO, "start_at": "2026-12-01T02:30:00.001Z"},
            {"start_at": "2026-12-01T02:30:01Z"},
        ),
        ({"schedule": "AT( 2026-12-24T18:00:00 )"}, {"schedule": "at(2026-12-24T18:00:00)"}),
    ],
)
def test_the_timing_is_kept_in_canonical_form(fields: dict[str, Any], expected: dict[str, str]) -> None:
    assert job_errors({"invocation_type": "sns", **fields}) == []
    kept = definition({"invocation_type": "sns", **fields}, "topic")

    assert {name: kept[name] for name in ("schedule", "time_zone", "start_at", "end_at") if name in kept} == {
        "schedule": HALF_PAST_TWO,
        **expected,
    }


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"time_zone": "Mars/Phobos"}, "/time_zone", "expected a name of the IANA time zone database"),
        ({"time_zone": "Europe/Berlinn"}, "/time_zone", "the nearest: Europe/Berlin"),
        ({"time_zone": "x" * 51}, "/time_zone", "expected at most 50 characters"),
        ({"time_zone": 1}, "/time_zone", "expected string"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone", "is not a time zone"),
        ({"start_at": "2026-12-24T18:00:00"}, "/start_at", "expected a time with an offset, such as"),
        ({"start_at": "tomorrow"}, "/start_at", "expected a time with an offset, such as"),
        ({"end_at": "2200-01-01T00:00:00Z"}, "/end_at", "expected a time in the years 1970 to 2199"),
        ({"end_at": None}, "/end_at", "expected string"),
        (
            {"start_at": "2026-12-24T18:00:00Z", "end_at": "2026-12-24T19:00:00+01:00"},
            "/end_at",
            "expected a time after start_at, 2026-12-24T18:00:00Z",
        ),
        (
            {"schedule": "at(2026-12-24T18:00:00)", "start_at": "2026-12-24T18:00:01Z"},
            "/schedule",
            "expected a time from start_at, 2026-12-24T18:00:01Z",
        ),
        (
            {
                "schedule": "at(2026-12-24T18:00:00)",
                "start_at": "2026-01-01T00:00:00Z",
                "end_at": "2026-12-24T17:00:00Z",
            },
            "/schedule",
            "expected a time from start_at, 2026-01-01T00:00:00Z, until end_at, 2026-12-24T17:00:00Z",
        ),
        ({"schedule": "at(2026-12-24T18:00:00Z)"}, "/schedule", "without an offset"),
        ({"schedule": "at(2026-02-30T18:00:00)"}, "/schedule", "expected a day and a time that exist"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(
    fields: dict[str, Any], pointer: str, detail: str
) -> None:
    errors = job_errors({"schedule": HALF_PAST_TWO, "invocation_type": "sns", **fields})

    assert [error["pointer"] for error in errors] == [pointer]
    assert detail in errors[0]["detail"]


def test_an_at_in_a_gap_and_a_bound_at_its_very_time_are_accepted() -> None:
    skipped = {"schedule": "at(2027-03-28T02:30:00)", "time_zone": "Europe/Berlin"}

    assert timing_errors(skipped | {"end_at": "2026-01-01T00:00:00Z"}) == []
    assert timing_errors(CHRISTMAS | {"start_at": "2026-12-24T17:00:00Z"}) == []


def test_a_job_in_a_time_zone_is_on_a_schedule_of_its_own() -> None:
    put(**BERLIN)
    key = f"{HALF_PAST_TWO} Europe/Berlin"

    assert (stored()["active_schedule"], stored()["schedule"]) == (key, HALF_PAST_TWO)
    assert counts.job_count(key) == 1
    assert triggers() == [trigger_name(key)]


def test_a_put_that_changes_only_the_time_zone_moves_the_job() -> None:
    put(**BERLIN)
    put(**BERLIN | {"time_zone": "Europe/Paris"})
    paris = f"{HALF_PAST_TWO} Europe/Paris"

    assert (stored()["active_schedule"], stored()["left_schedules"]) == (
        paris,
        [f"{HALF_PAST_TWO} Europe/Berlin"],
    )
    assert triggers() == [trigger_name(paris)]
    assert [span["schedule"] for span in stored().get("active_before", [])] == []


def test_the_same_put_and_a_put_that_names_utc_change_nothing() -> None:
    put(schedule=HALF_PAST_TWO)
    assert put(schedule=HALF_PAST_TWO, time_zone="UTC")["version"] == 1
    put(**BERLIN)
    assert put(**BERLIN)["version"] == 2


def test_jobs_at_the_same_wall_time_share_a_trigger_in_each_time_zone() -> None:
    zones = ["Europe/Berlin", "Europe/Paris", "Asia/Kathmandu", "America/New_York"]
    for number in range(12):
        put(f"job-{number}", schedule=HALF_PAST_TWO, time_zone=zones[number % len(zones)])
    keys = [f"{HALF_PAST_TWO} {zone}" for zone in zones]

    assert sorted(triggers()) == sorted(map(trigger_name, keys))
    assert [counts.job_count(key) for key in keys] == [3] * len(zones)


def test_a_rate_shares_its_trigger_in_all_time_zones() -> None:
    rate = {"schedule": "rate(5 minutes)", "time_zone": "Asia/Kathmandu"}

    assert schedule_key(rate) == "rate(5 minutes)"
    assert schedule_key(rate | {"start_at": "2026-12-01T00:00:00Z"}) == (
        "rate(5 minutes) UTC from 2026-12-01T00:00:00Z"
    )


def test_a_job_that_an_earlier_version_stored_is_in_utc() -> None:
    job = save_job()

    assert "time_zone" not in job
    answer = get_job(api_event(service_name="billing", job_name="nightly"), lambda_context())
    assert json.loads(answer["body"])["time_zone"] == "UTC"


def test_jobs_are_found_by_the_key_of_their_schedule() -> None:
    put(**BERLIN)

    def found(schedule: str) -> list[str]:
        answer = list_jobs(api_event(query={"schedule": schedule}), lambda_context())
        return [job["job_name"] for job in json.loads(answer["body"])["results"]]

    assert found(f"{HALF_PAST_TWO} Europe/Berlin") == ["nightly"]
    assert found("cron(30 02 * * ? *) europe/berlin") == ["nightly"]
    assert found(HALF_PAST_TWO) == []


@pytest.mark.parametrize(
    "schedule", ["cron(bad)", "cron(30 2 * * ? *) Mars/Phobos", "rate(1 day) UTC from x"]
)
def test_a_search_by_a_wrong_schedule_names_the_field(schedule: str) -> None:
    answer = list_jobs(api_event(query={"schedule": schedule}), lambda_context())

    assert answer["statusCode"] == 400
    assert [error["pointer"] for error in json.loads(answer["body"])["errors"]] == ["/schedule"]


def test_a_tick_of_the_key_begins_the_job_and_the_service_learns_the_time_zone() -> None:
    put(**BERLIN)
    at_ms = ms_of_iso("2026-11-24T01:30:00Z")
    tick = due(at_ms=at_ms, schedule=f"{HALF_PAST_TWO} Europe/Berlin")
    record = begin(tick, at_ms)

    assert (record["status"], record["schedule"], record["time_zone"]) == (
        "running",
        HALF_PAST_TWO,
        "Europe/Berlin",
    )
    assert execution_view(record)["time_zone"] == "Europe/Berlin"
    assert machine_input(record)["schedule"] == tick.get("schedule")
    record["service_invoked_at_ms"] = at_ms
    told = notification.notification(record, "https://manager.example/callback/x", None)
    assert (told["schedule"], told["time_zone"]) == (HALF_PAST_TWO, "Europe/Berlin")


def test_a_job_in_utc_tells_no_time_zone() -> None:
    put(schedule=HALF_PAST_TWO)

    assert "time_zone" not in notification.test_notification("billing", "nightly", dict(stored()))


def test_a_tick_of_the_schedule_in_another_time_zone_is_skipped() -> None:
    put(**BERLIN)
    at_ms = ms_of_iso("2026-11-24T02:30:00Z")
    record = begin(due(at_ms=at_ms, schedule=HALF_PAST_TWO), at_ms)

    assert record.get("reason") == {
        "code": "schedule_changed",
        "detail": f"the job has moved to the schedule {HALF_PAST_TWO} Europe/Berlin",
    }


def test_a_job_shows_its_next_times_by_its_clock_with_the_skipped_ones() -> None:
    job = save_job(**BERLIN)
    shown = next_runs_of(job, ms_of_iso("2027-03-27T00:00:00Z"))

    assert shown["next_fire_times"] == [
        "2027-03-27T01:30:00Z",
        "2027-03-29T00:30:00Z",
        "2027-03-30T00:30:00Z",
    ]
    assert [(each["local"], each["skipped"]) for each in shown["next_times"]] == [
        ("2027-03-27T02:30:00+01:00", False),
        ("2027-03-28T02:30:00+01:00", True),
        ("2027-03-29T02:30:00+02:00", False),
    ]


# A schedule that never fires again


PAST = {"schedule": HALF_PAST_TWO, "end_at": "2026-11-23T11:59:59Z"}


def test_a_put_that_never_fires_again_completes_the_job_without_a_trigger() -> None:
    saved = put(**PAST)

    assert [warning["code"] for warning in saved["warnings"]] == ["never_fires"]
    assert stored()["completed_at"] == "2026-11-23T12:00:00Z"
    assert "active_schedule" not in stored()
    assert (triggers(), list(counts.all_items())) == ([], [])
    assert put(**PAST)["version"] == 1


@pytest.mark.parametrize(
    "once",
    [
        {"schedule": "at(2026-11-23T11:59:59)"},
        {"schedule": "at(2026-11-23T12:59:59)", "time_zone": "Europe/Berlin"},
        {"schedule": "at(2027-03-28T02:30:00)", "time_zone": "Europe/Berlin"},  # the clocks skip it
    ],
    ids=lambda once: once["schedule"],
)
def test_a_job_cannot_get_an_at_that_does_not_fire_any_more(once: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refusal:
        put(**once)
    (error,) = refusal.value.extra["errors"]
    assert (error["pointer"], store.find("billing", "nightly")) == ("/schedule", None)
    assert "expected a time after 2026-11-23T12:00:00Z" in error["detail"]
    put(**CHRISTMAS)
    with pytest.raises(BadRequest):
        put(**once)
    assert stored()["version"] == 1


def test_a_job_keeps_its_at_when_its_time_has_passed() -> None:
    put(**CHRISTMAS)
    body = {"invocation_type": "sns", **CHRISTMAS, "description": "once"}
    change = {"service_name": "billing", "job_name": "nightly", "job": body, "updated_by": "ann"}
    later_ms = ms_of_iso("2026-12-24T18:00:00Z")
    assert save_change(validate(change), later_ms)["version"] == 2
    assert stored()["description"] == "once"


def test_a_put_that_fires_again_ends_the_completion() -> None:
    put(**PAST)
    put(**CHRISTMAS)

    assert "completed_at" not in stored()
    assert triggers() == [trigger_name("at(2026-12-24T18:00:00) Europe/Berlin")]


def test_a_completed_job_shows_no_next_times_and_is_not_in_the_searches_of_schedules() -> None:
    put(**PAST)
    answer = get_job(api_event(service_name="billing", job_name="nightly"), lambda_context())
    shown = json.loads(answer["body"])

    assert (shown["completed_at"], shown["next_fire_times"], shown["next_times"]) == (
        "2026-11-23T12:00:00Z",
        [],
        [],
    )


def test_a_completed_job_still_runs_by_hand() -> None:
    put(**PAST)

    assert begin_by_hand(due(), {"started_by": "ann"}, NOON_MS)["status"] == "running"


def test_a_completed_job_that_is_deleted_and_made_again_begins_anew() -> None:
    put(**PAST)
    delete_job("billing", "nightly", "ann", NOON_MS)
    put(**CHRISTMAS)

    assert "completed_at" not in stored()


@pytest.mark.parametrize("fields", [PAST | {"enabled": False}, PAST])
def test_pausing_and_resuming_makes_no_trigger_of_a_schedule_that_has_ended(fields: dict[str, Any]) -> None:
    put(**fields)
    pausing.pause_job("billing", "nightly", {"reason": "x", "until": NOON_MS + 1}, "ann", NOON_MS)
    pausing.resume_job("billing", "nightly", "ann", NOON_MS)

    assert triggers() == []
    assert list(counts.all_items()) == []


def test_a_job_whose_time_passes_while_it_is_paused_is_completed_when_it_is_resumed() -> None:
    put(**CHRISTMAS)
    pausing.pause_job("billing", "nightly", {"reason": "holiday"}, "ann", NOON_MS)
    after_ms = ms_of_iso("2026-12-25T00:00:00Z")
    job = changes.resume("billing", "nightly", "ann", after_ms)

    assert (job.get("completed_at"), "active_schedule" in job) == ("2026-12-25T00:00:00Z", False)
    assert [event["event"] for event in job["untold_events"]] == ["job.resumed", "job.completed"]


def test_a_disabled_job_is_completed_only_when_it_is_enabled() -> None:
    put(**PAST, enabled=False)
    assert "completed_at" not in stored()
    put(**PAST)
    assert "completed_at" in stored()


def test_an_active_job_stays_on_its_schedule_until_the_reconciler_completes_it() -> None:
    """A PUT of another field, after the last tick, must not hide the job from a tick that comes late."""
    put(**CHRISTMAS)
    job = save_job(**CHRISTMAS, owner="ann", at_ms=ms_of_iso("2026-12-24T17:00:30Z"))

    assert job["active_schedule"] == "at(2026-12-24T18:00:00) Europe/Berlin"
