"""Jobs as code: manage_job puts and deletes jobs, and the API refuses to change them."""

import json
from typing import Any

import boto3
import pytest

from functions.delete_job.handler import handler as delete_handler
from functions.get_job.handler import handler as get_handler
from functions.manage_job import handler as manage_job
from functions.pause_job.handler import handler as pause_handler
from functions.resume_job.handler import handler as resume_handler
from jobmanager.core.errors import ManagedElsewhere, NotFound, Refused, refusal_of
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import validate
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.triggers import settle_all
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context

pytestmark = pytest.mark.usefixtures("cloud")
HERE = "Terraform, stage sjm-test"


def update_job(change: dict[str, Any]) -> dict[str, Any]:
    """Runs the steps of the update-job machine in their order. Passes on a refusal as the machine does."""
    try:
        valid = validate(change)
        put_schedule(valid["job"]["schedule"], NOON_MS)
        saved = save_change(valid, NOON_MS)
    except Refused as refusal:
        raise refusal_of(json.loads(json.dumps(refusal.document()))) from None
    settle_all(saved["schedules"])
    return saved


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manage_job, "update_job", update_job)


def by_terraform(action: str, job_name: str = "nightly", managed_by: str = HERE, **fields: Any) -> Any:
    change = {
        "action": action,
        "service_name": "billing",
        "job_name": job_name,
        "managed_by": managed_by,
        "updated_by": "terraform",
    }
    body = {"schedule": "rate(5 minutes)", "invocation_type": "sns", **fields}
    return manage_job.handler(change | ({"job": body} if action == "put" else {}), lambda_context())


def by_api(job_name: str = "nightly", **fields: Any) -> dict[str, Any]:
    body = {"schedule": "rate(5 minutes)", "invocation_type": "sns", **fields}
    return update_job({"service_name": "billing", "job_name": job_name, "job": body, "updated_by": "ann"})


def call(handler: Any, body: Any = None) -> tuple[int, dict[str, Any]]:
    text = None if body is None else json.dumps(body)
    answer = handler(api_event("POST", text, service_name="billing", job_name="nightly"), lambda_context())
    return answer["statusCode"], json.loads(answer.get("body", "{}"))


def rule_count() -> int:
    return len(boto3.client("events").list_rules()["Rules"])


def test_a_job_that_terraform_made_says_so_and_the_api_leaves_it_alone() -> None:
    assert by_terraform("put") == {"created": True, "warnings": []}
    assert call(get_handler)[1]["managed_by"] == HERE
    for fields in ({"payload": "other"}, {}):
        with pytest.raises(ManagedElsewhere) as refusal:
            by_api(**fields)
        assert refusal.value.extra == {"managed_by": HERE}
        assert f"managed by {HERE}: change it there" in refusal.value.detail
    status, problem = call(delete_handler)
    assert (status, problem["type"], problem["managed_by"]) == (409, "/problems/managed-elsewhere", HERE)
    assert jobs.read("billing", "nightly")["version"] == 1


def test_an_operator_may_pause_a_managed_job_and_terraform_keeps_the_pause() -> None:
    by_terraform("put")
    assert call(pause_handler, {"reason": "r"})[0] == 200
    by_terraform("put", payload="new")
    assert jobs.read("billing", "nightly")["paused"]["reason"] == "r"
    assert call(resume_handler)[0] == 200


def test_a_change_raises_the_version_and_a_repetition_does_not() -> None:
    by_terraform("put")
    by_terraform("put")
    assert by_terraform("put", payload="new") == {"created": False, "warnings": []}
    assert jobs.read("billing", "nightly")["version"] == 2


def test_terraform_adopts_a_job_that_the_api_made() -> None:
    by_api()
    assert by_terraform("put") == {"created": False, "warnings": []}
    job = jobs.read("billing", "nightly")
    assert (job["managed_by"], job["version"]) == (HERE, 2)


def test_a_deletion_by_terraform_may_be_repeated_and_frees_the_job_for_the_api() -> None:
    by_terraform("put")
    assert [by_terraform("delete") for _ in range(2)] == [{}, {}]
    assert rule_count() == 0
    assert call(delete_handler)[0] == 204
    assert by_api()["created"]
    assert "managed_by" not in jobs.read("billing", "nightly")


def test_terraform_deletes_only_jobs_that_it_manages() -> None:
    assert by_terraform("delete", "never-was") == {}
    by_api()
    assert by_terraform("delete") == {}
    by_terraform("put", managed_by="another place")
    assert by_terraform("delete") == {}
    assert jobs.read("billing", "nightly")["managed_by"] == "another place"
    assert rule_count() == 1


def test_a_shared_rule_stays_until_the_last_job_is_removed() -> None:
    by_terraform("put", "a")
    by_api("b")
    by_terraform("put", "c")
    by_terraform("delete", "a")
    by_terraform("delete", "c")
    assert rule_count() == 1
    changes.delete("billing", "b", "ann", NOON_MS)
    settle_all(["rate(5 minutes)"])
    assert rule_count() == 0


def test_a_refusal_is_the_problem_document_of_the_api() -> None:
    problem = by_terraform("put", schedule="soon", ttl_seconds=9)["problem"]
    assert problem["status"] == 400
    assert {error["pointer"] for error in problem["errors"]} == {"/schedule", "/ttl_seconds"}
    with pytest.raises(NotFound):
        jobs.read("billing", "nightly")


def test_a_warning_has_the_words_of_the_api() -> None:
    (warning,) = by_terraform("put", schedule="cron(0 0 31 2 ? *)")["warnings"]
    assert warning == {"code": "never_fires", "detail": "cron(0 0 31 2 ? *) never fires again"}


def test_an_unknown_action_and_a_missing_source_are_refused() -> None:
    assert by_terraform("drop")["problem"]["errors"][0]["pointer"] == "/action"
    assert by_terraform("put", managed_by="")["problem"]["errors"][0]["pointer"] == "/managed_by"
