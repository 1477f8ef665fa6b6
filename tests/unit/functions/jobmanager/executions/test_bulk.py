"""Many executions are rerun or cancelled in one request, and the answer tells of each."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.cancel_executions.handler import handler as cancel_handler
from functions.rerun_executions.handler import handler as rerun_handler
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions import bulk
from jobmanager.executions import cancel as cancelling
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from tests.unit.functions.examples import (
    NOON_MS,
    api_event,
    due,
    end_as,
    finish,
    lambda_context,
    save_job,
    stored,
)
from tests.unit.functions.machines import Machines

pytestmark = pytest.mark.usefixtures("cloud", "machines")
MINUTE = 60_000
SINCE = iso(NOON_MS - 1000)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("functions.rerun_executions.handler", "functions.cancel_executions.handler"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: NOON_MS + 60 * MINUTE)
    monkeypatch.setattr(bulk, "now_ms", lambda: NOON_MS + 60 * MINUTE)


def call(
    handler: Any, body: Any, service: str | None = None, key: str | None = None, remaining_ms: int = 29_000
) -> tuple[int, dict[str, Any]]:
    event = api_event("POST", json.dumps(body))
    if service:
        event["pathParameters"] = {"service_name": service}
    if key:
        event["headers"]["idempotency-key"] = key
    context = lambda_context()
    context.get_remaining_time_in_millis = lambda: remaining_ms  # type: ignore[method-assign]
    answer = handler(event, context)
    return answer["statusCode"], json.loads(answer["body"])


def rerun(body: Any, **options: Any) -> dict[str, Any]:
    status, answer = call(rerun_handler, body, **options)
    assert status == 200, answer
    return answer


def cancel(body: Any, **options: Any) -> dict[str, Any]:
    status, answer = call(cancel_handler, body, **options)
    assert status == 200, answer
    return answer


def running(minute: int, job: str = "nightly", service: str = "billing") -> str:
    """Begins an execution so many minutes after noon. Returns its id."""
    record = begin(due(job, service, NOON_MS + minute * MINUTE), NOON_MS + minute * MINUTE)
    assert record["status"] == "running"
    return record["execution_id"]


def failed(minute: int, job: str = "nightly", service: str = "billing") -> str:
    name = running(minute, job, service)
    end_as({"execution_id": name}, "fail", {"error": "no"}, NOON_MS + minute * MINUTE + 1000)
    finish({"execution_id": name, "status": "fail"}, NOON_MS + minute * MINUTE + 1000)
    return name


def outcomes(answer: dict[str, Any]) -> dict[str, str]:
    return {result["execution_id"]: result["outcome"] for result in answer["results"]}


def status_of(name: str) -> str:
    return stored({"execution_id": name})["status"]


def test_what_failed_is_rerun_with_its_payload_and_linked() -> None:
    save_job(payload="then")
    names = [failed(minute) for minute in range(3)]
    running(5)
    save_job(payload="now")

    answer = rerun({"since": SINCE})

    assert outcomes(answer) == dict.fromkeys(names, "rerun")
    assert (answer["counts"], answer["paging"], answer["dry_run"]) == ({"rerun": 3}, {}, False)
    for result in answer["results"]:
        new = stored({"execution_id": result["rerun"]})
        assert (new["rerun_of"], new["payload"]) == (result["execution_id"], "then")
        assert new["started_by"].endswith(":user/ann")
        assert stored(result)["reruns"] == [result["rerun"]]


def test_a_dry_run_does_nothing() -> None:
    save_job()
    name, other = failed(0), running(1)
    assert outcomes(rerun({"since": SINCE, "dry_run": True})) == {name: "planned"}
    assert outcomes(cancel({"dry_run": True})) == {other: "planned"}
    assert "reruns" not in stored({"execution_id": name})
    assert status_of(other) == "running"


def test_a_repeated_rerun_starts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the function died after the start, before it linked the two."""
    save_job()
    name = failed(0)
    with monkeypatch.context() as dying:
        update_if = executions.update_if

        def die(execution_id: str, update: str, *rest: Any) -> Any:
            if "reruns" in update:
                raise ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")
            return update_if(execution_id, update, *rest)

        dying.setattr(executions, "update_if", die)
        first = rerun({"since": SINCE})
    assert outcomes(first) == {name: "failed"}
    assert first["results"][0]["problem"]["status"] == 500
    second, third = rerun({"since": SINCE}), rerun({"since": SINCE})
    assert outcomes(second) == {name: "rerun"}
    assert outcomes(third) == {name: "left"}
    assert "It was rerun as" in third["results"][0]["problem"]["detail"]
    reruns = list(executions.ids_of_job(job_guid("billing", "nightly"), NOON_MS, 2 * NOON_MS))
    assert len(reruns) == 2


