"""list_jobs and list_executions: all pages in order, without duplicates; invalid searches are refused."""

import json
from typing import Any

import pytest

from functions.get_execution.handler import handler as get_execution_handler
from functions.list_executions.handler import handler as executions_handler
from functions.list_jobs.handler import handler as jobs_handler
from jobmanager.core.clock import iso
from jobmanager.core.errors import BadRequest
from jobmanager.core.names import job_guid
from jobmanager.executions.begin import begin
from jobmanager.executions.by_hand import start_by_hand
from jobmanager.executions.history import list_executions
from jobmanager.jobs import changes
from jobmanager.jobs.listing import list_jobs
from jobmanager.jobs.validation import job_errors
from tests.unit.functions.examples import NOON_MS, api_event, due, end_as, lambda_context, save_job, stored

pytestmark = pytest.mark.usefixtures("cloud")
MINUTE_MS, DAY_MS = 60_000, 86_400_000


@pytest.fixture
def some_jobs(cloud: object) -> None:
    for service in ("billing", "billing-eu", "shipping"):
        for name in ("a", "b", "c"):
            save_job(name, service)


def keys(query: dict[str, Any]) -> list[str]:
    return [f"{job['service_name']}/{job['job_name']}" for job in list_jobs(query, NOON_MS)["results"]]


@pytest.mark.usefixtures("some_jobs")
def test_jobs_are_found_by_any_field() -> None:
    assert len(keys({})) == 9
    assert keys({"service_name": "billing"}) == ["billing/a", "billing/b", "billing/c"]
    assert keys({"service_name": ["shipping", "billing"], "job_name": "b"}) == ["billing/b", "shipping/b"]
    assert keys({"job_name": ["a"]}) == ["billing-eu/a", "billing/a", "shipping/a"]
    assert keys({"job_guid": [job_guid("shipping", "c"), job_guid("billing", "a")]}) == [
        "billing/a",
        "shipping/c",
    ]
    assert keys({"job_guid": job_guid("shipping", "c"), "service_name": "billing"}) == []
    assert keys({"service_name": "nobody"}) == []


@pytest.mark.usefixtures("some_jobs")
@pytest.mark.parametrize("query", [{}, {"service_name": ["billing", "billing-eu", "shipping"]}])
def test_all_pages_of_jobs_together_are_the_whole_list(query: dict[str, Any]) -> None:
    found, more = [], None
    for _ in range(9):
        page = list_jobs({**query, "limit": 2, "more": more}, NOON_MS)
        found += [job["job_name"] for job in page["results"]]
        more = page["paging"].get("more")
        if more is None:
            break
    assert len(found) == 9


@pytest.mark.usefixtures("some_jobs")
def test_deleted_jobs_are_not_listed() -> None:
    changes.delete("billing", "a", "ann", NOON_MS)
    assert "billing/a" not in keys({})
    assert keys({"job_guid": job_guid("billing", "a")}) == []
    assert keys({"service_name": "billing", "job_name": "a"}) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "/limit"),
        ({"limit": "x"}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"more": "%%%"}, "/more"),
        ({"more": "eyJhIjoxfQ"}, "/more"),
        ({"service_name": 5}, "/service_name"),
        ({"colour": "red"}, "/colour"),
        ({"limit": "9" * 5000}, "/limit"),
        ({"service_name": "a/b", "job_name": "c"}, "/service_name"),
        ([], ""),
    ],
)
def test_an_invalid_search_is_refused_with_a_pointer(query: dict[str, Any], pointer: str) -> None:
    for search in (list_jobs, list_executions):
        with pytest.raises(BadRequest) as refusal:
            search(query, NOON_MS)
        assert [error["pointer"] for error in refusal.value.extra["errors"]] == [pointer]


def test_a_post_and_a_get_find_the_same() -> None:
    save_job()
    get = jobs_handler(api_event(service_name="billing"), lambda_context())
    post = jobs_handler(api_event("POST", '{"service_name": "billing"}'), lambda_context())
    assert get == post
    assert len(json.loads(get["body"])["results"]) == 1


def run(job_name: str, at_ms: int, service_name: str = "billing", status: str = "success") -> str:
    record = begin(due(job_name, service_name, at_ms), at_ms)
    end_as(record, status, {"state": "large", "summary": "s"}, at_ms + 1000)
    return str(record["execution_id"])


