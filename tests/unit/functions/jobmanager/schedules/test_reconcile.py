"""reconcile_schedules: repairs rules, publishes missed ticks once, and starts jobs with catch_up."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from functions.reconcile_schedules.handler import handler
from jobmanager.aws import invocations, tables
from jobmanager.aws.clients import events
from jobmanager.core.clock import iso
from jobmanager.core.errors import ReconcileIncomplete
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import changes
from jobmanager.jobs.definition import Pausing
from jobmanager.schedules import counts as schedules
from jobmanager.schedules import events as schedule_events
from jobmanager.schedules import rules, triggers
from jobmanager.schedules.reconcile import reconcile
from jobmanager.schedules.trigger_kind import trigger_name
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
NIGHTLY, HOURLY = "cron(0 2 * * ? *)", "cron(0 * * * ? *)"
EVERY_TWO_HOURS = "rate(2 hours)"


class Published(list[dict[str, Any]]):
    """The published events, and the ticks that were sent to start_due_executions."""

    def __init__(self) -> None:
        self.ticks: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    published = Published()

    def invoke(FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        assert InvocationType == "Event"
        published.ticks.append(json.loads(Payload))

    monkeypatch.setattr(schedule_events, "publish", lambda client, message: published.append(message))
    monkeypatch.setattr(invocations, "lambdas", lambda: SimpleNamespace(invoke=invoke))
    yield published


def run(at_ms: int = NOON_MS, remaining_ms: int = 29_000) -> dict[str, Any]:
    return reconcile(at_ms, lambda: remaining_ms, lambda seconds: None)


def use(schedule: str = NIGHTLY, job_name: str = "nightly", **fields: Any) -> str:
    """Saves a job and puts its rule. Returns the rule's name."""
    save_job(job_name, schedule=schedule, **fields)
    rules.put(schedule)
    return trigger_name(schedule)


def names() -> set[str]:
    pages = boto3.client("events").get_paginator("list_rules").paginate()
    return {rule["Name"] for page in pages for rule in page["Rules"]}


def change(schedule: str, found: str, done: str = "put") -> dict[str, Any]:
    return {
        "schedule": schedule,
        "trigger_type": "rule",
        "rule": trigger_name(schedule),
        "found": found,
        "done": done,
    }


# Rules