def test_again_reruns_what_was_rerun_once_for_each_key() -> None:
    save_job()
    name = failed(0)
    rerun({"since": SINCE})
    answers = [rerun({"since": SINCE, "again": True}, key=key) for key in ("one", "one", "two")]
    new = [answer["results"][0]["rerun"] for answer in answers]
    assert new[0] == new[1] != new[2]
    assert len(stored({"execution_id": name})["reruns"]) == 3


def test_a_lock_that_is_held_is_told_as_for_a_single_rerun() -> None:
    save_job(exclusive=True)
    names = [failed(0), failed(1)]
    answer = rerun({"since": SINCE})
    assert sorted(outcomes(answer).values()) == ["left", "rerun"]
    (left,) = [result for result in answer["results"] if result["outcome"] == "left"]
    assert (left["problem"]["status"], left["execution_id"] in names) == (409, True)
    assert left["problem"]["lock_execution"]


def test_what_runs_is_cancelled_and_its_service_told(machines: Machines) -> None:
    save_job()
    names = [running(minute) for minute in range(3)]
    ended = failed(4)
    answer = cancel({"service_name": "billing", "reason": "wrong ledger"})
    assert outcomes(answer) == dict.fromkeys(names, "cancelled")
    assert {status_of(name) for name in names} == {"cancelled"}
    assert stored({"execution_id": names[0]})["cause"].endswith(":user/ann: wrong ledger")
    assert status_of(ended) == "fail"
    assert outcomes(cancel({})) == {}


def test_named_executions_are_handled_in_their_order() -> None:
    save_job()
    first, second, ended = running(0), running(1), failed(2)
    unknown = execution_id(job_guid("billing", "nightly"), NOON_MS, "gone")
    answer = cancel({"execution_ids": [second, ended, unknown, first, second]})
    assert outcomes(answer) == {second: "cancelled", ended: "left", unknown: "left", first: "cancelled"}
    assert [each["problem"]["status"] for each in answer["results"] if "problem" in each] == [409, 404]
    assert outcomes(cancel({"execution_ids": [first]})) == {first: "cancelled"}


@pytest.mark.parametrize("way", ["by a search", "by name"])
def test_a_service_acts_only_on_its_own(way: str) -> None:
    save_job()
    save_job(service_name="ledger")
    mine, other = running(0), running(0, service="ledger")
    failed(1, service="ledger")
    body: dict[str, Any] = {} if way == "by a search" else {"execution_ids": [mine, other]}
    found = outcomes(cancel(body, service="billing"))
    assert found[mine] == "cancelled"
    assert found.get(other, "left") == "left"
    assert status_of(other) == "running"
    again = rerun(body or {"since": SINCE}, service="billing")
    assert {result["outcome"] for result in again["results"] if result["execution_id"] == other} <= {"left"}
    assert "reruns" not in stored({"execution_id": other})


@pytest.mark.parametrize("handler", [cancel_handler, rerun_handler])
def test_a_service_cannot_name_another_one(handler: Any) -> None:
    save_job()
    for body in ({"service_name": "ledger", "since": SINCE}, {"service_name": ["ledger"], "since": SINCE}):
        status, problem = call(handler, body, service="billing")
        assert (status, problem["errors"][0]["pointer"]) == (400, "/service_name")