@pytest.fixture
def history(cloud: object) -> list[str]:
    """The ids of twelve executions over three days, newest first."""
    for name in ("a", "b"):
        save_job(name, at_ms=NOON_MS - 3 * DAY_MS)
    save_job("a", "shipping", at_ms=NOON_MS - 3 * DAY_MS)
    found = []
    for day in range(3):
        for minute in range(2):
            at_ms = NOON_MS - day * DAY_MS - minute * MINUTE_MS
            found += [(at_ms, run("a", at_ms)), (at_ms, run("b", at_ms, status="fail"))]
    return [identifier for _, identifier in sorted(found, key=lambda each: each, reverse=True)]


def ids(query: dict[str, Any], at_ms: int = NOON_MS) -> list[str]:
    return [execution["execution_id"] for execution in list_executions(query, at_ms)["results"]]


def test_the_history_of_all_services_is_newest_first(history: list[str]) -> None:
    assert ids({}) == history
    assert ids({"service_name": "billing"}) == history
    assert ids({"service_name": ["shipping", "billing"]}) == history


def test_the_history_can_be_limited_to_jobs(history: list[str]) -> None:
    of_a = [identifier for identifier in history if identifier.startswith(job_guid("billing", "a"))]
    assert ids({"service_name": "billing", "job_name": "a"}) == of_a
    assert ids({"job_guid": job_guid("billing", "a")}) == of_a
    assert ids({"service_name": "billing", "job_name": ["a", "b"]}) == history


@pytest.mark.parametrize(
    "query", [{}, {"service_name": "billing"}, {"service_name": "billing", "job_name": ["a", "b"]}]
)
def test_the_history_can_be_filtered_by_status_and_time(history: list[str], query: dict[str, Any]) -> None:
    of_b = [identifier for identifier in history if identifier.startswith(job_guid("billing", "b"))]
    assert ids({**query, "status": "fail"}) == of_b
    assert ids({**query, "status": ["fail", "success"]}) == history
    since, until = "2026-11-22T11:59:00Z", "2026-11-23T11:59:00Z"
    assert ids({**query, "since": since, "until": until}) == history[4:8]
    assert ids({**query, "since": "2027-01-01T00:00:00Z"}) == []


@pytest.mark.parametrize(
    "query", [{}, {"service_name": "billing"}, {"service_name": "billing", "job_name": ["a", "b"]}]
)
def test_new_executions_do_not_disturb_the_pages(history: list[str], query: dict[str, Any]) -> None:
    found: list[str] = []
    more = None
    while True:
        page = list_executions({**query, "limit": 5, "more": more}, NOON_MS)
        found += [execution["execution_id"] for execution in page["results"]]
        run("a", NOON_MS + len(found) * MINUTE_MS)
        if (more := page["paging"].get("more")) is None:
            break
    assert found == history


