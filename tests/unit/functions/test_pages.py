"""All pages of a list together contain all matches in order, for any search, while new executions arrive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmanager.api import bounded_merge as bounded
from jobmanager.aws.clients import dynamodb
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions import store as executions
from jobmanager.executions.history import list_executions
from jobmanager.executions.order import LATE_MS
from jobmanager.executions.record import Due, Execution, Status, unbegun_record
from jobmanager.jobs.definition import Job
from jobmanager.jobs.listing import list_jobs
from tests.exhaustive import cases
from tests.stand_ins.dynamodb import Tables
from tests.unit.functions.examples import NOON_MS, save_job

pytestmark = pytest.mark.usefixtures("cloud")
DAY_MS = 86_400_000
MOST_PAGES = 400
with_the_cloud = settings(
    max_examples=cases(8, 100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

JOBS = [("billing", "a"), ("billing", "b"), ("billing-eu", "a"), ("shipping", "a")]
STATUSES = ["success", "fail", "running"]
# Runs of a job, seconds or days apart, by a tick or by hand.
RUNS = st.tuples(
    st.sampled_from(JOBS),
    st.one_of(st.integers(0, 3), st.integers(0, 4 * 86_400)),
    st.sampled_from(["", "1a", "1b", "2c"]),
    st.sampled_from(STATUSES),
    # How many milliseconds after its time it started.
    st.sampled_from([0, 0, 400, 5000, 59_999, 60_000, 2 * DAY_MS]),
)


def write(run: tuple[tuple[str, str], int, str, str, int]) -> Execution:
    """Inserts the record of a run."""
    (service_name, job_name), seconds_ago, suffix, status, later_ms = run
    at_ms = NOON_MS - seconds_ago * 1000
    guid = job_guid(service_name, job_name)
    due: Due = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        "execution_id": execution_id(guid, at_ms, suffix),
        "scheduled_time": iso(at_ms),
    }
    record = unbegun_record(due, cast(Status, status), {}, at_ms + later_ms)
    executions.insert(record)
    return record


@contextmanager
def small_reads(most_reads: int, items: int) -> Iterator[None]:
    with (
        patch.object(bounded, "MAX_READS", most_reads),
        patch.object(bounded, "ITEMS_PER_FILTERED_READ", items),
    ):
        yield


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """The Queries that are made inside the with block, one entry for each."""
    queries: list[str] = []

    def count(model: Any, **rest: Any) -> None:
        queries.append(model.name)

    events = dynamodb().meta.events
    events.register("before-call.dynamodb.Query", count)
    yield queries
    events.unregister("before-call.dynamodb.Query", count)


def walk(
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    query: dict[str, Any],
    most_queries: int,
    between: Callable[[int], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """The results of all pages. Checks that each page is bounded. ``between``: called after each page."""
    found: list[dict[str, Any]] = []
    for number in range(MOST_PAGES):
        with counted_queries() as queries:
            page = ask(query)
        assert len(queries) <= most_queries
        assert len(page["results"]) <= query["limit"]
        found += page["results"]
        if "more" not in page["paging"]:
            return found
        query = query | {"more": page["paging"]["more"]}
        between(number)
    pytest.fail("the pages have no end")


EXECUTION_SEARCHES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"limit": st.integers(1, 5)},
    optional={
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, unique=True),
        "since": st.integers(0, 4 * 86_400).map(lambda ago: iso(NOON_MS - ago * 1000)),
        "until": st.integers(0, 2 * 86_400).map(lambda ago: iso(NOON_MS - ago * 1000)),
        "by": st.sampled_from(["scheduled_time", "started_at"]),
    },
).flatmap(
    lambda query: st.sampled_from(
        [
            query,
            query | {"service_name": "billing"},
            query | {"service_name": ["shipping", "billing-eu"]},
            query | {"service_name": ["billing", "shipping"], "job_name": ["a", "b"]},
            query | {"job_guid": [job_guid(*JOBS[0]), job_guid(*JOBS[3])]},
        ]
    )
)


def is_searched(record: Execution, query: dict[str, Any]) -> bool:
    """Whether the search matches, by a simple definition of its meaning."""

    def fits(name: str) -> bool:
        value = cast(dict[str, Any], record)[name]
        values = query.get(name, value)
        return value in (values if isinstance(values, list) else [values])

    by_start = query.get("by") == "started_at"
    time = iso(record["started_at_ms"]) if by_start else record["scheduled_time"]
    in_time = query.get("since", "") <= time < query.get("until", "~")
    return in_time and all(map(fits, ("service_name", "job_name", "job_guid", "status")))


@pytest.mark.samples
@with_the_cloud
@given(
    st.lists(RUNS, max_size=25, unique_by=lambda run: run[:3]),
    st.lists(RUNS, max_size=8, unique_by=lambda run: run[:3]),
    EXECUTION_SEARCHES,
    st.integers(0, 3),
    st.integers(2, 4),
)
def test_all_pages_of_executions_together_are_the_filtered_whole(
    cloud: Tables, runs: list[Any], arriving: list[Any], query: dict[str, Any], most_reads: int, items: int
) -> None:
    cloud.empty()
    records = {record["execution_id"]: record for record in map(write, runs)}
    arriving = [run for run in arriving if run[:3] not in {known[:3] for known in runs}]

    def arrive(number: int) -> None:
        if number < len(arriving):
            write(arriving[number])

    sources = len(JOBS) + 4 * (most_reads + 2)
    with small_reads(most_reads, items):
        found = walk(lambda each: list_executions(each, NOON_MS), query, sources + most_reads, arrive)

    ids = [each["execution_id"] for each in found]
    assert len(ids) == len(set(ids))
    already_there = [identifier for identifier in ids if identifier in records]
    wanted = [record for record in records.values() if is_searched(record, query)]
    assert set(already_there) == {record["execution_id"] for record in wanted}
    if query.get("by") == "started_at":
        shown = [max(each["scheduled_time_ms"], each["started_at_ms"]) for each in found]
        assert all(later > earlier - LATE_MS for later, earlier in pairwise(shown))
    elif "job_name" in query or "job_guid" in query:
        seconds = [each["scheduled_time"] for each in found]
        assert seconds == sorted(seconds, reverse=True)
    else:
        in_order = sorted(wanted, key=lambda record: record["time_key"], reverse=True)
        assert already_there == [record["execution_id"] for record in in_order]


def test_many_runs_in_the_same_second_are_all_listed() -> None:
    ids = {write((JOBS[0], 0, f"{number:02}", "success", 0))["execution_id"] for number in range(30)}
    guid = job_guid(*JOBS[0])
    with small_reads(0, 2):
        found = walk(lambda each: list_executions(each, NOON_MS), {"job_guid": guid, "limit": 1}, 1)
    assert [each["execution_id"] for each in found] == sorted(ids, reverse=True)


def test_a_rare_status_is_found_although_each_page_reads_little() -> None:
    wanted = write((JOBS[0], 5000, "", "fail", 0))
    for second in range(60):
        write((JOBS[0], second, "", "success", 0))
    query = {"service_name": "billing", "status": "fail", "limit": 5}
    with small_reads(3, 5):
        first = list_executions(query, NOON_MS)
        found = walk(lambda each: list_executions(each, NOON_MS), query, 4)
    assert first["results"] == []
    assert first["paging"]["more"]
    assert [each["execution_id"] for each in found] == [wanted["execution_id"]]


def test_a_stale_index_does_not_list_an_ended_execution_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    record = write((JOBS[0], 0, "", "running", 0))
    read_many = executions.read_many

    def end_first(time_keys: Any) -> list[Execution]:
        executions.update_if(
            record["execution_id"], "SET #status = :s", "attribute_exists(job_guid)", {":s": "success"}
        )
        return read_many(time_keys)

    monkeypatch.setattr(executions, "read_many", end_first)
    query = {"service_name": "billing", "status": "running"}
    assert list_executions(query, NOON_MS) == {"results": [], "paging": {}}


OWNERS, TEAMS, TIERS = ["ann", "bob, of sales"], ["payments", ""], ["1", "2"]
SERVICES, NAMES = ["billing", "billing-eu", "billing.x", "shipping"], ["a", "b-b", "c_c"]
OF_A_JOB: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "owner": st.sampled_from(OWNERS),
        "tags": st.fixed_dictionaries(
            {}, optional={"team": st.sampled_from(TEAMS), "a.b c": st.sampled_from(TIERS)}
        ),
    },
)
JOB_SEARCHES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"limit": st.integers(1, 4)},
    optional={
        "service_name": st.lists(st.sampled_from(SERVICES), min_size=1, max_size=3, unique=True),
        "job_name": st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        "job_guid": st.lists(
            st.sampled_from([job_guid(s, n) for s in SERVICES for n in NAMES]), min_size=1, unique=True
        ),
        "owner": st.one_of(st.sampled_from(OWNERS), st.just(OWNERS)),
        "tags": st.sampled_from([{"team": "payments"}, {"team": ""}, {"team": "payments", "a.b c": "1"}]),
    },
)


def job_is_searched(job: Job, query: dict[str, Any]) -> bool:
    """Whether the search matches, by a simple definition of its meaning."""

    def fits(name: str) -> bool:
        if name not in query:
            return True
        return job.get(name) in (query[name] if isinstance(query[name], list) else [query[name]])

    tags = job.get("tags", {})
    has_tags = all(tags.get(name) == value for name, value in query.get("tags", {}).items())
    return has_tags and all(map(fits, ("service_name", "job_name", "job_guid", "owner")))


@pytest.mark.samples
@with_the_cloud
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(SERVICES), st.sampled_from(NAMES)), OF_A_JOB, min_size=3, max_size=12
    ),
    JOB_SEARCHES,
    st.integers(0, 3),
    st.integers(2, 4),
)
def test_all_pages_of_jobs_together_are_the_filtered_whole(
    cloud: Tables,
    defined: dict[tuple[str, str], dict[str, Any]],
    query: dict[str, Any],
    most_reads: int,
    items: int,
) -> None:
    cloud.empty()
    jobs = [save_job(name, service, **fields) for (service, name), fields in defined.items()]
    by_guid = len(query.get("job_guid", []))
    most_queries = max(len(query.get("service_name", [])), by_guid, 1) + most_reads

    with small_reads(most_reads, items):
        found = walk(lambda search: list_jobs(search, NOON_MS), query, most_queries)

    wanted = sorted(job["job_key"] for job in jobs if job_is_searched(job, query))
    assert [f"{job['service_name']}/{job['job_name']}" for job in found] == wanted


def test_a_job_is_filtered_by_its_current_fields_and_not_by_the_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jobmanager.jobs import store as jobs

    save_job(tags={"team": "payments"})
    read_many = jobs.read_many

    def change_first(keys: Any) -> list[Job]:
        save_job(tags={"team": "search"})
        return read_many(keys)

    monkeypatch.setattr(jobs, "read_many", change_first)
    assert list_jobs({"tags": {"team": "payments"}}, NOON_MS) == {"results": [], "paging": {}}