@pytest.mark.parametrize("way", ["by a search", "by name"])
def test_what_the_time_does_not_allow_is_left_for_the_next_request(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(bulk, "_BATCH", 2)
    save_job()
    names = [running(minute) for minute in range(5)]
    body: dict[str, Any] = {"service_name": "billing"} if way == "by a search" else {"execution_ids": names}
    found: dict[str, str] = {}
    more: dict[str, str] = {}
    requests = 0
    while requests == 0 or more:
        answer = cancel({**body, **more}, remaining_ms=1000)
        assert len(answer["results"]) <= 2
        found |= outcomes(answer)
        more = answer["paging"]
        requests += 1
    assert found == dict.fromkeys(names, "cancelled")
    assert requests >= 3


def test_a_request_handles_no_more_than_its_limit() -> None:
    save_job()
    names = [failed(minute) for minute in range(4)]
    first = rerun({"since": SINCE, "limit": 3})
    assert outcomes(first) == dict.fromkeys(names[1:], "rerun")
    second = rerun({"since": SINCE, "limit": 3, "more": first["paging"]["more"]})
    assert outcomes(second) == {names[0]: "rerun"}


def test_a_token_fits_only_its_own_request() -> None:
    save_job()
    for minute in range(2):
        failed(minute)
    token = rerun({"since": SINCE, "limit": 1, "dry_run": True})["paging"]["more"]
    for handler, body in (
        (rerun_handler, {"since": SINCE, "status": "timeout"}),
        (cancel_handler, {"since": SINCE}),
    ):
        status, problem = call(handler, {**body, "more": token})
        assert (status, problem["errors"][0]["pointer"]) == (400, "/more")


def test_one_that_cannot_be_handled_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job()
    names = [running(minute) for minute in range(3)]
    cancel_one = cancelling.cancel

    def fail_for_one(record: Any, *rest: Any) -> Any:
        if record["execution_id"] == names[1]:
            raise ClientError({"Error": {"Code": "InternalError"}}, "Publish")
        return cancel_one(record, *rest)

    monkeypatch.setattr(bulk, "cancel", fail_for_one)
    answer = cancel({"service_name": "billing"})
    assert outcomes(answer) == {names[0]: "cancelled", names[1]: "failed", names[2]: "cancelled"}
    assert answer["counts"] == {"cancelled": 2, "failed": 1}


def test_skipped_executions_are_rerun_by_their_reason() -> None:
    save_job(enabled=False)
    skipped = begin(due(), NOON_MS)["execution_id"]
    save_job()
    failed(1)
    assert outcomes(rerun({"since": SINCE, "reason": "job_disabled"})) == {skipped: "rerun"}


BAD: list[tuple[Any, Any, str, str]] = [
    (rerun_handler, {}, "/since", "required"),
    (rerun_handler, {"since": SINCE, "status": "running"}, "/status", "cannot be rerun"),
    (rerun_handler, {"since": SINCE, "status": "over"}, "/status", "expected one of"),
    (rerun_handler, {"since": SINCE, "again": "yes"}, "/again", "true or false"),
    (rerun_handler, {"since": SINCE, "dry_run": 1}, "/dry_run", "true or false"),
    (rerun_handler, {"since": SINCE, "limit": 1001}, "/limit", "1 to 1000"),
    (rerun_handler, {"execution_ids": []}, "/execution_ids", "1 to 1000"),
    (rerun_handler, {"execution_ids": ["x"]}, "/execution_ids", "1 to 1000"),
    (rerun_handler, {"execution_ids": "x"}, "/execution_ids", "1 to 1000"),
    (cancel_handler, {"status": "running"}, "/status", "unknown field"),
    (cancel_handler, {"reason": ""}, "/reason", "1 to 1024"),
    (cancel_handler, {"job_name": "nightly"}, "/service_name", "together with job_name"),
]


@pytest.mark.parametrize(("handler", "body", "pointer", "detail"), BAD)
def test_a_bad_request_names_its_field(handler: Any, body: Any, pointer: str, detail: str) -> None:
    save_job()
    status, problem = call(handler, body)
    assert (status, [error["pointer"] for error in problem["errors"]]) == (400, [pointer])
    assert detail in problem["errors"][0]["detail"]


def test_named_executions_and_a_search_do_not_go_together() -> None:
    save_job()
    name = failed(0)
    status, problem = call(rerun_handler, {"execution_ids": [name], "since": SINCE})
    assert (status, problem["errors"][0]["pointer"]) == (400, "/since")