def test_the_search_stops_at_since(history: list[str]) -> None:
    later = NOON_MS + 40 * DAY_MS
    since = iso(NOON_MS + 9 * DAY_MS + DAY_MS // 2)
    first = list_executions({"since": since}, later)
    assert first == {"results": [], "paging": {}}


@pytest.mark.parametrize("query", [{}, {"service_name": "billing"}, {"job_guid": job_guid("billing", "a")}])
def test_a_range_that_ends_before_it_begins_is_empty(history: list[str], query: dict[str, Any]) -> None:
    backwards = {"since": "2026-12-01T00:00:00Z", "until": "2026-11-01T00:00:00Z"}
    assert list_executions({**query, **backwards}, NOON_MS) == {"results": [], "paging": {}}


def test_a_query_string_may_have_several_values(history: list[str]) -> None:
    event = api_event(
        query={"service_name": "billing,shipping", "status": "fail,success", "since": "2026-11-20T00:00:00Z"}
    )
    answer = executions_handler(event, lambda_context())
    assert [found["execution_id"] for found in json.loads(answer["body"])["results"]] == history


def test_a_page_covers_at_most_a_month_and_the_next_page_continues(history: list[str]) -> None:
    later = NOON_MS + 40 * DAY_MS
    first = list_executions({}, later)
    assert first["results"] == []
    second = list_executions({"more": first["paging"]["more"]}, later)
    assert [execution["execution_id"] for execution in second["results"]] == history


def test_lists_leave_out_large_and_internal_fields(history: list[str]) -> None:
    (first, *_) = list_executions({}, NOON_MS)["results"]
    assert "state" not in first
    assert "payload" not in first
    assert not {"task_token", "callback_hashes", "time_key", "day_shard", "sweep_shard", "late_key"} & set(
        first
    )


def test_a_single_execution_is_shown_with_all_its_fields(history: list[str]) -> None:
    path = {"service_name": "billing", "job_name": "b", "execution_id": history[0]}
    answer = get_execution_handler({**api_event(), "pathParameters": path}, lambda_context())
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["state"] == "large"
    for other in ({"job_name": "a"}, {"execution_id": "x"}, {"service_name": "shipping"}):
        refused = get_execution_handler({**api_event(), "pathParameters": path | other}, lambda_context())
        assert refused["statusCode"] == 404


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"status": "done"}, "/status"),
        ({"job_guid": "x"}, "/job_guid"),
        ({"since": "yesterday"}, "/since"),
        ({"by": "finished_at"}, "/by"),
        ({"by": ["started_at"]}, "/by"),
        ({"job_name": "a"}, "/service_name"),
        ({"job_guid": job_guid("a", "b"), "service_name": "billing"}, "/job_guid"),
        ({"service_name": ["s"] * 1 + [str(n) for n in range(50)], "job_name": ["a", "b", "c"]}, "/job_name"),
    ],
)
def test_an_invalid_search_of_the_history_is_refused_with_a_pointer(
    query: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        list_executions(query, NOON_MS)
    assert [error["pointer"] for error in refusal.value.extra["errors"]] == [pointer]


def test_an_internal_failure_is_a_500_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTIONS_TABLE")
    answer = executions_handler(api_event(service_name="billing"), lambda_context())
    assert answer["statusCode"] == 500
    assert "EXECUTIONS_TABLE" not in answer["body"]
    assert json.loads(answer["body"])["request_id"] == "request-1"


@pytest.mark.parametrize("query", [{"since": "0001-01-01T00:00:00Z"}, {"until": "0001-01-01T00:00:00Z"}])
def test_very_early_times_are_accepted(query: dict[str, str]) -> None:
    assert list_executions(query, NOON_MS)["results"] == []


def test_the_pointer_to_an_unknown_field_is_escaped_as_in_rfc_6901() -> None:
    answer = jobs_handler(api_event("POST", body='{"a/b~c": 1}'), lambda_context())

    assert [error["pointer"] for error in json.loads(answer["body"])["errors"]] == ["/a~1b~0c"]


def skipped_for(query: dict[str, Any]) -> list[str]:
    found = list_executions(query, NOON_MS)["results"]
    assert {execution["status"] for execution in found} <= {"skipped"}
    return sorted(execution["job_name"] for execution in found)


def test_executions_are_found_by_the_code_of_their_reason() -> None:
    save_job("works")
    save_job("off", enabled=False)
    save_job("moved", schedule="rate(1 hour)")
    for name in ("works", "off", "moved", "gone"):
        begin(due(name), NOON_MS)
    assert skipped_for({"reason": "job_disabled"}) == ["off"]
    assert skipped_for({"reason": ["job_disabled", "job_deleted"]}) == ["gone", "off"]
    assert skipped_for({"reason": "schedule_changed", "service_name": "billing"}) == ["moved"]
    assert skipped_for({"reason": "lock_held"}) == []
    assert skipped_for({"reason": "job_disabled", "status": "running"}) == []
    with pytest.raises(BadRequest, match="reason: expected one of chain_too_deep, job_deleted"):
        list_executions({"reason": "asleep"}, NOON_MS)


# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_ANSWER_BYTES = 6 * 1024 * 1024


def test_a_page_of_large_jobs_ends_before_the_answer_is_too_large_for_lambda() -> None:
    """moto has no such limit, so this test stands in for AWS."""
    names = [f"j{number:02}" for number in range(40)]
    for name in names:
        save_job(name, tags={f"{number:\x01<128}": "\x01" * 256 for number in range(50)})
    found: list[str] = []
    query, pages = {"limit": "100"}, 0
    while query:
        answer = jobs_handler(api_event(query=query), lambda_context())
        assert len(json.dumps(answer)) < LAMBDA_ANSWER_BYTES
        body = json.loads(answer["body"])
        assert body["results"]
        found += [job["job_name"] for job in body["results"]]
        more = body["paging"].get("more")
        query, pages = {"limit": "100", "more": more} if more else {}, pages + 1
    assert (found, pages > 1) == (names, True)


def test_tags_are_limited_as_json() -> None:
    body = {"schedule": "rate(5 minutes)", "invocation_type": "sns"}
    tags = {f"{number:a<128}": "\U0001f600" * 256 for number in range(50)}
    assert job_errors({**body, "tags": tags}) == []
    (error,) = job_errors({**body, "tags": dict.fromkeys(tags, "\x01" * 256)})
    assert error["pointer"] == "/tags"
    assert "expected at most 81920 bytes as JSON" in error["detail"]


def test_times_of_a_search_may_have_an_offset_or_be_days(history: list[str]) -> None:
    whole = ids({"since": "2026-11-22T00:00:00Z", "until": "2026-11-23T00:00:00Z"})
    assert whole == history[4:8]
    assert ids({"since": "2026-11-22", "until": "2026-11-23"}) == whole
    assert ids({"since": "2026-11-22T01:00:00+01:00", "until": "2026-11-22T23:00:00-01:00"}) == whole
    with pytest.raises(BadRequest, match="write %2B for"):
        list_executions({"since": "2026-11-22T01:00:00 01:00"}, NOON_MS)
    with pytest.raises(BadRequest, match="since: expected a time"):
        list_executions({"since": "2026-11-32"}, NOON_MS)


def test_runs_of_one_second_are_newest_first() -> None:
    save_job("a")
    save_job("b")
    started = [run(job, NOON_MS + offset) for offset, job in ((0, "a"), (1, "b"))]
    assert ids({}) == started[::-1]
    save_job("c")
    save_job("0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobmanager.executions.by_hand.start_machine_of", lambda record: None)
        one_job = [
            start_by_hand("billing", "c", {"started_by": "ann"}, None, NOON_MS + ms)["execution_id"]
            for ms in (5, 30, 200, 999)
        ]
    found, more = [], None
    for _ in one_job:
        page = list_executions({"job_guid": job_guid("billing", "c"), "limit": 1, "more": more}, NOON_MS)
        found += [execution["execution_id"] for execution in page["results"]]
        more = page["paging"].get("more")
    assert found == one_job[::-1]


def all_pages(query: dict[str, Any]) -> list[str]:
    """The execution_ids on all pages, in order."""
    found: list[str] = []
    more = None
    for _ in range(50):
        page = list_executions({**query, "more": more}, NOON_MS + DAY_MS)
        found += [execution["execution_id"] for execution in page["results"]]
        more = page["paging"].get("more")
        if more is None:
            return found
    pytest.fail("the pages have no end")


@pytest.mark.parametrize("query", [{"service_name": "billing"}, {}])
def test_runs_of_one_second_are_newest_first_across_pages_too(query: dict[str, Any]) -> None:
    """A tick starts its jobs in any order, so their names say nothing about their starts."""
    names = [f"job-{number}" for number in range(7)]
    for name in names:
        save_job(name, at_ms=NOON_MS)
    started = [begin(due(name, at_ms=NOON_MS), NOON_MS + ms)["execution_id"] for ms, name in enumerate(names)]

    assert all_pages({**query, "limit": 2}) == started[::-1]


def test_runs_by_hand_of_several_jobs_in_one_second_are_newest_first_across_pages_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobmanager.executions.by_hand.start_machine_of", lambda record: None)
    names = [f"job-{number}" for number in range(7)]
    for name in names:
        save_job(name)
    started = [
        start_by_hand("billing", name, {"started_by": "ann"}, None, NOON_MS + 100 * number)["execution_id"]
        for number, name in enumerate(names)
    ]

    for query in ({"service_name": "billing"}, {"service_name": "billing", "job_name": names}, {}):
        assert all_pages({**query, "limit": 2}) == started[::-1]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"service_name": "billing"},
        {"service_name": "billing", "job_name": "a"},
        {"job_guid": job_guid("billing", "a")},
    ],
)
def test_a_tick_that_came_late_is_listed_by_when_it_started(query: dict[str, Any]) -> None:
    save_job("a", at_ms=NOON_MS - 2 * DAY_MS)
    save_job("a", "shipping", at_ms=NOON_MS - 2 * DAY_MS)
    early = begin(due("a", at_ms=NOON_MS - DAY_MS), NOON_MS - DAY_MS + 2000)["execution_id"]
    noon = begin(due("a", at_ms=NOON_MS), NOON_MS + 59_000)["execution_id"]
    redriven = begin(due("a", at_ms=NOON_MS - DAY_MS + MINUTE_MS), NOON_MS + 2 * MINUTE_MS)["execution_id"]
    last = begin(due("a", at_ms=NOON_MS + 4 * MINUTE_MS), NOON_MS + 4 * MINUTE_MS)["execution_id"]
    if not query:
        last_of_all = begin(due("a", "shipping", NOON_MS - DAY_MS), NOON_MS + 5 * MINUTE_MS)["execution_id"]
        assert all_pages({"by": "started_at", "limit": 1})[0] == last_of_all
        query = {"service_name": "billing"}

    def ids(**more: str) -> list[str]:
        return all_pages({**query, **more, "limit": 2})

    assert ids() == ids(by="scheduled_time") == [last, noon, redriven, early]
    assert ids(by="started_at") == [last, redriven, noon, early]
    assert ids(by="started_at", since=iso(NOON_MS + 59_000)) == [last, redriven, noon]
    assert ids(by="started_at", since=iso(NOON_MS + MINUTE_MS)) == [last, redriven]
    assert ids(by="started_at", since=iso(NOON_MS), until=iso(NOON_MS + 4 * MINUTE_MS)) == [redriven, noon]
    assert ids(by="started_at", until=iso(NOON_MS + 59_000)) == [early]


