"""Triggers of both kinds: which a schedule has, how they are settled, and how a stage moves between them."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from jobmanager.aws import invocations, tables
from jobmanager.aws.clients import events
from jobmanager.aws.clients import scheduler as scheduler_client
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import Contended, ScheduleLimitReached
from jobmanager.schedules import counts, reconcile, rules, scheduler, triggers
from jobmanager.schedules import events as schedule_events
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.listing import list_schedules
from jobmanager.schedules.ticks import fired_at
from jobmanager.schedules.trigger_kind import TriggerType, is_trigger_name, trigger_name
from jobmanager.schedules.warnings import warnings_of
from tests.unit.functions.examples import NOON_MS

pytestmark = pytest.mark.usefixtures("cloud")

HOUR_MS = 3_600_000
NIGHTLY, RATE = "cron(0 2 * * ? *)", "rate(2 hours)"
BERLIN = "cron(0 2 * * ? *) Europe/Berlin"
ONCE = "at(2190-12-24T18:00:00) UTC"


def enter(schedule: str, at_ms: int = NOON_MS) -> None:
    """Counts a job that enters a schedule."""
    assert tables.transact(counts.count_changes(None, schedule, at_ms))


def leave(schedule: str) -> None:
    """Counts a job that leaves a schedule."""
    assert tables.transact(counts.count_changes(schedule, None, None))


def use(schedule: str, at_ms: int = NOON_MS) -> str:
    """Puts a trigger, and counts a job on it; returns the trigger's name."""
    triggers.put(schedule)
    enter(schedule, at_ms)
    return trigger_name(schedule)


@pytest.fixture
def all_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(schedule_events, "publish", lambda client, message: found.append(message))
    return found


def existing() -> dict[str, set[str]]:
    """The names of all triggers, by their type."""
    listed = boto3.client("events").list_rules()["Rules"], boto3.client("scheduler").list_schedules()
    return {
        "rule": {rule["Name"] for rule in listed[0]},
        "scheduler": {schedule["Name"] for schedule in listed[1]["Schedules"]},
    }


def run(at_ms: int = NOON_MS, remaining_ms: int = 29_000) -> dict[str, Any]:
    return reconcile.reconcile(at_ms, lambda: remaining_ms, lambda seconds: None)


def change(schedule: str, trigger_type: TriggerType, found: str, done: str) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "trigger_type": trigger_type,
        "rule": trigger_name(schedule),
        "found": found,
        "done": done,
    }


# Which kind


