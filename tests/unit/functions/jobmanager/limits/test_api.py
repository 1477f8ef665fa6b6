"""The four routes of limits: what they answer, and what they refuse."""

import json
from typing import Any

import pytest

from functions.delete_limit.handler import handler as delete_handler
from functions.get_limit.handler import handler as get_handler
from functions.list_limits.handler import handler as list_handler
from functions.put_limit.handler import handler as put_handler
from jobmanager.aws import tables
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import BadRequest
from jobmanager.jobs.validation import job_errors, validate
from jobmanager.limits import changes, store
from jobmanager.limits.view import limit_view
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context

pytestmark = pytest.mark.usefixtures("cloud")


def call(
    handler: Any, body: Any = None, service_name: str = "billing", limit_name: str = "db-main", **headers: str
) -> Any:
    text = None if body is None else json.dumps(body)
    event = api_event("PUT", text, service_name=service_name, limit_name=limit_name)
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    return handler(event, lambda_context())


def listed(service_name: str = "billing", **query: str) -> Any:
    return list_handler(api_event("GET", query=query, service_name=service_name), lambda_context())


def errors(answer: Any) -> dict[str, str]:
    assert answer["statusCode"] == 400
    return {error["pointer"]: error["detail"] for error in json.loads(answer["body"])["errors"]}


def test_a_limit_is_put_shown_and_deleted() -> None:
    created = call(put_handler, {"slots": 3, "per_second": 10, "description": "the main database"})
    again = call(put_handler, {"slots": 3, "per_second": 10, "description": "the main database"})
    shown = call(get_handler)

    assert [answer["statusCode"] for answer in (created, again, shown)] == [201, 200, 200]
    assert created["headers"]["etag"] == shown["headers"]["etag"] == '"1"'
    view = json.loads(shown["body"])
    assert view == json.loads(created["body"]) == json.loads(again["body"])
    times = {view.pop("created_at"), view.pop("updated_at")}
    assert len(times) == 1
    assert view.pop("updated_by").endswith(":user/ann")
    assert view == {
        "service_name": "billing",
        "limit_name": "db-main",
        "slots": 3,
        "per_second": 10,
        "description": "the main database",
        "version": 1,
        "held": 0,
        "holders": [],
        "waiting": 0,
    }
    assert call(delete_handler, if_match='"2"')["statusCode"] == 412
    assert call(delete_handler, if_match='"1"') == {"statusCode": 204}
    assert [call(handler)["statusCode"] for handler in (get_handler, delete_handler)] == [404, 404]


def test_a_limit_shows_who_holds_it_who_waits_and_when_the_next_starts() -> None:
    limit, _ = changes.save("billing", "db-main", {"slots": 2, "per_second": 1}, "ann", NOON_MS)
    for execution_id in ("b", "a"):
        assert tables.transact([store.take_change(limit, execution_id, waited=False)])
    for _ in range(3):
        assert tables.transact([store.wait_change(limit)])
    for _ in range(2):
        store.reserve(limit, "next_start_ms", NOON_MS)
    view = limit_view(store.read("billing", "db-main"), NOON_MS)

    assert (view["held"], view["holders"], view["waiting"]) == (2, ["a", "b"], 3)
    assert view["next_start_at"] == "2026-11-23T12:00:02Z"
    later = limit_view(store.read("billing", "db-main"), NOON_MS + 2000)
    assert "next_start_at" not in later


def test_one_that_waited_for_the_limit_before_it_was_deleted_is_not_counted_as_it_leaves() -> None:
    made_again, _ = changes.save("billing", "db-main", {"slots": 2}, "ann", NOON_MS)

    assert store.leave_changes(made_again) == []
    assert tables.transact([store.take_change(made_again, "a", waited=True)])
    view = limit_view(store.read("billing", "db-main"), NOON_MS)
    assert (view["holders"], view["waiting"]) == (["a"], 0)


