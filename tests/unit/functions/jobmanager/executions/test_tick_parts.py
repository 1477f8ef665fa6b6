"""A tick of many jobs is split: each part is an invocation of its own, and each job starts once."""

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from jobmanager.aws import tables
from jobmanager.core.errors import TickIncomplete
from jobmanager.executions import tick as tick_module
from jobmanager.executions import tick_parts
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick, parts_of
from jobmanager.jobs import changes, store
from jobmanager.schedules import counts
from tests.unit.functions.examples import NOON_MS, save_job

pytestmark = pytest.mark.usefixtures("cloud")
TICK: Tick = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}
BEFORE_NOON_MS = NOON_MS - 60_000


class Starts:
    """Step Functions, which takes each name once, and Lambda's queue of parts."""

    class exceptions:
        class ExecutionAlreadyExists(Exception):
            pass

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}
        self.taken: list[str] = []
        self.failing: set[str] = set()
        self.parts: list[Tick] = []

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:
        due = json.loads(input)
        if due["job_name"] in self.failing:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        if self.inputs.setdefault(name, due) != due:
            self.taken.append(name)
            raise self.exceptions.ExecutionAlreadyExists

    def deliver(self, tick: Tick, remaining_ms: Callable[[], int] = lambda: 300_000) -> int:
        return start_due_executions(tick, remaining_ms, self.parts.append, lambda _: None)

    def deliver_parts(self) -> int:
        """Delivers each part that waits, and what the parts hand over."""
        started = 0
        while self.parts:
            started += self.deliver(self.parts.pop(0))
        return started

    @property
    def jobs(self) -> list[str]:
        """The names of the started jobs; one that was started twice is in it twice."""
        return sorted(due["job_name"] for due in self.inputs.values())


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    fake = Starts()
    for client in ("step_functions", "untraced_step_functions"):
        monkeypatch.setattr(f"jobmanager.executions.machine.{client}", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def two_jobs_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_module, "_PAGE", 2)
    monkeypatch.setattr(tick_parts, "MIN_JOBS", 4)
    monkeypatch.setattr(tick_parts, "_MIN_JOBS_OF_A_PART", 2)


def save_jobs(names: str, schedule: str = "rate(5 minutes)") -> None:
    for name in names:
        save_job(name, schedule=schedule, at_ms=BEFORE_NOON_MS)


def test_a_tick_of_many_jobs_starts_none_itself_and_its_parts_start_each_job_once(starts: Starts) -> None:
    save_jobs("abcdefg")
    assert starts.deliver(TICK) == 0
    assert starts.inputs == {}
    assert starts.parts == [
        {**TICK, "after": "", "until": "billing/b"},
        {**TICK, "after": "billing/b", "until": "billing/d"},
        {**TICK, "after": "billing/d", "until": "billing/f"},
        {**TICK, "after": "billing/f"},
    ]
    assert starts.deliver_parts() == 7
    assert starts.jobs == list("abcdefg")
    assert starts.taken == []


def test_a_tick_of_few_jobs_is_not_split(starts: Starts) -> None:
    save_jobs("abc")
    assert starts.deliver(TICK) == 3
    assert starts.parts == []