@pytest.mark.parametrize(
    ("schedule", "in_a_stage_with_rules"),
    [
        (NIGHTLY, "rule"),
        (RATE, "rule"),
        (BERLIN, "scheduler"),
        (ONCE, "scheduler"),
        (f"{NIGHTLY} UTC from 2026-01-01T00:00:00Z", "scheduler"),
    ],
)
def test_a_rule_fires_only_for_a_plain_schedule_and_only_if_the_stage_has_rules(
    schedule: str, in_a_stage_with_rules: TriggerType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert triggers.type_of(schedule) == in_a_stage_with_rules
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")
    assert triggers.type_of(schedule) == "scheduler"


def test_what_is_no_key_has_no_trigger() -> None:
    with pytest.raises(InvalidSchedule):
        triggers.put("nightly")


def test_a_trigger_has_a_name_that_only_this_stage_gives() -> None:
    names = {trigger_name(schedule) for schedule in (NIGHTLY, BERLIN, ONCE)}
    assert len(names) == 3
    for name in names:
        assert name.startswith("sjm-test-schedule-")
        assert is_trigger_name(name)
        assert not is_trigger_name(f"{name}0")
        assert not is_trigger_name(name.replace("test", "prod"))


# Settling


@pytest.mark.parametrize("trigger_type", ["rule", "scheduler"])
def test_a_trigger_is_there_exactly_while_a_job_is_on_its_schedule(
    trigger_type: TriggerType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", trigger_type)
    enter(NIGHTLY)
    enter(NIGHTLY)
    assert triggers.settle(NIGHTLY) == "put"
    leave(NIGHTLY)
    assert triggers.settle(NIGHTLY) is None
    assert existing()[trigger_type] == {trigger_name(NIGHTLY)}
    leave(NIGHTLY)
    assert triggers.settle(NIGHTLY) == "removed"
    assert existing() == {"rule": set(), "scheduler": set()}
    assert list(counts.all_items()) == []


@pytest.mark.parametrize("trigger_type", ["rule", "scheduler"])
def test_a_job_that_enters_while_the_trigger_is_removed_gets_it_back(
    trigger_type: TriggerType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", trigger_type)
    kind: Any = {"rule": rules, "scheduler": scheduler}[trigger_type]
    triggers.put(NIGHTLY)
    remove = kind.remove

    def enter_meanwhile(name: str) -> bool:
        monkeypatch.setattr(kind, "remove", remove)
        enter(NIGHTLY)
        return bool(remove(name))

    monkeypatch.setattr(kind, "remove", enter_meanwhile)
    assert triggers.settle(NIGHTLY) == "put"
    assert triggers.state(NIGHTLY) == "in step"


def test_jobs_that_keep_entering_and_leaving_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobmanager.core.retry.time.sleep", lambda seconds: None)
    answers = iter([0, 1] * 20)
    monkeypatch.setattr(counts, "job_count", lambda schedule: next(answers))
    with pytest.raises(Contended):
        triggers.settle(BERLIN)


# The limit


def test_only_schedules_with_rules_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULE_LIMIT", "1")
    for number in range(3):
        schedule = f"cron({number} 2 * * ? *) Europe/Berlin"
        put_schedule(schedule, NOON_MS)
        enter(schedule)
    put_schedule(NIGHTLY, NOON_MS)
    enter(NIGHTLY)
    with pytest.raises(ScheduleLimitReached) as refused:
        put_schedule(RATE, NOON_MS)
    assert refused.value.extra == {"limit": 1, "nearest_schedules": [NIGHTLY]}
    put_schedule(ONCE, NOON_MS)
    assert (counts.count(), counts.count_for_rules()) == (4, 1)
    leave(NIGHTLY)
    put_schedule(RATE, NOON_MS)


@pytest.mark.usefixtures("all_scheduler")
def test_with_scheduler_for_all_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULE_LIMIT", "1")
    for schedule in (NIGHTLY, RATE, BERLIN):
        put_schedule(schedule, NOON_MS)
        enter(schedule)
    page = list_schedules({}, NOON_MS)
    assert (page["schedule_count"], page["rule_count"], page["schedule_limit"]) == (3, 0, 1)
    assert {each["trigger_type"] for each in page["results"]} == {"scheduler"}


# What is told


def test_a_schedule_in_a_time_zone_with_bounds_is_listed_with_them() -> None:
    key = f"{BERLIN} from 2026-11-25T00:00:00Z until 2190-01-01T00:00:00Z"
    use(key)
    (listed,) = list_schedules({}, NOON_MS)["results"]
    assert listed == {
        "schedule_key": key,
        "schedule": NIGHTLY,
        "time_zone": "Europe/Berlin",
        "start_at": "2026-11-25T00:00:00Z",
        "end_at": "2190-01-01T00:00:00Z",
        "trigger_type": "scheduler",
        "job_count": 1,
        "rule": "in step",
        "next_fire_times": [f"2026-11-{day}T01:00:00Z" for day in (25, 26, 27)],
    }


def test_a_rate_with_a_start_has_known_times() -> None:
    use("rate(1 hour) UTC from 2026-11-23T12:30:00Z")
    (listed,) = list_schedules({}, NOON_MS)["results"]
    assert listed["next_fire_times"] == [f"2026-11-23T{hour}:30:00Z" for hour in (12, 13, 14)]


def test_the_pages_of_the_list_are_divided_by_key() -> None:
    keys = [NIGHTLY, BERLIN, f"{NIGHTLY} Europe/Paris"]
    for key in keys:
        use(key)
    found, query = [], {"limit": "1"}
    for _ in keys:
        page = list_schedules(query, NOON_MS)
        found += [each["schedule_key"] for each in page["results"]]
        query["more"] = page["paging"].get("more", "")
    assert (found, query["more"]) == (sorted(keys), "")


def test_whether_a_schedule_fired_is_judged_by_its_time_zone_and_bounds() -> None:
    two_in_berlin, two_in_utc = ms_of_iso("2026-11-24T01:00:00Z"), ms_of_iso("2026-11-24T02:00:00Z")
    assert fired_at(BERLIN, two_in_berlin)
    assert not fired_at(BERLIN, two_in_utc)
    assert fired_at(f"{BERLIN} until 2026-11-24T01:00:00Z", two_in_berlin)
    assert not fired_at(f"{BERLIN} until 2026-11-24T00:59:59Z", two_in_berlin)
    assert fired_at("rate(1 hour) UTC from 2026-11-24T00:00:00Z", two_in_utc)
    assert not fired_at("rate(1 hour) UTC from 2026-11-24T00:00:01Z", two_in_utc)
    assert not fired_at("rate(1 hour)", two_in_utc)


def test_warnings_go_by_the_bounds() -> None:
    (warning,) = warnings_of(f"{BERLIN} until 2026-11-01T00:00:00Z", NOON_MS, None, NOON_MS)
    assert warning["code"] == "never_fires"
    assert warnings_of(BERLIN, NOON_MS, None, NOON_MS) == []
    shared = NOON_MS - HOUR_MS
    assert [each["code"] for each in warnings_of(RATE, NOON_MS, shared, NOON_MS)] == ["shared_rate"]
    of_its_own = f"{RATE} UTC from 2026-11-01T00:00:00Z"
    assert warnings_of(of_its_own, NOON_MS, shared, NOON_MS) == []


# Reconciling


@pytest.mark.parametrize("what", ["missing", "disabled", "expression", "target"])
def test_a_schedule_changed_by_hand_is_repaired_and_an_event_is_published(
    published: list[dict[str, Any]], what: str
) -> None:
    name = use(BERLIN)
    client = boto3.client("scheduler")
    target = client.get_schedule(Name=name)["Target"]
    kept = {"ScheduleExpression": NIGHTLY, "ScheduleExpressionTimezone": "Europe/Berlin", "Target": target}
    fields: dict[str, Any] = {"Name": name, "FlexibleTimeWindow": {"Mode": "OFF"}, **kept}
    match what:
        case "missing":
            client.delete_schedule(Name=name)
        case "disabled":
            client.update_schedule(**fields, State="DISABLED")
        case "expression":
            client.update_schedule(**{**fields, "ScheduleExpression": RATE}, State="ENABLED")
        case "target":
            client.update_schedule(**{**fields, "Target": {**target, "Input": "{}"}}, State="ENABLED")
    expected = change(BERLIN, "scheduler", what if what in ("missing", "disabled") else "different", "put")
    assert run()["changed"] == [expected]
    assert published == [{"event": "schedule.reconciled", "occurred_at": iso(NOON_MS), **expected}]
    assert scheduler.is_complete(BERLIN)
    assert run()["changed"] == []


def test_orphaned_schedules_are_removed_and_foreign_ones_are_not_touched(
    published: list[dict[str, Any]],
) -> None:
    triggers.put(BERLIN)
    use(ONCE)
    leave(ONCE)
    client = boto3.client("scheduler")
    foreign = {"sjm-prod-schedule-0123456789abcdef", "sjm-test-schedule-mine", "backup"}
    for name in foreign:
        client.create_schedule(
            Name=name,
            ScheduleExpression="rate(1 day)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": "arn:aws:sqs:::q", "RoleArn": "arn:aws:iam::123456789012:role/r"},
        )
    changed = run()["changed"]
    assert sorted(changed, key=lambda each: str(each["schedule"])) == [
        change(ONCE, "scheduler", "orphaned", "removed"),
        change(BERLIN, "scheduler", "orphaned", "removed"),
    ]
    assert len(published) == 2
    assert existing() == {"rule": set(), "scheduler": foreign}


def test_an_orphaned_schedule_whose_input_was_changed_by_hand_is_removed(
    published: list[dict[str, Any]],
) -> None:
    triggers.put(BERLIN)
    name = trigger_name(BERLIN)
    client = boto3.client("scheduler")
    target = client.get_schedule(Name=name)["Target"]
    client.update_schedule(
        Name=name,
        ScheduleExpression=NIGHTLY,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={**target, "Input": "{}"},
        State="ENABLED",
    )
    assert run()["changed"] == [change(NIGHTLY, "scheduler", "orphaned", "removed") | {"rule": name}]
    assert existing()["scheduler"] == set()


def test_of_many_schedules_a_run_reads_the_last_changed_and_some_others(
    monkeypatch: pytest.MonkeyPatch, published: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(reconcile, "_LAST_CHANGED", 2)
    monkeypatch.setattr(reconcile, "_OTHERS", 3)
    keys = [f"cron({minute} 2 * * ? *) Europe/Berlin" for minute in range(9)]
    for key in keys:
        use(key)
    read: list[str] = []
    get_schedule = scheduler_client().get_schedule

    def counted(**asked: Any) -> Any:
        read.append(asked["Name"])
        return get_schedule(**asked)

    monkeypatch.setattr(scheduler_client(), "get_schedule", counted)
    report = run()
    assert (report["checked"], report["changed"]) == (9, [])
    assert len(read) == len(set(read)) == 5
    assert {trigger_name(key) for key in keys[-2:]} <= set(read)


def test_a_missed_tick_is_one_of_the_schedules_time_zone_and_bounds(
    monkeypatch: pytest.MonkeyPatch, published: list[dict[str, Any]]
) -> None:
    ticks: list[dict[str, Any]] = []
    invoke = SimpleNamespace(invoke=lambda **sent: ticks.append(json.loads(sent["Payload"])))
    monkeypatch.setattr(invocations, "lambdas", lambda: invoke)
    key = f"{BERLIN} until 2190-11-25T12:00:00Z"
    noon_ms = ms_of_iso("2190-11-23T12:00:00Z")
    use(key, noon_ms)
    last = "2190-11-25T01:00:00Z"
    assert run(noon_ms + 5 * 24 * HOUR_MS)["missed"] == [
        {"schedule": key, "first_missed": "2190-11-24T01:00:00Z", "last_missed": last, "count": 2}
    ]
    found = {"missed_after_ms": noon_ms, "found_ms": noon_ms + 5 * 24 * HOUR_MS}
    assert ticks == [{"schedule": key, "scheduled_time": last, "catch_up": True, **found}]
    assert [event["event"] for event in published] == ["schedule.missed"]


# Moving a stage from one type to the other


@pytest.mark.parametrize(("before", "after"), [("rule", "scheduler"), ("scheduler", "rule")])
def test_a_stage_moves_to_the_other_type_by_one_run(
    before: TriggerType, after: TriggerType, monkeypatch: pytest.MonkeyPatch, published: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", before)
    for schedule in (NIGHTLY, RATE, BERLIN):
        use(schedule)
    triggers.put("rate(9 days)")  # of no job
    monkeypatch.setenv("TRIGGER_TYPE", after)
    moved = {trigger_name(NIGHTLY), trigger_name(RATE)}
    report = run()
    assert {
        (each["schedule"], each["trigger_type"], each["found"], each["done"]) for each in report["changed"]
    } == {
        (NIGHTLY, after, "missing", "put"),
        (RATE, after, "missing", "put"),
        (NIGHTLY, before, "orphaned", "removed"),
        (RATE, before, "orphaned", "removed"),
        ("rate(9 days)", before, "orphaned", "removed"),
    }
    assert report["complete"]
    expected = {"rule": set[str](), "scheduler": {trigger_name(BERLIN)}}
    expected[after] |= moved
    assert existing() == expected
    assert run()["changed"] == []


@pytest.mark.usefixtures("published")
def test_the_old_trigger_stays_until_the_new_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    use(NIGHTLY)
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")

    def refuse(**_: Any) -> None:
        raise scheduler_client().exceptions.ServiceQuotaExceededException(
            {"Error": {"Code": "ServiceQuotaExceededException"}}, "CreateSchedule"
        )

    with monkeypatch.context() as patch:
        patch.setattr(scheduler_client(), "create_schedule", refuse)
        report = run()
    assert (report["changed"], report["complete"]) == ([], False)
    assert existing() == {"rule": {trigger_name(NIGHTLY)}, "scheduler": set()}
    run()
    assert existing() == {"rule": set(), "scheduler": {trigger_name(NIGHTLY)}}


@pytest.mark.usefixtures("published")
def test_a_rate_keeps_its_times_when_a_schedule_replaces_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    use(RATE, ms_of_iso("2190-01-01T00:00:00Z"))
    counts.record_if_later(RATE, "last_tick_ms", ms_of_iso("2190-01-01T02:00:07Z"))
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")
    monkeypatch.setattr(scheduler, "now_ms", lambda: ms_of_iso("2190-01-01T03:30:00Z"))
    run(ms_of_iso("2190-01-01T03:30:00Z"))
    made = boto3.client("scheduler").get_schedule(Name=trigger_name(RATE))
    assert made["StartDate"].isoformat() == "2190-01-01T04:00:07+00:00"


@pytest.mark.usefixtures("published")
def test_a_rate_keeps_its_times_however_often_its_schedule_is_repaired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")
    monkeypatch.setattr(invocations, "lambdas", lambda: SimpleNamespace(invoke=lambda **_: None))
    use(RATE, ms_of_iso("2190-01-01T00:00:00Z"))
    counts.record_if_later(RATE, "last_tick_ms", ms_of_iso("2190-01-01T02:00:07Z"))
    for time in ("03:30", "03:45"):
        at_ms = ms_of_iso(f"2190-01-01T{time}:00Z")
        monkeypatch.setattr(scheduler, "now_ms", lambda at_ms=at_ms: at_ms)
        scheduler.remove(trigger_name(RATE))
        run(at_ms)
        made = boto3.client("scheduler").get_schedule(Name=trigger_name(RATE))
        assert made["StartDate"].isoformat() == "2190-01-01T04:00:07+00:00"
    (missed,) = run(ms_of_iso("2190-01-01T04:05:08Z"))["missed"]
    assert missed["last_missed"] == "2190-01-01T04:00:07Z"


@pytest.mark.usefixtures("published")
def test_a_zone_that_the_database_has_no_more_stops_only_its_own_schedule() -> None:
    enter("cron(0 2 * * ? *) US/Pacific-New")
    enter(NIGHTLY)
    report = run()
    assert [change["schedule"] for change in report["changed"]] == [NIGHTLY]
    assert not report["complete"]


@pytest.mark.parametrize("trigger_type", ["rule", "scheduler"])
def test_neither_kind_is_asked_for_the_others_triggers(
    trigger_type: TriggerType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the reconciler looks for triggers of the former type, so that a PUT costs no call more."""
    monkeypatch.setenv("TRIGGER_TYPE", trigger_type)
    other: Any = scheduler_client() if trigger_type == "rule" else events()
    monkeypatch.setattr(other, "_make_api_call", lambda *_: pytest.fail("a call that is not needed"))
    put_schedule(NIGHTLY, NOON_MS)
    enter(NIGHTLY)
    triggers.settle(NIGHTLY)
    leave(NIGHTLY)
    triggers.settle(NIGHTLY)
    triggers.settle(NIGHTLY)
