"""A search means the same in a path, a query string and a body. Answers show only documented fields."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from functions.get_execution.handler import handler as get_execution
from functions.get_job.handler import handler as get_job
from functions.list_executions.handler import handler as list_executions
from functions.list_jobs.handler import handler as list_jobs
from functions.list_schedules.handler import handler as list_schedules
from jobmanager.core.clock import now_ms
from jobmanager.core.mappings import picked
from jobmanager.core.names import job_guid
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.record import ByHand, Execution
from jobmanager.jobs import changes
from jobmanager.jobs.definition import LastExecution
from jobmanager.jobs.last_execution import record_last_execution
from tests.unit.functions.examples import api_event, due, end_as, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
PAYMENTS = {"team": "payments", "a,b": "c,d"}


@pytest.fixture
def stage(cloud: object) -> None:
    """Jobs and executions in all their forms. They are of now, because handlers use the real clock."""
    at_ms = now_ms() // 60_000 * 60_000
    for name in ("a", "b", "c"):
        owner = "ann" if name == "a" else "bob"
        save_job(name, description="d", owner=owner, tags=PAYMENTS, exclusive=True, payload="p")
    save_job("d", "shipping", heartbeat_interval_seconds=100)
    for number, name in enumerate(("a", "b", "c", "a", "b")):
        begun_ms = at_ms - number * 60_000
        record = begin(due(name, at_ms=begun_ms), begun_ms)
        if name != "c" and record["status"] == "running":
            end(record, begun_ms, "fail" if name == "b" else "success")
    by_hand: ByHand = {"started_by": "ann", "payload": "q", "rerun_of": "x"}
    begin_by_hand(due("d", "shipping", at_ms), by_hand, at_ms)
    changes.pause("billing", "b", {"reason": "because", "until": at_ms + 3_600_000}, "ann", at_ms)


def end(record: Execution, at_ms: int, status: str) -> None:
    """Changes record and job as a notification, a callback and the end of the state machine do."""
    identifier = record["execution_id"]
    executions.update_if(
        identifier,
        "SET service_invoked_at_ms = :now, task_token = :token, callback_hashes = :hashes",
        "attribute_exists(job_guid)",
        {":now": at_ms, ":token": "AAAA", ":hashes": ["f00"]},
    )
    result = {"state": "s", "summary": "s", "correlation_id": "c", "progress": 5, "error": {"name": "E"}}
    ended = end_as(record, status, result | {"cause": "c"}, at_ms + 500)
    assert ended
    on_the_job = (
        "execution_id",
        "scheduled_time",
        "scheduled_time_ms",
        "finished_at_ms",
        "fencing_token",
        "state",
        "status",
        "summary",
    )
    finished = cast(LastExecution, picked(ended, on_the_job))
    record_last_execution(record["service_name"], record["job_name"], finished, True)


def ask(handler: Any, method: Any = "GET", path: Any = None, **search: Any) -> Any:
    """The status and the body of an answer. A POST has the search in its body."""
    is_post = method == "POST"
    event = api_event(method, json.dumps(search) if is_post else None, query=None if is_post else search)
    answer = handler({**event, "pathParameters": path}, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def pointers(problem: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


EQUAL_SEARCHES: list[tuple[Any, dict[str, str], dict[str, Any]]] = [
    (list_jobs, {}, {}),
    (list_jobs, {"service_name": "billing"}, {"service_name": ["billing"]}),
    (list_jobs, {"service_name": "shipping,billing"}, {"service_name": ["billing", "shipping", "billing"]}),
    (list_jobs, {"owner": "ann"}, {"owner": ["ann"]}),
    (list_jobs, {"tags[team]": "payments", "tags[a,b]": "c,d"}, {"tags": PAYMENTS}),
    (list_jobs, {"job_name": "b,a", "owner": "bob"}, {"job_name": ["a", "b"], "owner": "bob"}),
    (list_executions, {}, {}),
    (
        list_executions,
        {"service_name": "billing", "status": "fail,success"},
        {"service_name": "billing", "status": ["success", "fail"]},
    ),
    (list_executions, {"since": "2020-01-01T00:00:00Z"}, {"since": "2020-01-01T00:00:00.9Z"}),
]


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(("handler", "get", "post"), EQUAL_SEARCHES)
def test_get_and_post_find_the_same_and_accept_each_others_more(
    handler: Any, get: dict[str, str], post: dict[str, Any]
) -> None:
    (status, of_get), (_, of_post) = ask(handler, **get), ask(handler, "POST", **post)
    assert status == 200
    assert of_get["paging"].keys() == of_post["paging"].keys()
    whole = of_get["results"]
    assert of_post["results"] == whole != []
    _, first_by_get = ask(handler, limit="1", **get)
    _, first_by_post = ask(handler, "POST", limit=1, **post)
    assert first_by_get["results"] == first_by_post["results"] == whole[:1]
    if len(whole) > 1:
        more_by_get, more_by_post = (each["paging"]["more"] for each in (first_by_get, first_by_post))
        assert ask(handler, "POST", more=more_by_get, **post)[1]["results"] == whole[1:]
        assert ask(handler, more=more_by_post, **get)[1]["results"] == whole[1:]
        status, problem = ask(handler, more=more_by_post, **get | {"service_name": "other"})
        assert (status, pointers(problem)) == (400, ["/more"])


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("handler", [list_jobs, list_executions])
def test_a_path_parameter_searches_like_a_query_parameter(handler: Any) -> None:
    path = {"service_name": "billing"}
    assert ask(handler, path=path) == ask(handler, service_name="billing") == ask(handler, "POST", **path)
    _, first = ask(handler, path=path, limit="1")
    more = first["paging"]["more"]
    assert ask(handler, path=path, more=more) == ask(handler, "POST", service_name=["billing"], more=more)


WRONG_SEARCHES: list[tuple[Any, dict[str, str], dict[str, Any], str]] = [
    (list_jobs, {"limit": "0"}, {"limit": 0}, "/limit"),
    (list_jobs, {"limit": "1,2"}, {"limit": [1, 2]}, "/limit"),
    (list_jobs, {"more": ""}, {"more": ""}, "/more"),
    (list_jobs, {"more": "x"}, {"more": "x"}, "/more"),
    (list_jobs, {"service_name": ""}, {"service_name": ""}, "/service_name"),
    (list_jobs, {"service_name": "a,,b"}, {"service_name": ["a", "", "b"]}, "/service_name"),
    (list_jobs, {"job_guid": "x"}, {"job_guid": "x"}, "/job_guid"),
    (list_jobs, {"owner": "x" * 257}, {"owner": "x" * 257}, "/owner"),
    (list_jobs, {"tags": "x"}, {"tags": "x"}, "/tags"),
    (list_jobs, {"tags[]": "x"}, {"tags": {"": "x"}}, "/tags"),
    (list_jobs, {f"tags[{'k' * 129}]": "x"}, {"tags": {"k" * 129: "x"}}, "/tags"),
    (list_jobs, {"tags[k]": "x" * 257}, {"tags": {"k": "x" * 257}}, "/tags"),
    (list_jobs, {f"tags[{n}]": "x" for n in range(11)}, {"tags": {str(n): "x" for n in range(11)}}, "/tags"),
    (list_jobs, {"colour": "red"}, {"colour": "red"}, "/colour"),
    (list_executions, {"tags[k]": "x"}, {"tags": {"k": "x"}}, "/tags"),
    (list_executions, {"owner": "x"}, {"owner": "x"}, "/owner"),
    (list_executions, {"until": "x"}, {"until": "x"}, "/until"),
    (list_executions, {"status": "done,fail"}, {"status": ["done", "fail"]}, "/status"),
]


@pytest.mark.parametrize(("handler", "get", "post", "pointer"), WRONG_SEARCHES)
def test_get_and_post_refuse_the_same(
    handler: Any, get: dict[str, str], post: dict[str, Any], pointer: str
) -> None:
    of_get, of_post = ask(handler, **get), ask(handler, "POST", **post)
    assert of_get == of_post
    assert of_get[0] == 400
    assert pointers(of_get[1]) == [pointer]


@pytest.mark.parametrize("tags", [["team"], {"team": 5}, {"team": None}, {"team": ["a"]}, 5])
def test_tags_are_an_object_of_strings(tags: Any) -> None:
    status, problem = ask(list_jobs, "POST", tags=tags)
    assert (status, pointers(problem)) == (400, ["/tags"])


def test_tags_in_two_notations_are_refused() -> None:
    status, problem = ask(list_jobs, **{"tags": "x", "tags[k]": "x"})
    assert (status, pointers(problem)) == (400, ["/tags"])


@pytest.mark.parametrize("handler", [list_jobs, list_executions])
@pytest.mark.parametrize("value", ["billing", "shipping"])
def test_a_field_in_the_path_and_in_the_query_string_is_refused(handler: Any, value: str) -> None:
    status, problem = ask(handler, path={"service_name": "billing"}, service_name=value)
    assert (status, pointers(problem)) == (400, ["/service_name"])


def test_a_field_in_the_query_string_and_in_the_body_is_refused() -> None:
    event = api_event("POST", '{"limit": 5}', query={"limit": "5"})
    answer = list_jobs(event, lambda_context())
    assert answer["statusCode"] == 400
    assert pointers(json.loads(answer["body"])) == ["/limit"]


@pytest.mark.parametrize("body", ["[]", "5", '"x"', "null"])
@pytest.mark.parametrize("handler", [list_jobs, list_executions])
def test_a_search_that_is_not_an_object_is_refused(handler: Any, body: str) -> None:
    answer = handler(api_event("POST", body), lambda_context())
    assert answer["statusCode"] == 400
    assert pointers(json.loads(answer["body"])) == [""]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_very_early_and_very_late_times_are_accepted(name: str, time: str) -> None:
    for search in ({}, {"service_name": "billing"}, {"job_guid": job_guid("billing", "a")}):
        assert ask(list_executions, **search, **{name: time})[0] == 200


# The fields that the API may show. Callers choose the fields inside `tags` and `error`.
OF_A_JOB = [
    "overlap",
    "workflow_type",
    "alert_after_failures",
    "pause_after_failures",
    "warn_after_seconds",
    "catch_up",
    "catch_up_window_seconds",
    "spread_seconds",
    "limit",
    "offset_seconds",
    "starting_deadline_seconds",
    "retry",
    "service_name",
    "job_name",
    "job_guid",
    "schedule",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "enabled",
    "exclusive",
    "ttl_seconds",
    "max_duration_seconds",
    "heartbeat_interval_seconds",
    "description",
    "owner",
    "tags",
    "version",
    "created_at",
    "updated_at",
    "updated_by",
    "fencing_token",
    "lock_execution",
    "lock_expires_at",
    "last_execution",
    "last_successful_execution",
    "paused",
    "managed_by",
    "next_fire_times",
    "time_zone",
    "start_at",
    "end_at",
    "completed_at",
    "next_times",
]
OF_A_PAUSE = ["code", "reason", "until", "paused_at", "paused_by"]
OF_A_LAST_EXECUTION = [
    "execution_id",
    "scheduled_time",
    "scheduled_time_ms",
    "finished_at_ms",
    "fencing_token",
    "service_invoked_at_ms",
    "state",
    "status",
    "summary",
]
OF_AN_EXECUTION = [
    "workflow_type",
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "status",
    "reason",
    "schedule",
    "time_zone",
    "invocation_type",
    "invocation_target",
    "scheduled_time",
    "scheduled_time_ms",
    "starts_at",
    "started_at_ms",
    "service_invoked_at_ms",
    "finished_at_ms",
    "progress",
    "summary",
    "cause",
    "correlation_id",
    "exclusive",
    "fencing_token",
    "warn_after_seconds",
    "warned_at_ms",
    "started_by",
    "backfill_of",
    "rerun_of",
    "reruns",
    "payload",
    "state",
    "error",
    "lock_expires_at",
    "invocation_latency_ms",
    "duration_ms",
    "attempt",
    "attempts",
    "next_attempt_at",
]
OF_A_SCHEDULE = [
    "schedule_key",
    "schedule",
    "time_zone",
    "trigger_type",
    "job_count",
    "rule",
    "next_fire_times",
]


def shown_by(*asked: Any) -> Iterator[dict[str, Any]]:
    """The jobs, executions or schedules in these answers, which are lists or single items."""
    for status, body in asked:
        assert status == 200, body
        if "results" in body:
            assert body.keys() == {"results", "paging"}
            assert body["paging"].keys() <= {"more"}
            yield from body["results"]
        else:
            yield body


@pytest.mark.usefixtures("stage")
def test_a_job_shows_only_documented_fields() -> None:
    names: set[str] = set()
    paths = [{"service_name": "billing", "job_name": name} for name in ("a", "b", "c")]
    for job in shown_by(
        ask(list_jobs, limit="1"),
        ask(list_jobs),
        ask(list_jobs, **{"tags[team]": "payments"}),
        *(ask(get_job, path=path) for path in paths),
    ):
        names |= job.keys()
        assert job.keys() <= set(OF_A_JOB)
        assert job.get("paused", {}).keys() <= set(OF_A_PAUSE)
        for last in ("last_execution", "last_successful_execution"):
            assert job.get(last, {}).keys() <= set(OF_A_LAST_EXECUTION)
    assert {"owner", "tags", "paused", "lock_execution", "last_execution", "payload"} <= names


@pytest.mark.usefixtures("stage")
def test_an_execution_shows_only_documented_fields() -> None:
    names: set[str] = set()
    _, listed = ask(list_executions)
    paths = [
        {name: found[name] for name in ("service_name", "job_name", "execution_id")}
        for found in listed["results"]
    ]
    for execution in shown_by(
        ask(list_executions, limit="1"),
        ask(list_executions),
        ask(list_executions, service_name="billing", status="fail"),
        *(ask(get_execution, path=path) for path in paths),
    ):
        names |= execution.keys()
        assert execution.keys() <= set(OF_AN_EXECUTION)
    assert {"state", "error", "started_by", "lock_expires_at", "duration_ms", "fencing_token"} <= names


@pytest.mark.usefixtures("stage")
def test_a_schedule_shows_only_documented_fields() -> None:
    status, body = ask(list_schedules)
    found = body["results"]
    assert (status, body.keys()) == (
        200,
        {"results", "paging", "schedule_count", "rule_count", "schedule_limit"},
    )
    assert found
    assert all(schedule.keys() == set(OF_A_SCHEDULE) for schedule in found)


@pytest.mark.usefixtures("stage")
def test_more_of_the_schedules_is_refused_by_other_lists() -> None:
    save_job("e", schedule="rate(1 hour)")
    _, first = ask(list_schedules, limit="1")
    more = first["paging"]["more"]
    assert len(ask(list_schedules, more=more)[1]["results"]) == 1
    for other in (list_jobs, list_executions):
        status, problem = ask(other, more=more)
        assert (status, pointers(problem)) == (400, ["/more"])