def test_a_tick_whose_jobs_cannot_be_counted_is_not_split(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_jobs("abcde")

    def fail(schedule: str) -> int:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetItem")

    monkeypatch.setattr(counts, "job_count", fail)
    assert starts.deliver(TICK) == 5
    assert starts.parts == []


def test_a_part_is_not_split_again_although_its_schedule_has_many_jobs(starts: Starts) -> None:
    """The index may have fewer jobs than the count, as it is late. Then all of them are one part."""
    save_jobs("abcde")
    (part,) = parts_of(TICK, 100)
    assert part == {**TICK, "after": ""}
    assert starts.deliver(part) == 5
    assert starts.parts == []


def test_a_part_that_is_delivered_twice_starts_nothing_twice(starts: Starts) -> None:
    save_jobs("abcdefg")
    starts.deliver(TICK)
    starts.parts *= 2
    assert starts.deliver_parts() == 7
    assert starts.jobs == list("abcdefg")
    assert len(starts.taken) >= 7


def test_a_tick_that_is_delivered_twice_starts_nothing_twice(starts: Starts) -> None:
    save_jobs("abcdefg")
    starts.deliver(TICK)
    starts.deliver(TICK)
    assert starts.deliver_parts() == 7
    assert starts.jobs == list("abcdefg")


def test_jobs_that_come_go_or_are_renamed_between_the_split_and_the_parts_are_in_one_part_or_in_none(
    starts: Starts,
) -> None:
    save_jobs("abcdefg")
    starts.deliver(TICK)
    for gone in "bce":  # b is the end of a part
        changes.delete("billing", gone, "ann", BEFORE_NOON_MS + 1)
    save_jobs("0")
    for come in ("b0", "e-renamed", "z"):
        save_job(come, at_ms=BEFORE_NOON_MS)
    assert starts.deliver_parts() == 8
    assert starts.jobs == ["0", "a", "b0", "d", "e-renamed", "f", "g", "z"]
    assert starts.taken == []


def test_a_split_that_dies_half_way_is_repeated_and_each_job_starts_once(starts: Starts) -> None:
    save_jobs("abcdefg")

    def die_at_the_third(part: Tick) -> None:
        if len(starts.parts) == 2:
            raise ClientError({"Error": {"Code": "ServiceException"}}, "Invoke")
        starts.parts.append(part)

    with pytest.raises(ClientError):
        start_due_executions(TICK, lambda: 300_000, die_at_the_third)
    assert starts.deliver_parts() == 4
    save_jobs("0")  # the parts of the second split have other ends
    starts.deliver(TICK)
    # DynamoDB does not say that nothing follows the last full page, so a part without jobs is the last.
    ends = ["billing/a", "billing/c", "billing/e", "billing/g", None]
    assert [part.get("until") for part in starts.parts] == ends
    assert starts.deliver_parts() == 4
    assert starts.jobs == list("0abcdefg")


def test_a_part_that_fails_is_repeated_alone(starts: Starts) -> None:
    save_jobs("abcdefg")
    starts.deliver(TICK)
    starts.failing = {"d"}
    failed = []
    for part in starts.parts:
        remaining = iter([300_000, 100_000, 10_000])
        try:
            starts.deliver(part, lambda remaining=remaining: next(remaining, 10_000))  # type: ignore[misc]
        except TickIncomplete:
            failed.append(part)
    assert failed == [{**TICK, "after": "billing/b", "until": "billing/d"}]
    starts.failing = set()
    assert starts.deliver(failed[0]) == 1
    assert starts.jobs == list("abcdefg")


def test_a_part_that_runs_out_of_time_hands_over_the_rest_of_its_range_only(starts: Starts) -> None:
    save_jobs("abcdefg")
    starts.deliver({**TICK, "after": "billing/a", "until": "billing/e"}, lambda: 1000)
    rest: Tick = {**TICK, "after": "billing/c", "until": "billing/e"}
    assert starts.parts == [rest]
    starts.deliver(rest, lambda: 1000)
    assert starts.parts == [rest]  # nothing is left of the range
    assert starts.jobs == list("bcde")


def test_a_job_that_moved_to_a_schedule_of_many_jobs_runs_once_for_its_tick(starts: Starts) -> None:
    save_jobs("d")
    starts.deliver(TICK)
    (due,) = starts.inputs.values()
    save_job("d", schedule="rate(1 hour)", at_ms=BEFORE_NOON_MS + 1)
    assert begin(cast(Due, due), NOON_MS + 1000)["reason"]["code"] == "schedule_changed"
    save_jobs("abcefg", "rate(1 hour)")
    hourly: Tick = {**TICK, "schedule": "rate(1 hour)"}
    for _ in range(2):
        starts.deliver(hourly)
        assert len(starts.parts) == 4
        starts.deliver_parts()
    assert starts.jobs == list("abcddefg")
    moved = starts.inputs[f"{due['execution_id']}-moved"]
    assert begin(cast(Due, moved), NOON_MS + 2000)["status"] == "running"


def test_a_missed_tick_is_split_too_and_starts_the_jobs_that_catch_up(starts: Starts) -> None:
    save_jobs("abde")
    for name in "cfg":
        save_job(name, catch_up="one", at_ms=BEFORE_NOON_MS)
    starts.deliver({**TICK, "catch_up": True})
    assert len(starts.parts) == 4
    assert starts.deliver_parts() == 3
    assert starts.jobs == ["c", "f", "g"]
    assert counts.last_tick_ms(TICK["schedule"]) is None


def test_only_the_whole_tick_is_recorded(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    save_jobs("abcde")
    recorded: list[int] = []
    monkeypatch.setattr(counts, "record_if_later", lambda _, __, at_ms: recorded.append(at_ms))
    starts.deliver(TICK)
    starts.deliver_parts()
    assert recorded == [NOON_MS]


def test_the_jobs_are_counted_by_type_and_the_last_page_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    save_jobs("abcde")
    query_pages, counted = tables.query_pages, iter([1, 2, 1])

    def pages(**request: Any) -> Iterator[Any]:
        assert request["FilterExpression"] == "workflow_type = :express"
        for page in query_pages(**request):
            assert "Items" not in page
            yield page | {"Count": next(counted)}  # as if so many jobs were Express

    monkeypatch.setattr(tables, "query_pages", pages)
    assert list(store.counts_of_due(TICK["schedule"], 2)) == [("billing/b", 1, 1), ("billing/d", 0, 2)]


@pytest.mark.parametrize(
    ("standard", "express", "parts"),
    [
        (3000, 0, 2),
        (10_000, 0, 4),
        (100_000, 0, 4),
        (1_000_000, 0, 4),
        (0, 3000, 2),
        (0, 100_000, 40),
        (0, 1_000_000, 40),
        (50_000, 50_000, 20),
        (10_000, 90_000, 40),
    ],
)
def test_there_are_as_many_parts_as_the_quotas_of_the_types_need(
    monkeypatch: pytest.MonkeyPatch, standard: int, express: int, parts: int
) -> None:
    monkeypatch.setattr(tick_parts, "_MIN_JOBS_OF_A_PART", 2500)
    jobs = standard + express

    def pages(schedule: str, page_size: int) -> Iterator[store.DueCounts]:
        for number in range(1, (jobs + page_size - 1) // page_size):
            share = page_size * standard // jobs
            yield store.DueCounts(f"billing/{number:04}", share, page_size - share)

    monkeypatch.setattr(store, "counts_of_due", pages)
    found = list(parts_of(TICK, jobs))
    assert len(found) == parts
    assert [part["after"] for part in found[1:]] == [part["until"] for part in found[:-1]]