def test_the_next_start_of_a_limit_without_per_second_is_not_shown() -> None:
    limit, _ = changes.save("billing", "db-main", {"per_second": 1}, "ann", NOON_MS)
    store.reserve(limit, "next_start_ms", NOON_MS)
    changes.save("billing", "db-main", {"slots": 1}, "ann", NOON_MS)

    assert "next_start_at" not in limit_view(store.read("billing", "db-main"), NOON_MS)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"": "expected at least one of slots, per_second"}),
        ({"description": "x"}, {"": "expected at least one of slots, per_second"}),
        ({"slots": 0}, {"/slots": "expected at least 1"}),
        ({"slots": 101}, {"/slots": "expected at most 100"}),
        ({"slots": "3"}, {"/slots": "expected integer"}),
        ({"slots": True}, {"/slots": "expected integer"}),
        (
            {"per_second": 0, "slots": 1.5},
            {"/per_second": "expected at least 1", "/slots": "expected integer"},
        ),
        ({"per_second": 1001}, {"/per_second": "expected at most 1000"}),
        (
            {"slots": 1, "description": "x" * 1025},
            {"/description": "expected at most 1024 characters"},
        ),
        (
            {"slots": 1, "max": 2},
            {"/max": "unknown field: expected one of slots, per_second, description"},
        ),
        ([], {"": "expected object"}),
    ],
)
def test_a_body_that_is_no_limit_is_refused(body: Any, expected: dict[str, str]) -> None:
    assert errors(call(put_handler, body)) == expected
    assert call(get_handler)["statusCode"] == 404


@pytest.mark.parametrize(
    ("service_name", "limit_name", "pointer"),
    [("a--b", "db", "/service_name"), ("billing", "..", "/limit_name"), ("billing", "a b", "/limit_name")],
)
def test_a_limit_has_a_name_as_jobs_have(service_name: str, limit_name: str, pointer: str) -> None:
    answer = call(put_handler, {"slots": 1}, service_name, limit_name)

    assert list(errors(answer)) == [pointer]
    for handler in (get_handler, delete_handler):
        assert call(handler, None, service_name, limit_name)["statusCode"] == 404


def test_a_stage_that_cannot_delay_starts_refuses_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPREAD", "false")
    refused = errors(call(put_handler, {"slots": 1, "per_second": 5}))

    assert list(refused) == ["/per_second"]
    assert "Terraform variable spread is false" in refused["/per_second"]
    assert call(put_handler, {"slots": 1})["statusCode"] == 201


def test_the_limits_of_a_service_are_listed_by_name_in_pages() -> None:
    for name in ("c", "a", "b"):
        changes.save("billing", name, {"slots": 1}, "ann", now_ms())
    changes.save("ledger", "d", {"slots": 1}, "ann", now_ms())

    first = json.loads(listed(limit="2")["body"])
    second = json.loads(listed(limit="2", more=first["paging"]["more"])["body"])
    assert [each["limit_name"] for each in first["results"] + second["results"]] == ["a", "b", "c"]
    assert second["paging"] == {}
    assert [each["limit_name"] for each in json.loads(listed()["body"])["results"]] == ["a", "b", "c"]
    assert json.loads(listed("nobody")["body"]) == {"results": [], "paging": {}}
    assert first["results"][0].keys() >= {"held", "holders", "waiting", "version"}


def test_a_page_of_one_service_does_not_continue_that_of_another() -> None:
    for name in ("a", "b"):
        changes.save("billing", name, {"slots": 1}, "ann", now_ms())
    more = json.loads(listed(limit="1")["body"])["paging"]["more"]

    assert list(errors(listed("ledger", more=more))) == ["/more"]


@pytest.mark.parametrize(
    ("service_name", "query", "pointer"),
    [
        ("a--b", {}, "/service_name"),
        ("billing", {"limit": "101"}, "/limit"),
        ("billing", {"owner": "x"}, "/owner"),
        ("billing", {"more": "x"}, "/more"),
    ],
)
def test_a_wrong_list_is_refused(service_name: str, query: dict[str, str], pointer: str) -> None:
    assert list(errors(listed(service_name, **query))) == [pointer]


BODY = {"schedule": "rate(5 minutes)", "invocation_type": "sns"}


def change(limit_name: Any, service_name: str = "billing") -> dict[str, Any]:
    return {"service_name": service_name, "job_name": "nightly", "job": {**BODY, "limit": limit_name}}


def test_a_job_names_a_limit_of_its_service_that_exists() -> None:
    changes.save("billing", "db-main", {"slots": 1}, "ann", NOON_MS)

    assert validate(change("db-main"))["job"]["limit"] == "db-main"
    for wrong in (change("db-other"), change("db-main", "ledger")):
        with pytest.raises(BadRequest) as refused:
            validate(wrong)
        (error,) = refused.value.extra["errors"]
        assert error["pointer"] == "/limit"
        assert (
            f"PUT /services/{wrong['service_name']}/limits/{wrong['job']['limit']} first" in error["detail"]
        )


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 65, 5, None, ["db-main"]])
def test_the_limit_of_a_job_is_a_name(name: Any) -> None:
    assert [error["pointer"] for error in job_errors({**BODY, "limit": name})] == ["/limit"]
    with pytest.raises(BadRequest) as refused:
        validate(change(name))
    assert [error["pointer"] for error in refused.value.extra["errors"]] == ["/limit"]