def test_only_a_late_run_pays_for_the_order_by_start() -> None:
    save_job("a", at_ms=NOON_MS - DAY_MS)
    at_once = stored(begin(due("a", at_ms=NOON_MS), NOON_MS + 59_999))
    late = stored(begin(due("a", at_ms=NOON_MS - DAY_MS), NOON_MS - DAY_MS + MINUTE_MS))

    assert not {"late_key", "late_shard"} & at_once.keys()
    assert {"late_key", "late_shard"} <= late.keys()


def test_a_name_that_is_repeated_in_a_query_string_is_refused_unless_it_may_have_several_values() -> None:
    """API Gateway joins the values with commas, so a repeated tag looks like one with a comma."""

    def refused(raw: str, joined: dict[str, str]) -> str | None:
        event = {**api_event(query=joined), "rawQueryString": raw}
        answer = jobs_handler(event, lambda_context())
        return str(json.loads(answer["body"])["detail"]) if answer["statusCode"] == 400 else None

    detail = "tags: expected tags[team] once, not 2 times"
    assert refused("tags%5Bteam%5D=a&tags%5Bteam%5D=b", {"tags[team]": "a,b"}) == detail
    assert refused("limit=1&limit=2", {"limit": "1,2"}) == "limit: expected it once, not 2 times"
    assert refused("tags%5Bteam%5D=a%2Cb", {"tags[team]": "a,b"}) is None
    assert refused("owner=a&owner=b", {"owner": "a,b"}) is None
    assert refused("service_name=a&service_name=b", {"service_name": "a,b"}) is None


