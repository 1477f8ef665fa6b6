"""If-Match and If-None-Match: a change applies only to the version that its caller saw."""

import json
from typing import Any

import pytest

from functions.delete_job.handler import handler as delete_handler
from functions.get_job.handler import handler as get_handler
from functions.pause_job.handler import handler as pause_handler
from functions.put_job import handler as put_job
from functions.resume_job.handler import handler as resume_handler
from jobmanager.api.preconditions import Expected, expected_of
from jobmanager.core.errors import BadRequest, PreconditionFailed
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import definition
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")


def put(
    expected: Expected, request_id: str | None = None, updated_by: str = "ann", **fields: Any
) -> dict[str, Any]:
    body = {"schedule": "rate(5 minutes)", "invocation_type": "sns", **fields}
    change: dict[str, Any] = {"service_name": "billing", "job_name": "nightly", "updated_by": updated_by}
    change |= {"request_id": request_id} if request_id else {}
    return save_change({**change, "job": definition(body, "topic"), **expected}, NOON_MS)


def call(handler: Any, body: Any = None, **headers: str) -> Any:
    text = None if body is None else json.dumps(body)
    event = api_event("POST", text, service_name="billing", job_name="nightly")
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    return handler(event, lambda_context())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {}),
        ({"if-match": '"3"'}, {"if_match": [3]}),
        ({"if-match": ' "3" ,"4", "12"'}, {"if_match": [3, 4, 12]}),
        ({"if-match": "*"}, {"if_match": "*"}),
        ({"if-match": 'W/"3", "4"'}, {"if_match": [4]}),
        ({"if-match": 'W/"x"'}, {"if_match": []}),
        ({"if-match": '"abc", "3"'}, {"if_match": [3]}),
        ({"if-match": '"03"'}, {"if_match": []}),
        ({"if-none-match": "*"}, {"if_none_match": "*"}),
    ],
)
def test_the_headers_are_parsed_to_versions(headers: dict[str, str], expected: Any) -> None:
    assert expected_of({"headers": headers}) == expected


def test_a_weak_tag_is_refused_as_weak() -> None:
    save_job()
    answer = call(delete_handler, if_match='W/"1"')
    assert answer["statusCode"] == 412
    assert 'W/"1" in If-Match is weak' in json.loads(answer["body"])["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-Match", "3"),
        ("If-Match", ""),
        ("If-Match", '"3'),
        ("If-Match", '"3" "4"'),
        ("If-Match", '*, "3"'),
        ("If-None-Match", '"3"'),
        ("If-None-Match", ""),
    ],
)
def test_a_malformed_header_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadRequest) as refused:
        expected_of({"headers": {name.lower(): value}})
    assert [error["pointer"] for error in refused.value.extra["errors"]] == [f"/{name}"]


def test_put_passes_the_expected_version_on_and_answers_the_new_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def update_job(change: dict[str, Any]) -> dict[str, Any]:
        seen.append(change)
        return {"version": 4, "created": False}

    save_job()
    monkeypatch.setattr(put_job, "update_job", update_job)
    answer = call(put_job.handler, {}, if_match='"3"', if_none_match="*")
    assert (answer["statusCode"], answer["headers"]["etag"]) == (200, '"4"')
    (change,) = seen
    assert (change["if_match"], change["if_none_match"]) == ([3], "*")
    assert change["request_id"] == "request-1"
    assert call(put_job.handler, {}, if_match="3")["statusCode"] == 400


def test_every_answer_with_a_job_has_its_version_as_etag() -> None:
    save_job()
    tags = [
        call(handler, body)["headers"]["etag"]
        for handler, body in ((get_handler, None), (pause_handler, {"reason": "r"}), (resume_handler, None))
    ]
    assert tags == ['"1"', '"2"', '"3"']


