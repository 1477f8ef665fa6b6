"""A backfill finds the times that a job missed, and starts it for each of them once, oldest first."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.backfill_job import handler as backfill_job
from functions.start_due_executions.handler import handler as start_handler
from jobmanager.aws import invocations
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions import store as executions
from jobmanager.executions.backfill_starts import BackfillTick, start_backfill
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due, Execution
from jobmanager.executions.start_jobs import Budget
from jobmanager.executions.view import execution_view
from jobmanager.jobs import changes
from jobmanager.schedules import counts
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job
from tests.unit.functions.jobmanager.executions.test_catch_up import Starts

pytestmark = pytest.mark.usefixtures("cloud")
GUID = job_guid("billing", "nightly")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CREATED_MS = NOON_MS - 8 * DAY
WEEK = {"since": iso(NOON_MS - 7 * DAY), "until": iso(NOON_MS)}
FIVE_MINUTES = ("cron(0/5 * * * ? *)", "rate(5 minutes)")


@pytest.fixture(autouse=True)
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    fake = Starts()
    for client in ("step_functions", "untraced_step_functions"):
        monkeypatch.setattr(f"jobmanager.executions.machine.{client}", lambda: fake)
    return fake


class Lambda:
    """Keeps what start_due_executions is invoked with."""

    def __init__(self) -> None:
        self.events: list[BackfillTick] = []

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        assert (FunctionName.rpartition(":")[2], InvocationType) == ("start", "Event")
        assert len(Payload) < 256 * 1024
        self.events.append(json.loads(Payload))


@pytest.fixture(autouse=True)
def lambdas(monkeypatch: pytest.MonkeyPatch) -> Lambda:
    fake = Lambda()
    monkeypatch.setattr(invocations, "lambdas", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_job, "now_ms", lambda: NOON_MS + HOUR)


def ask(body: Any, key: str | None = None, job_name: str = "nightly") -> tuple[int, dict[str, Any]]:
    event = api_event("POST", json.dumps(body), service_name="billing", job_name=job_name)
    if key:
        event["headers"]["idempotency-key"] = key
    answer = backfill_job.handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def times(found: dict[str, Any]) -> list[str]:
    return [each["scheduled_time"] for each in found["times"]]


def has_run_at(monkeypatch: pytest.MonkeyPatch, times_ms: list[int]) -> None:
    """Lets the history have executions of these ticks, which would take long to write."""

    def ids_of_job(guid: str, from_ms: int, until_ms: int) -> list[str]:
        return [execution_id(guid, ms) for ms in times_ms if from_ms <= ms < until_ms]

    monkeypatch.setattr(executions, "ids_of_job", ids_of_job)


def run_tick(at_ms: int, suffix: str = "") -> Execution:
    due: Due = {
        "service_name": "billing",
        "job_name": "nightly",
        "job_guid": GUID,
        "execution_id": execution_id(GUID, at_ms, suffix),
        "scheduled_time": iso(at_ms),
        "schedule": "cron(0 * * * ? *)",
    }
    return begin(due, at_ms)


@pytest.mark.parametrize("schedule", FIVE_MINUTES)
def test_a_week_of_a_five_minute_job_with_37_missing_finds_these_37(
    monkeypatch: pytest.MonkeyPatch, starts: Starts, lambdas: Lambda, schedule: str
) -> None:
    save_job(schedule=schedule, at_ms=CREATED_MS)
    every = list(range(NOON_MS - 7 * DAY, NOON_MS, 5 * MINUTE))
    missing = [*every[100:120], every[300], *every[1500:1510], *every[-6:]]
    assert (len(every), len(missing)) == (2016, 37)
    has_run_at(monkeypatch, [ms for ms in every if ms not in missing])

    status, found = ask(WEEK)

    assert (status, found["count"], "next_since" in found) == (202, 37, False)
    assert times(found) == [iso(ms) for ms in missing]
    (event,) = lambdas.events
    assert start_handler(event, lambda_context()) == {"started": 37}
    assert starts.of("nightly") == [iso(ms) for ms in missing]
    assert list(starts.inputs) == [each["execution_id"] for each in found["times"]]


def test_a_dry_run_starts_nothing_and_tells_local_times(lambdas: Lambda) -> None:
    save_job(schedule="cron(0 2 * * ? *)", time_zone="Europe/Berlin", at_ms=CREATED_MS)
    status, found = ask({**WEEK, "since": iso(NOON_MS - 2 * DAY), "dry_run": True})
    assert (status, found["dry_run"], lambdas.events) == (200, True, [])
    assert found["times"] == [
        {
            "scheduled_time": f"2026-11-{day}T01:00:00Z",
            "local_time": f"2026-11-{day}T02:00:00+01:00",
            "execution_id": f"{GUID}-202611{day}T010000Z",
        }
        for day in ("22", "23")
    ]
    assert (found["schedule"], found["time_zone"]) == ("cron(0 2 * * ? *)", "Europe/Berlin")


def test_an_execution_of_a_backfill_says_which_one_and_runs_whatever_the_job_is(starts: Starts) -> None:
    save_job(schedule="cron(0 * * * ? *)", enabled=False, starting_deadline_seconds=60, at_ms=CREATED_MS)
    _, found = ask({"since": iso(NOON_MS - HOUR), "until": iso(NOON_MS)})
    tick = backfill_tick(found)
    assert start_backfill(tick, Budget(lambda: 300_000, 1000)) == 1
    (passed,) = starts.inputs.values()
    record = begin(passed, NOON_MS + HOUR + 5000)  # type: ignore[arg-type]
    assert record["status"] == "running"
    view = execution_view(record)
    assert view["backfill_of"] == {
        "backfill_id": found["backfill_id"],
        "requested_at": iso(NOON_MS + HOUR),
        "requested_by": "arn:aws:iam::123456789012:user/ann",
    }
    assert (view["scheduled_time"], view["starts_at"]) == (iso(NOON_MS - HOUR), iso(NOON_MS + HOUR))
    assert "started_by" not in view


def backfill_tick(found: dict[str, Any], suffix: str = "") -> BackfillTick:
    return {
        "schedule": found["schedule"],
        "scheduled_time": found["times"][0]["scheduled_time"],
        "backfill": {
            "job_key": "billing/nightly",
            "backfill_of": {
                "backfill_id": found["backfill_id"],
                "requested_at": iso(NOON_MS + HOUR),
                "requested_by": "arn:aws:iam::123456789012:user/ann",
            },
            "suffix": suffix,
            "times": [ms_of_iso(each) // 1000 for each in times(found)],
        },
    }


def test_an_exclusive_job_skips_the_times_that_come_while_it_runs(starts: Starts, lambdas: Lambda) -> None:
    save_job(schedule="cron(0 * * * ? *)", exclusive=True, at_ms=CREATED_MS)
    ask({"since": iso(NOON_MS - 2 * HOUR), "until": iso(NOON_MS)})
    start_handler(lambdas.events[0], lambda_context())
    begun = [begin(passed, NOON_MS + HOUR) for passed in starts.inputs.values()]  # type: ignore[arg-type]
    assert [record["status"] for record in begun] == ["running", "skipped"]
    assert begun[1]["reason"]["code"] == "lock_held"


def test_the_same_backfill_twice_starts_nothing_twice(starts: Starts, lambdas: Lambda) -> None:
    save_job(schedule="cron(0 * * * ? *)", at_ms=CREATED_MS)
    day = {"since": iso(NOON_MS - DAY), "until": iso(NOON_MS)}
    first, second = ask(day)[1], ask(day)[1]
    assert times(first) == times(second)
    assert first["backfill_id"] == second["backfill_id"]
    started = [start_handler(event, lambda_context())["started"] for event in lambdas.events * 2]
    assert started[0] == 24
    assert len(starts.inputs) == 24


@pytest.mark.parametrize("only_missed", [True, False])
def test_a_function_that_dies_half_way_starts_the_rest_when_it_is_repeated(
    starts: Starts, lambdas: Lambda, only_missed: bool
) -> None:
    save_job(schedule="cron(0 * * * ? *)", at_ms=CREATED_MS)
    ask({"since": iso(NOON_MS - DAY), "until": iso(NOON_MS), "only_missed": only_missed})
    (event,) = lambdas.events
    broken_at = iso(NOON_MS - 10 * HOUR)
    starts.failing = lambda job_name, scheduled_time: scheduled_time == broken_at
    pauses: list[float] = []
    remaining = iter([300_000] * 16)
    with pytest.raises(TickIncomplete, match="10 executions"):
        start_backfill(event, Budget(lambda: next(remaining, 0), 1000, pauses.append))
    assert (len(starts.inputs), len(pauses)) == (14, 2)
    starts.failing = lambda job_name, scheduled_time: False
    start_backfill(event, Budget(lambda: 300_000, 1000))
    assert list(starts.inputs) == sorted(starts.inputs)
    assert len(starts.inputs) == 24


def test_a_backfill_of_a_job_that_was_deleted_meanwhile_starts_nothing(
    starts: Starts, lambdas: Lambda
) -> None:
    save_job(schedule="cron(0 * * * ? *)", at_ms=CREATED_MS)
    ask({"since": iso(NOON_MS - DAY), "until": iso(NOON_MS)})
    changes.delete("billing", "nightly", "ann", NOON_MS)
    assert start_handler(lambdas.events[0], lambda_context()) == {"started": 0}
    assert starts.inputs == {}


def test_what_ran_by_hand_is_no_tick_and_what_was_skipped_is_not_missed() -> None:
    save_job(schedule="cron(0 * * * ? *)", exclusive=True, at_ms=CREATED_MS)
    assert run_tick(NOON_MS - 4 * HOUR)["status"] == "running"
    assert run_tick(NOON_MS - 3 * HOUR)["status"] in ("running", "skipped")
    run_tick(NOON_MS - 2 * HOUR, "123deadbeef")
    run_tick(NOON_MS - HOUR, "moved")
    _, found = ask({"since": iso(NOON_MS - 5 * HOUR), "until": iso(NOON_MS), "dry_run": True})
    assert times(found) == [iso(NOON_MS - 5 * HOUR), iso(NOON_MS - 2 * HOUR)]


def test_what_cannot_have_been_missed_is_left_out() -> None:
    """Before the job was created, on another schedule, or so recent that its tick may be on its way."""
    save_job(schedule="cron(30 * * * ? *)", at_ms=NOON_MS - 10 * HOUR)
    save_job(schedule="cron(0 * * * ? *)", at_ms=NOON_MS - 5 * HOUR + MINUTE)
    changes.pause("billing", "nightly", {"reason": "r"}, "ann", NOON_MS - 4 * HOUR + MINUTE)
    changes.resume("billing", "nightly", "ann", NOON_MS - 2 * HOUR + MINUTE)
    _, found = ask({"since": iso(NOON_MS - DAY), "dry_run": True})
    assert times(found) == [iso(NOON_MS - hours * HOUR) for hours in (4, 3, 2, 1, 0)]
    assert found["until"] == iso(NOON_MS + HOUR - 300_000)


def test_a_spread_job_has_the_time_of_its_spread_to_start() -> None:
    save_job(schedule="cron(0 * * * ? *)", spread_seconds=3600, at_ms=CREATED_MS)
    _, found = ask({"since": iso(NOON_MS - HOUR), "dry_run": True})
    assert times(found) == [iso(NOON_MS - HOUR)]


def test_all_times_run_again_once_for_each_idempotency_key(starts: Starts, lambdas: Lambda) -> None:
    save_job(schedule="cron(0 * * * ? *)", at_ms=CREATED_MS)
    run_tick(NOON_MS - 2 * HOUR)
    every = {"since": iso(NOON_MS - 2 * HOUR), "until": iso(NOON_MS), "only_missed": False}
    found = [ask(every)[1], ask(every)[1], ask(every, key="once-more")[1]]
    assert [times(each) for each in found] == [[iso(NOON_MS - 2 * HOUR), iso(NOON_MS - HOUR)]] * 3
    names = [each["times"][0]["execution_id"] for each in found]
    assert names[0] == names[1] != names[2]
    assert names[0].endswith(f"-b{found[0]['backfill_id']}")
    for event in lambdas.events:
        start_handler(event, lambda_context())
    assert len(starts.inputs) == 4


def test_more_than_can_be_started_is_continued_from_next_since(lambdas: Lambda) -> None:
    save_job(schedule="cron(* * * * ? *)", at_ms=CREATED_MS)
    _, found = ask({"since": iso(NOON_MS - DAY), "until": iso(NOON_MS)})
    assert (found["count"], found["next_since"]) == (1000, iso(NOON_MS - DAY + 1000 * MINUTE))
    assert len(lambdas.events[0]["backfill"]["times"]) == 1000


def test_nothing_missed_starts_no_function(lambdas: Lambda) -> None:
    save_job(schedule="cron(0 2 * * ? *)", at_ms=CREATED_MS)
    status, found = ask({"since": iso(NOON_MS - HOUR), "until": iso(NOON_MS)})
    assert (status, found["count"], found["times"], lambdas.events) == (202, 0, [], [])


def test_a_rate_without_any_run_is_counted_from_its_last_known_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job(schedule="rate(2 hours)", at_ms=CREATED_MS)
    counts.record_if_later("rate(2 hours)", "last_tick_ms", NOON_MS - 2 * DAY + 17 * MINUTE)
    _, found = ask({"since": iso(NOON_MS - 5 * HOUR), "until": iso(NOON_MS), "dry_run": True})
    assert times(found) == [iso(NOON_MS - hours * HOUR + 17 * MINUTE) for hours in (4, 2)]


def test_a_rate_with_a_start_has_known_times() -> None:
    start = iso(NOON_MS - DAY + MINUTE)
    save_job(schedule="rate(12 hours)", start_at=start, at_ms=CREATED_MS)
    _, found = ask({"since": iso(NOON_MS - 5 * DAY), "until": iso(NOON_MS), "dry_run": True})
    assert times(found) == [start, iso(NOON_MS - 12 * HOUR + MINUTE)]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "/since", "required"),
        ({"since": "yesterday"}, "/since", "expected a time"),
        ({"since": iso(NOON_MS), "until": iso(NOON_MS)}, "/until", "after since"),
        ({"since": iso(NOON_MS), "until": iso(NOON_MS + DAY)}, "/until", "not in the future"),
        ({"since": iso(NOON_MS - 91 * DAY)}, "/since", "last 90 days"),
        ({"since": iso(NOON_MS - DAY), "only_missed": False}, "/until", "required"),
        ({"since": iso(NOON_MS - DAY), "only_missed": 1}, "/only_missed", "true or false"),
        ({"since": iso(NOON_MS - DAY), "dry_run": "yes"}, "/dry_run", "true or false"),
        ({"since": iso(NOON_MS - DAY), "limit": 5}, "/limit", "unknown field"),
        ({"since": iso(NOON_MS - 89 * DAY)}, "/since", "at most 20000"),
    ],
)
def test_a_bad_request_names_its_field(body: Any, pointer: str, detail: str, lambdas: Lambda) -> None:
    save_job(schedule="cron(* * * * ? *)", at_ms=CREATED_MS)
    status, problem = ask(body)
    assert (status, [error["pointer"] for error in problem["errors"]]) == (400, [pointer])
    assert detail in problem["errors"][0]["detail"]
    assert lambdas.events == []


def test_a_malformed_key_is_refused(lambdas: Lambda) -> None:
    save_job(schedule="cron(0 2 * * ? *)", at_ms=CREATED_MS)
    status, problem = ask(WEEK, key="a b")
    assert (status, problem["errors"][0]["pointer"], lambdas.events) == (400, "/Idempotency-Key", [])


def test_there_must_be_such_a_job() -> None:
    assert ask(WEEK, job_name="other")[0] == 404


def test_a_start_that_the_api_cannot_hand_over_is_an_error_of_the_manager(
    monkeypatch: pytest.MonkeyPatch, lambdas: Lambda
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")

    save_job(schedule="cron(0 * * * ? *)", at_ms=CREATED_MS)
    monkeypatch.setattr(lambdas, "invoke", refuse)
    assert ask(WEEK)[0] == 500
