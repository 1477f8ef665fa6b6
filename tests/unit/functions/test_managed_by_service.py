"""Jobs that their service defines as code: the API puts and deletes them with ``managed_by``."""

import json
from typing import Any

import pytest

from functions.delete_job.handler import handler as delete_handler
from functions.manage_job import handler as manage_job
from functions.put_job import handler as put_job
from jobmanager.core.errors import Refused, refusal_of
from jobmanager.jobs import store as jobs
from jobmanager.jobs.places import may_change, place_of_service, place_of_stage
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import validate
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context

pytestmark = pytest.mark.usefixtures("cloud")
BODY = {"schedule": "rate(5 minutes)", "invocation_type": "sns"}
OF_SERVICE = "service billing, Terraform"
OF_STAGE = "Terraform, stage sjm-test"


def update_job(change: dict[str, Any]) -> dict[str, Any]:
    """Validates and saves as the update-job machine does. Passes on a refusal as the machine does."""
    try:
        return save_change(validate(change), NOON_MS)
    except Refused as refusal:
        raise refusal_of(json.loads(json.dumps(refusal.document()))) from None


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (manage_job, put_job):
        monkeypatch.setattr(module, "update_job", update_job)


def asked(handler: Any, method: str, managed_by: str | None, body: Any = None) -> tuple[int, dict[str, Any]]:
    query = None if managed_by is None else {"managed_by": managed_by}
    text = None if body is None else json.dumps(body)
    event = api_event(method, text, query=query, service_name="billing", job_name="nightly")
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer.get("body", "{}"))


def put(managed_by: str | None, **fields: Any) -> tuple[int, dict[str, Any]]:
    return asked(put_job.handler, "PUT", managed_by, BODY | fields)


def delete(managed_by: str | None) -> tuple[int, dict[str, Any]]:
    return asked(delete_handler, "DELETE", managed_by)


def by_stage(action: str, managed_by: str = OF_STAGE) -> dict[str, Any]:
    change = {
        "action": action,
        "service_name": "billing",
        "job_name": "nightly",
        "managed_by": managed_by,
        "updated_by": "terraform",
        "job": BODY,
    }
    return manage_job.handler(change, lambda_context())


def test_a_job_shows_its_service_and_its_place_and_only_that_place_changes_it() -> None:
    status, job = put("Terraform")
    assert (status, job["managed_by"]) == (201, OF_SERVICE)
    assert put("Terraform", payload="new")[1]["version"] == 2

    for refused in (put(None), delete(None), delete("Terrafrom")):
        assert (refused[0], refused[1]["managed_by"]) == (409, OF_SERVICE)
        assert f"is managed by {OF_SERVICE}: change it there" in refused[1]["detail"]
    assert jobs.read("billing", "nightly")["version"] == 2
    assert delete("Terraform")[0] == 204
    assert delete("Terraform")[0] == 204


def test_a_service_adopts_a_job_of_the_api_and_may_rename_its_place() -> None:
    put(None)
    assert put("Terraform")[1]["managed_by"] == OF_SERVICE
    assert put("git.example/billing")[1]["managed_by"] == "service billing, git.example/billing"


def test_a_job_of_the_api_is_not_deleted_by_a_place_that_does_not_manage_it() -> None:
    put(None)
    status, problem = delete("Terraform")
    assert (status, problem["type"]) == (409, "/problems/conflict")
    assert f"billing/nightly is not managed by {OF_SERVICE}, but with the API" in problem["detail"]
    assert delete(None)[0] == 204


def test_the_stage_and_a_service_refuse_each_others_jobs() -> None:
    put("Terraform")
    problem = by_stage("put")["problem"]
    assert (problem["status"], problem["managed_by"]) == (409, OF_SERVICE)
    assert by_stage("delete") == {}
    assert jobs.read("billing", "nightly")["managed_by"] == OF_SERVICE
    assert delete("Terraform")[0] == 204

    assert by_stage("put")["created"]
    for status, refused in (put("Terraform"), put(OF_STAGE), delete("Terraform"), delete(OF_STAGE)):
        assert (status, refused["managed_by"]) == (409, OF_STAGE)


def test_the_stage_cannot_pass_itself_off_as_a_service() -> None:
    put("Terraform")
    problem = by_stage("put", OF_SERVICE)["problem"]
    assert problem["errors"] == [
        {"pointer": "/managed_by", "detail": 'expected a name that does not begin with "service "'}
    ]


@pytest.mark.parametrize("managed_by", ["", "x" * 257, "a\nb", "a\x7f", "\ud800"])
def test_a_place_that_no_log_or_page_should_show_is_refused(managed_by: str) -> None:
    for status, problem in (put(managed_by), delete(managed_by)):
        assert (status, problem["errors"][0]["pointer"]) == (400, "/managed_by")


def test_only_places_of_one_kind_may_change_each_others_jobs() -> None:
    stage, service = place_of_stage(OF_STAGE), place_of_service("billing", "é" * 256)
    assert may_change(stage, "another place of the stage")
    assert may_change(service, OF_SERVICE)
    assert not may_change(stage, service)
    assert not may_change(service, stage)
    assert not may_change(stage, None)