def test_a_stale_version_is_refused_with_the_current_one_and_changes_nothing() -> None:
    put({})
    put({"if_match": [1]}, payload="second")
    with pytest.raises(PreconditionFailed) as refused:
        put({"if_match": [1]}, payload="third")
    assert refused.value.extra == {"version": 2}
    assert 'If-Match: "2"' in refused.value.detail
    assert jobs.read("billing", "nightly")["payload"] == "second"
    assert put({"if_match": [7, 2]}, payload="third")["version"] == 3
    assert put({"if_match": "*"}, payload="fourth")["version"] == 4


def test_repeating_a_put_succeeds_although_its_if_match_is_stale() -> None:
    put({})
    first = put({"if_match": [1]}, payload="second")
    assert put({"if_match": [1]}, payload="second") == first


@pytest.mark.parametrize("expected", [Expected(if_match=[7]), Expected(if_match=[1]), Expected(if_match=[])])
def test_another_version_is_refused_even_if_nothing_would_change(
    expected: Expected,
) -> None:
    put({})
    put({}, payload="second", updated_by="bob")
    with pytest.raises(PreconditionFailed, match="is at version 2"):
        put(expected, payload="second")
    assert put({"if_match": [2]}, payload="second")["version"] == 2
    assert put({}, payload="second")["version"] == 2


def test_an_existing_job_is_created_again_only_by_a_retry_of_the_same_step() -> None:
    assert put({"if_none_match": "*"}, "request-1")["created"]
    assert put({"if_none_match": "*"}, "request-1")["version"] == 1
    for request_id, payload in (("request-2", ""), ("request-1", "other")):
        with pytest.raises(PreconditionFailed, match="exists, at version 1"):
            put({"if_none_match": "*"}, request_id, payload=payload)


def test_a_retry_of_a_step_succeeds_even_if_the_job_was_paused_in_between() -> None:
    put({})
    put({"if_match": [1]}, "request-2", payload="second")
    changes.pause("billing", "nightly", {"reason": "r"}, "bob", NOON_MS)
    assert put({"if_match": [1]}, "request-2", payload="second")["version"] == 3


def test_a_delete_of_a_deleted_job_is_refused_if_it_names_another_version() -> None:
    save_job()
    assert call(delete_handler, if_match='"1"')["statusCode"] == 204
    assert call(delete_handler, if_match='"1"')["statusCode"] == 204
    assert call(delete_handler, if_match='"7"')["statusCode"] == 412
    assert call(delete_handler)["statusCode"] == 204


@pytest.mark.parametrize("expected", [Expected(if_match="*"), Expected(if_match=[1])])
def test_if_match_never_creates_or_restores_a_job(expected: Expected) -> None:
    with pytest.raises(PreconditionFailed, match="There is no job billing/nightly"):
        put(expected)
    put({})
    changes.delete("billing", "nightly", "ann", NOON_MS)
    with pytest.raises(PreconditionFailed, match="There is no job billing/nightly"):
        put(expected)
    assert put({"if_none_match": "*"})["created"]


def test_a_version_that_becomes_stale_during_the_write_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put({})
    write = jobs.replace

    def lose(old: Job | None, new: Job, *unless_changed: Any) -> bool:
        monkeypatch.setattr(jobs, "replace", write)
        put({}, payload="faster")
        return write(old, new, *unless_changed)

    monkeypatch.setattr(jobs, "replace", lose)
    with pytest.raises(PreconditionFailed):
        put({"if_match": [1]}, payload="slower")
    assert jobs.read("billing", "nightly")["payload"] == "faster"


def test_a_delete_respects_if_match_and_may_be_repeated() -> None:
    save_job()
    save_job(payload="new")
    refused = call(delete_handler, if_match='"1"')
    assert (refused["statusCode"], json.loads(refused["body"])["version"]) == (412, 2)
    assert call(delete_handler, if_match="2")["statusCode"] == 400
    assert [call(delete_handler, if_match='"2"')["statusCode"] for _ in range(2)] == [204, 204]