def test_if_all_rules_match_nothing_is_changed_or_published(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    for forbidden in ("put_rule", "put_targets", "remove_targets", "delete_rule", "describe_rule"):
        monkeypatch.setattr(events(), forbidden, lambda **_: pytest.fail("a call that is not needed"))
    assert run() == {"checked": 1, "changed": [], "missed": [], "complete": True}
    assert published == []


@pytest.mark.parametrize("what", ["missing", "disabled", "schedule", "target", "no target", "pattern"])
def test_a_rule_changed_by_hand_is_repaired_and_an_event_is_published(
    published: Published, what: str
) -> None:
    name = use()
    client = boto3.client("events")
    if what in ("missing", "no target"):
        client.remove_targets(Rule=name, Ids=["start-due-executions"])
    match what:
        case "missing":
            client.delete_rule(Name=name)
        case "disabled":
            client.disable_rule(Name=name)
        case "schedule":
            client.put_rule(Name=name, ScheduleExpression=HOURLY)
        case "pattern":
            client.put_rule(Name=name, EventPattern='{"source": ["x"]}')
        case "target":
            client.put_targets(Rule=name, Targets=[{"Id": "start-due-executions", "Arn": "arn:aws:sqs:::q"}])
    expected = change(NIGHTLY, what if what in ("missing", "disabled") else "different")
    report = run()
    assert report["changed"] == [expected]
    assert published == [{"event": "schedule.reconciled", "occurred_at": iso(NOON_MS), **expected}]
    assert rules.state(NIGHTLY) == "in step"
    assert rules.is_complete(NIGHTLY)
    assert run()["changed"] == []


def test_a_rule_that_the_list_leaves_out_is_not_put_again(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rule was deleted while they were listed. Put again, a `rate(...)` would count anew."""
    use()
    monkeypatch.setattr(events(), "list_rules", lambda **_: {"Rules": []})
    monkeypatch.setattr(events(), "put_rule", lambda **_: pytest.fail("a rule in step was put again"))
    assert run() == {"checked": 1, "changed": [], "missed": [], "complete": True}
    assert published == []


def test_targets_that_others_added_to_a_rule_are_kept() -> None:
    name = use()
    client = boto3.client("events")
    client.put_targets(Rule=name, Targets=[{"Id": "theirs", "Arn": "arn:aws:sqs:us-east-1:123456789012:q"}])
    client.disable_rule(Name=name)
    assert len(run()["changed"]) == 1
    assert {t["Id"] for t in client.list_targets_by_rule(Rule=name)["Targets"]} == {
        "start-due-executions",
        "theirs",
    }


def test_a_rule_that_no_active_job_needs_is_removed(published: Published) -> None:
    use()
    changes.delete("billing", "nightly", "ann", NOON_MS)
    rules.put(HOURLY)
    report = run()
    assert sorted(report["changed"], key=lambda c: str(c["schedule"])) == [
        change(HOURLY, "orphaned", "removed"),
        change(NIGHTLY, "orphaned", "removed"),
    ]
    assert names() == set()
    assert list(schedules.all_items()) == []
    assert len(published) == 2


def test_an_orphaned_rule_whose_schedule_was_changed_by_hand_is_removed() -> None:
    rules.put(NIGHTLY)
    name = trigger_name(NIGHTLY)
    boto3.client("events").put_rule(Name=name, ScheduleExpression=HOURLY)
    (changed,) = run()["changed"]
    assert changed == change(HOURLY, "orphaned", "removed") | {"rule": name}
    assert names() == set()


def test_an_orphaned_rule_with_a_foreign_target_loses_only_the_managers_target() -> None:
    rules.put(NIGHTLY)
    name, client = trigger_name(NIGHTLY), boto3.client("events")
    client.put_targets(Rule=name, Targets=[{"Id": "theirs", "Arn": "arn:aws:sqs:us-east-1:123456789012:q"}])
    assert run() == {"checked": 0, "changed": [], "missed": [], "complete": True}
    assert [t["Id"] for t in client.list_targets_by_rule(Rule=name)["Targets"]] == ["theirs"]


def test_rules_of_other_stages_and_systems_are_never_touched() -> None:
    foreign = {
        "sjm-prod-schedule-0123456789abcdef",
        "sjm-test-schedule-mine",
        "sjm-test-schedule-0123456789abcdef0",
        "sjm-test-reconcile-schedules",
        "sjm-testing-schedule-0123456789abcdef",
        "backup",
    }
    for name in foreign:
        boto3.client("events").put_rule(Name=name, ScheduleExpression="rate(1 day)", State="DISABLED")
    use()
    assert run()["changed"] == []
    assert names() == foreign | {trigger_name(NIGHTLY)}


def test_one_run_restores_all_rules_that_were_deleted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [f"cron({minute} {hour} * * ? *)" for minute in range(60) for hour in (1, 2)]
    for number, schedule in enumerate(wanted):
        save_job(f"job-{number}", schedule=schedule)
    calls: list[str] = []
    client: Any = events()
    original = client._make_api_call

    def counting(operation: str, parameters: Any) -> Any:
        calls.append(operation)
        return original(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", counting)
    report = run()
    assert {c["found"] for c in report["changed"]} == {"missing"}
    assert names() == {trigger_name(schedule) for schedule in wanted}
    assert sorted(set(calls)) == ["DescribeRule", "ListRules", "PutRule", "PutTargets"]
    assert calls.count("PutRule") == calls.count("PutTargets") == len(wanted)
    calls.clear()
    assert run()["changed"] == []
    assert sorted(set(calls)) == ["ListRules", "ListTargetsByRule"]


def test_all_pages_of_rules_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(5):
        use(f"cron({minute} 0 * * ? *)", f"job-{minute}")
    list_rules = events().list_rules
    monkeypatch.setattr(events(), "list_rules", lambda **how: list_rules(**how, Limit=2))
    assert len(rules.listed()) == 5


@pytest.mark.parametrize("found", [NIGHTLY, HOURLY], ids=["its schedule", "a schedule changed by hand"])
def test_a_job_saved_while_its_rule_looks_orphaned_keeps_the_rule(
    monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    rules.put(NIGHTLY)  # a PUT puts its rule before it saves its job
    boto3.client("events").put_rule(Name=trigger_name(NIGHTLY), ScheduleExpression=found)
    remove = rules.remove

    def save_meanwhile(name: str) -> bool:
        monkeypatch.setattr(rules, "remove", remove)
        save_job(schedule=NIGHTLY)
        triggers.settle(NIGHTLY)
        return remove(name)

    monkeypatch.setattr(rules, "remove", save_meanwhile)
    run()
    assert rules.state(NIGHTLY) == "in step"
    assert rules.is_complete(NIGHTLY)


def test_a_job_deleted_just_before_the_repair_of_its_rule_leaves_no_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job(schedule=NIGHTLY)
    put = rules.put

    def leave_meanwhile(schedule: str, seen: Any = None) -> bool:
        changes.delete("billing", "nightly", "ann", NOON_MS)
        rules.remove(trigger_name(schedule))
        return put(schedule, seen)

    monkeypatch.setattr(rules, "put", leave_meanwhile)
    run()
    assert names() == set()


def test_a_throttled_repair_is_retried_without_delaying_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job("a", schedule=NIGHTLY)
    save_job("b", schedule=HOURLY)
    put_rule, refusals = events().put_rule, iter([True, True, False])

    def throttled(**rule: Any) -> Any:
        if rule["ScheduleExpression"] == HOURLY and next(refusals, False):
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "PutRule")
        return put_rule(**rule)

    monkeypatch.setattr(events(), "put_rule", throttled)
    report = run()
    assert report["complete"]
    assert len(report["changed"]) == 2


def test_a_rule_that_eventbridge_refuses_makes_the_report_incomplete_but_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job("a", schedule=NIGHTLY)
    save_job("b", schedule=HOURLY)
    put_rule = events().put_rule

    def refuse(**rule: Any) -> Any:
        if rule["ScheduleExpression"] == HOURLY:
            raise events().exceptions.LimitExceededException(
                {"Error": {"Code": "LimitExceededException"}}, "PutRule"
            )
        return put_rule(**rule)

    monkeypatch.setattr(events(), "put_rule", refuse)
    report = run()
    assert not report["complete"]
    assert [c["schedule"] for c in report["changed"]] == [NIGHTLY]


def test_a_run_without_time_left_changes_nothing_and_reports_incomplete() -> None:
    save_job(schedule=NIGHTLY)
    report = run(remaining_ms=3000)
    assert report == {"checked": 1, "changed": [], "missed": [], "complete": False}
    assert names() == set()


def test_the_api_gets_an_incomplete_report_and_the_rule_gets_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("functions.reconcile_schedules.handler.now_ms", lambda: NOON_MS)
    save_job(schedule=NIGHTLY)
    asked = handler(api_event("POST"), context_with(29_000))
    assert asked["statusCode"] == 200
    assert json.loads(asked["body"])["changed"] == [change(NIGHTLY, "missing")]
    of_a_rule = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    assert handler(of_a_rule, context_with(29_000))["changed"] == []
    short = context_with(1000)
    with pytest.raises(ReconcileIncomplete):
        handler(of_a_rule, short)
    assert json.loads(handler(api_event("POST"), short)["body"])["complete"] is False


def context_with(remaining_ms: int) -> LambdaContext:
    context = lambda_context()
    context.get_remaining_time_in_millis = lambda: remaining_ms  # type: ignore[method-assign]
    return context


# Missed ticks


def missed(schedule: str, first_ms: int, last_ms: int, count: int) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "first_missed": iso(first_ms),
        "last_missed": iso(last_ms),
        "count": count,
    }


def missed_tick(last_ms: int, after_ms: int, found_ms: int) -> dict[str, Any]:
    """What the reconciler sends to start_due_executions."""
    return {
        "schedule": HOURLY,
        "scheduled_time": iso(last_ms),
        "catch_up": True,
        "missed_after_ms": after_ms,
        "found_ms": found_ms,
    }


def test_missed_ticks_are_published_once(published: Published) -> None:
    use(HOURLY)  # at noon sharp
    later = NOON_MS + 3 * HOUR_MS
    expected = missed(HOURLY, NOON_MS + HOUR_MS, NOON_MS + 2 * HOUR_MS, 2)
    assert run(later)["missed"] == [expected]  # the tick of 15:00 may still come
    assert published == [{"event": "schedule.missed", "occurred_at": iso(later), **expected}]
    assert published.ticks == [missed_tick(NOON_MS + 2 * HOUR_MS, NOON_MS, later)]
    assert run(later)["missed"] == []
    assert run(later + 5 * MINUTE_MS)["missed"] == [missed(HOURLY, later, later, 1)]


def test_a_delivered_tick_is_not_missed(published: Published) -> None:
    use(HOURLY)
    schedules.record_if_later(HOURLY, "last_tick_ms", NOON_MS + 2 * HOUR_MS)
    assert run(NOON_MS + 2 * HOUR_MS + 59 * MINUTE_MS)["missed"] == []
    assert published.ticks == []


def test_a_rule_disabled_by_hand_is_repaired_and_its_missed_ticks_are_published(published: Published) -> None:
    name = use(HOURLY)
    boto3.client("events").disable_rule(Name=name)
    report = run(NOON_MS + HOUR_MS + 6 * MINUTE_MS)
    assert report["changed"] == [change(HOURLY, "disabled")]
    assert report["missed"] == [missed(HOURLY, NOON_MS + HOUR_MS, NOON_MS + HOUR_MS, 1)]
    assert [event["event"] for event in published] == ["schedule.reconciled", "schedule.missed"]


def test_a_tick_that_was_missed_shortly_before_its_rule_was_put_is_reported(published: Published) -> None:
    """When the rule ticks again, the newest known tick is later than the missed one."""
    name = use(HOURLY, catch_up="one")
    boto3.client("events").disable_rule(Name=name)
    due = NOON_MS + HOUR_MS
    assert run(due + MINUTE_MS)["missed"] == [missed(HOURLY, due, due, 1)]
    assert published.ticks == [missed_tick(due, NOON_MS, due + MINUTE_MS)]
    schedules.record_if_later(HOURLY, "last_tick_ms", due + HOUR_MS)
    assert run(due + HOUR_MS + 6 * MINUTE_MS)["missed"] == []


def test_a_rate_restarts_when_its_rule_is_put_again() -> None:
    name = use(EVERY_TWO_HOURS)
    schedules.record_if_later(EVERY_TWO_HOURS, "last_tick_ms", NOON_MS + 2 * HOUR_MS)
    boto3.client("events").remove_targets(Rule=name, Ids=["start-due-executions"])
    boto3.client("events").delete_rule(Name=name)
    healed = NOON_MS + 5 * HOUR_MS
    due = NOON_MS + 4 * HOUR_MS
    assert run(healed)["missed"] == [missed(EVERY_TWO_HOURS, due, due, 1)]
    assert run(healed + 2 * HOUR_MS + 4 * MINUTE_MS)["missed"] == []
    due = healed + 2 * HOUR_MS
    assert run(due + 5 * MINUTE_MS)["missed"] == [missed(EVERY_TWO_HOURS, due, due, 1)]


def test_a_rates_tick_that_was_due_just_before_its_rule_is_put_again_counts_as_missed() -> None:
    save_job(schedule=EVERY_TWO_HOURS)
    due = NOON_MS + 2 * HOUR_MS
    assert run(due + MINUTE_MS)["missed"] == [missed(EVERY_TWO_HOURS, due, due, 1)]
    assert run(due + HOUR_MS)["missed"] == []


def test_a_schedule_that_was_unused_for_a_while_missed_nothing_in_that_time() -> None:
    use(HOURLY)
    changes.delete("billing", "nightly", "ann", NOON_MS)
    triggers.settle(HOURLY)
    save_job(schedule=HOURLY, at_ms=NOON_MS + 10 * HOUR_MS)
    triggers.settle(HOURLY)
    assert run(NOON_MS + 10 * HOUR_MS + 30 * MINUTE_MS)["missed"] == []


def test_a_schedule_without_notes_is_watched_from_the_first_run() -> None:
    use(HOURLY)
    key = {"stage": "test", "schedule": HOURLY}
    tables.update_if("schedules", key, "REMOVE since_ms", "job_count > :none", {":none": 0})
    assert run(NOON_MS)["missed"] == []
    due = NOON_MS + HOUR_MS
    assert run(due + 5 * MINUTE_MS)["missed"] == [missed(HOURLY, due, due, 1)]


def test_a_run_that_dies_before_it_notes_what_it_published_publishes_it_again(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(HOURLY)
    note = schedules.record_if_later
    monkeypatch.setattr(schedules, "record_if_later", lambda *_: (_ for _ in ()).throw(RuntimeError("died")))
    with pytest.raises(RuntimeError):
        run(NOON_MS + 2 * HOUR_MS)
    monkeypatch.setattr(schedules, "record_if_later", note)
    run(NOON_MS + 2 * HOUR_MS)
    run(NOON_MS + 2 * HOUR_MS)
    assert [event["last_missed"] for event in published] == [iso(NOON_MS + HOUR_MS)] * 2


def test_a_note_never_moves_back_in_time_and_never_recreates_a_schedule() -> None:
    assert not schedules.record_if_later(HOURLY, "last_tick_ms", NOON_MS)
    assert list(schedules.all_items()) == []
    use(HOURLY)
    assert schedules.record_if_later(HOURLY, "last_tick_ms", NOON_MS)
    assert not schedules.record_if_later(HOURLY, "last_tick_ms", NOON_MS - 1)
    (item,) = schedules.all_items()
    assert item["last_tick_ms"] == item["since_ms"] == NOON_MS


# Ticks and catching up


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    started: list[str] = []

    def start(due: dict[str, Any], has_own_trace: bool) -> bool:
        started.append(due["job_name"])
        return True

    monkeypatch.setattr("jobmanager.executions.start_jobs.start_machine", start)
    return started


def tick(at_ms: int, **more: Any) -> int:
    missed_tick = {"schedule": HOURLY, "scheduled_time": iso(at_ms), **more}
    return start_due_executions(cast(Tick, missed_tick), lambda: 300_000, lambda rest: None)


def last_tick() -> int | None:
    (item,) = schedules.all_items()
    return item.get("last_tick_ms")


def test_a_tick_notes_its_time_and_an_older_tick_does_not_change_it(started: list[str]) -> None:
    save_job(schedule=HOURLY)
    tick(NOON_MS + HOUR_MS)
    tick(NOON_MS)
    assert last_tick() == NOON_MS + HOUR_MS


def test_a_tick_whose_note_fails_still_starts_its_jobs(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(schedule=HOURLY)

    def refuse(*_: Any) -> bool:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")

    monkeypatch.setattr(schedules, "record_if_later", refuse)
    assert tick(NOON_MS) == 1
    assert started == ["nightly"]


def test_a_missed_tick_starts_only_jobs_with_catch_up_that_were_active_at_its_time(
    started: list[str],
) -> None:
    missed_ms = NOON_MS + HOUR_MS
    save_job("wants", schedule=HOURLY, catch_up="one")
    save_job("does-not", schedule=HOURLY)
    save_job("says-none", schedule=HOURLY, catch_up="none")
    save_job("came-later", schedule=HOURLY, catch_up="one", at_ms=missed_ms + 1000)
    save_job("changed-since", schedule=HOURLY, catch_up="one")
    save_job("changed-since", schedule=HOURLY, catch_up="one", payload="new", at_ms=missed_ms + 1000)
    save_job("was-off", schedule=HOURLY, catch_up="one", enabled=False)
    save_job("was-off", schedule=HOURLY, catch_up="one", at_ms=missed_ms + 1000)
    save_job("paused", schedule=HOURLY, catch_up="one")
    pausing: Pausing = {"reason": "holidays", "until": missed_ms + 1000}
    changes.pause("billing", "paused", pausing, "ann", NOON_MS)
    save_job("resumed-early", schedule=HOURLY, catch_up="one")
    long: Pausing = {"reason": "holidays", "until": missed_ms + HOUR_MS}
    changes.pause("billing", "resumed-early", long, "ann", NOON_MS)
    save_job("resumed-early", schedule=HOURLY, catch_up="one", payload="new", at_ms=missed_ms + 500)
    changes.resume("billing", "resumed-early", "ann", missed_ms + 1000)
    tick(missed_ms, catch_up=True)
    assert sorted(started) == ["changed-since", "wants"]
    assert last_tick() is None


@pytest.mark.parametrize("how", ["early", "late", "after a put", "pause changed"])
def test_ticks_during_a_pause_that_has_ended_are_not_caught_up(started: list[str], how: str) -> None:
    missed_ms, until = NOON_MS + HOUR_MS, NOON_MS + 5 * HOUR_MS
    save_job(schedule=HOURLY, catch_up="one")
    changes.pause("billing", "nightly", {"reason": "r", "until": until}, "ann", NOON_MS + MINUTE_MS)
    later_ms = missed_ms + MINUTE_MS
    if how == "after a put":
        save_job(schedule=HOURLY, catch_up="one", payload="new", at_ms=later_ms)
    if how == "pause changed":
        changes.pause("billing", "nightly", {"reason": "r", "until": later_ms + 1000}, "ann", later_ms)
    resumed_ms = until + MINUTE_MS if how == "late" else later_ms + MINUTE_MS
    changes.resume("billing", "nightly", "ann", resumed_ms)
    tick(missed_ms, catch_up=True)
    assert started == []
    tick(until if how == "late" else resumed_ms, catch_up=True)
    assert started == ["nightly"]


def test_a_pause_does_not_move_when_a_job_became_active_backwards(started: list[str]) -> None:
    save_job(schedule=HOURLY, catch_up="one")
    changes.pause("billing", "nightly", {"reason": "r", "until": NOON_MS + HOUR_MS}, "ann", NOON_MS)
    save_job(schedule=NIGHTLY, catch_up="one", at_ms=NOON_MS + 2 * HOUR_MS)
    save_job(schedule=HOURLY, catch_up="one", at_ms=NOON_MS + 3 * HOUR_MS)
    changes.resume("billing", "nightly", "ann", NOON_MS + 4 * HOUR_MS)
    tick(NOON_MS + 2 * HOUR_MS, catch_up=True)
    assert started == []


def test_many_jobs_catch_up(started: list[str]) -> None:
    for number in range(130):
        save_job(f"job-{number:03}", schedule=HOURLY, catch_up="one")
    assert tick(NOON_MS + HOUR_MS, catch_up=True) == 130


@pytest.mark.parametrize("call", ["remove_targets", "delete_rule"])
def test_a_rule_under_a_concurrent_change_is_settled_by_a_retry(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    rules.put(NIGHTLY)
    original, refusals = getattr(events(), call), iter(range(2))

    def refuse(**request: Any) -> Any:
        for _ in refusals:
            raise ClientError({"Error": {"Code": "ConcurrentModificationException"}}, call)
        return original(**request)

    monkeypatch.setattr(events(), call, refuse)
    triggers.settle(NIGHTLY)
    assert rules.state(NIGHTLY) == "missing"


def test_a_target_that_cannot_be_removed_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules.put(NIGHTLY)
    failed = {"FailedEntryCount": 1, "FailedEntries": [{"TargetId": "start-due-executions"}]}
    monkeypatch.setattr(events(), "remove_targets", lambda **_: failed)
    with pytest.raises(ClientError, match="RemoveTargets"):
        triggers.settle(NIGHTLY)


def test_a_target_that_is_already_gone_does_not_block_the_removal_of_its_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules.put(NIGHTLY)
    remove_targets = events().remove_targets

    def gone(**request: Any) -> dict[str, Any]:
        remove_targets(**request)
        failed = {"TargetId": "start-due-executions", "ErrorCode": "ResourceNotFoundException"}
        return {"FailedEntryCount": 1, "FailedEntries": [failed]}

    monkeypatch.setattr(events(), "remove_targets", gone)
    assert triggers.settle(NIGHTLY) == "removed"
    assert rules.state(NIGHTLY) == "missing"


@pytest.mark.parametrize("ensure", [triggers.put, triggers.settle])
def test_a_rule_removed_before_it_has_its_target_is_put_again(
    monkeypatch: pytest.MonkeyPatch, ensure: Callable[[str], object]
) -> None:
    save_job(schedule=NIGHTLY)
    put_targets, removals = events().put_targets, iter([True])

    def removed_before(**request: Any) -> Any:
        if next(removals, False):
            rules.remove(request["Rule"])
        return put_targets(**request)

    monkeypatch.setattr(events(), "put_targets", removed_before)
    ensure(NIGHTLY)
    assert rules.state(NIGHTLY) == "in step"
    assert rules.is_complete(NIGHTLY)


@pytest.mark.parametrize("ensure", [triggers.put, triggers.settle])
def test_a_target_that_was_not_put_despite_an_answer_is_put_again(
    monkeypatch: pytest.MonkeyPatch, ensure: Callable[[str], object]
) -> None:
    save_job(schedule=NIGHTLY)
    put_targets, failures = events().put_targets, iter([True])

    def fail_once(**request: Any) -> Any:
        if next(failures, False):
            failed = {"TargetId": "start-due-executions", "ErrorCode": "ConcurrentModificationException"}
            return {"FailedEntryCount": 1, "FailedEntries": [failed]}
        return put_targets(**request)

    monkeypatch.setattr(events(), "put_targets", fail_once)
    ensure(NIGHTLY)
    assert rules.is_complete(NIGHTLY)