def test_an_owner_with_a_comma_is_found_by_get_and_a_repeated_name_gives_several_owners() -> None:
    for name, owner in (("a", "Doe, Jane"), ("b", "Doe"), ("c", "ann")):
        save_job(name, owner=owner)

    def found(raw: str, joined: str) -> list[str]:
        event = {**api_event(query={"owner": joined}), "rawQueryString": raw}
        answer = jobs_handler(event, lambda_context())
        assert answer["statusCode"] == 200, answer
        return [job["job_name"] for job in json.loads(answer["body"])["results"]]

    assert found("owner=Doe%2C%20Jane", "Doe, Jane") == ["a"]
    assert found("owner=Doe,+Jane", "Doe, Jane") == ["a"]
    assert found("owner=ann&owner=Doe%2C%20Jane", "ann,Doe, Jane") == ["a", "c"]
    assert found("owner=Doe&owner=ann", "Doe,ann") == ["b", "c"]
    assert found("owner=Doe,ann", "Doe,ann") == []


def test_the_jobs_that_share_a_schedule_are_found() -> None:
    for name in ("a", "b", "c", "d"):
        save_job(name, schedule="rate(1 hour)")
    save_job("e", schedule="rate(2 hours)")
    save_job("off", schedule="rate(1 hour)", enabled=False)
    save_job("a", "shipping", schedule="rate(1 hour)", owner="ann")
    hourly = ["billing/a", "billing/b", "billing/c", "billing/d", "shipping/a"]
    assert keys({"schedule": "rate(60 minutes)"}) == hourly
    assert keys({"schedule": "rate(1 hour)", "service_name": "billing"}) == hourly[:4]
    assert keys({"schedule": "rate(1 hour)", "owner": "ann"}) == ["shipping/a"]
    assert keys({"schedule": "rate(1 hour)", "service_name": "billing", "job_name": ["e", "a"]}) == [
        "billing/a"
    ]
    assert keys({"schedule": "rate(3 hours)"}) == []
    found, more = [], None
    for _ in range(9):
        page = list_jobs({"schedule": "rate(1 hour)", "limit": 2, "more": more}, NOON_MS)
        found += [f"{job['service_name']}/{job['job_name']}" for job in page["results"]]
        if (more := page["paging"].get("more")) is None:
            break
    assert found == hourly
    for wrong in ("hourly", 5):
        with pytest.raises(BadRequest, match=r"^schedule: "):
            list_jobs({"schedule": wrong}, NOON_MS)
