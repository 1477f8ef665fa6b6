"""The steps of the update-job machine, and delete_job: rules still match jobs after concurrent changes."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from functions.delete_job.handler import handler as delete_handler
from functions.get_job.handler import handler as get_handler
from functions.get_openapi.handler import openapi
from functions.put_job import handler as put_job
from jobmanager.aws import tables
from jobmanager.aws.clients import events
from jobmanager.core.errors import BadRequest, NotFound
from jobmanager.core.mappings import picked
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import DEFINITION_FIELDS, MAX_PAYLOAD_BYTES, Job, job_view
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.pausing import pause_job, resume_job
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import validate
from jobmanager.schedules import counts as schedules
from jobmanager.schedules import rules
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.trigger_kind import trigger_name
from jobmanager.schedules.triggers import settle_all
from tests.openapi_document import Document
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context

pytestmark = pytest.mark.usefixtures("cloud")
DOCUMENT = Document(openapi("https://manager.example", "1.2.3"))
EVERY_MINUTE, HOURLY = "rate(1 minute)", "rate(1 hour)"


def put(job_name: str = "nightly", at_ms: int = NOON_MS, **fields: Any) -> dict[str, Any]:
    """One PUT, step by step as the state machine takes them."""
    body = {"schedule": EVERY_MINUTE, "invocation_type": "sns", **fields}
    change = {"service_name": "billing", "job_name": job_name, "job": body, "updated_by": "ann"}
    valid = validate(change)
    if valid["job"]["enabled"]:
        valid |= put_schedule(valid["schedule_key"], at_ms)
    saved = save_change(valid, at_ms)
    settle_all(saved["schedules"])
    return {**saved, "job": job_view(jobs.read("billing", job_name), at_ms)}


def rule_schedules() -> list[str]:
    return sorted(rule["ScheduleExpression"] for rule in boto3.client("events").list_rules()["Rules"])


def test_a_put_makes_a_rule_that_sends_ticks_of_its_schedule() -> None:
    saved = put()
    assert saved["created"]
    (rule,) = boto3.client("events").list_rules()["Rules"]
    assert (rule["ScheduleExpression"], rule["State"]) == (EVERY_MINUTE, "ENABLED")
    assert len(rule["Name"]) <= 64
    assert rule["Name"].startswith("sjm-test-schedule-")
    (target,) = boto3.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    transformer = target["InputTransformer"]
    assert transformer["InputPathsMap"] == {"time": "$.time"}
    filled = transformer["InputTemplate"].replace("<time>", '"2026-11-23T12:00:00Z"')
    assert json.loads(filled) == {"schedule": EVERY_MINUTE, "scheduled_time": "2026-11-23T12:00:00Z"}
    assert target["DeadLetterConfig"]["Arn"].endswith(":ticks")


def test_jobs_with_the_same_schedule_share_one_rule() -> None:
    put("a", schedule="rate(60 minutes)")
    put("b", schedule="rate(1 hour)")
    assert rule_schedules() == [HOURLY]
    assert schedules.job_count(HOURLY) == 2


@pytest.mark.parametrize(
    ("fields", "version"),
    [({}, 1), ({"workflow_type": "standard"}, 1), ({"workflow_type": "express"}, 2), ({"owner": "ann"}, 2)],
)
def test_a_put_of_the_definition_that_the_version_before_stored_is_no_change(
    fields: dict[str, Any], version: int
) -> None:
    """That version knew no workflow_type, and its jobs are Standard."""
    put()
    known = {":known": "standard"}
    assert jobs.update_if("billing", "nightly", "REMOVE workflow_type", "workflow_type = :known", known)
    saved = put(at_ms=NOON_MS + 60_000, **fields)
    assert (saved["job"]["version"], saved["created"]) == (version, False)
    assert saved["job"]["workflow_type"] == fields.get("workflow_type", "standard")
    is_written = "workflow_type" in jobs.read("billing", "nightly")
    assert is_written == (version == 2)


@pytest.mark.parametrize("how", ["deleted", "disabled", "moved"])
def test_the_rule_is_removed_with_its_last_job(how: str) -> None:
    def leave(name: str) -> None:
        if how == "deleted":
            delete_job("billing", name, "ann", NOON_MS)
        else:
            put(name, enabled=how != "disabled", schedule=HOURLY if how == "moved" else EVERY_MINUTE)

    put("a")
    put("b")
    leave("a")
    assert EVERY_MINUTE in rule_schedules()
    leave("b")
    assert rule_schedules() == ([HOURLY] if how == "moved" else [])
    assert schedules.job_count(EVERY_MINUTE) == 0


def test_repeating_a_put_changes_nothing() -> None:
    first = put()
    again = put()
    assert not again["created"]
    assert again["job"] == first["job"]
    assert schedules.job_count(EVERY_MINUTE) == 1


def test_a_put_resets_the_fields_that_it_does_not_name() -> None:
    put(payload="p", description="d", tags={"a": "b"})
    job = put()["job"]
    assert job["payload"] == ""
    assert "description" not in job
    assert "tags" not in job
    assert job["version"] == 2


def test_a_replaced_job_keeps_its_lock_and_its_last_results() -> None:
    put(exclusive=True)
    kept = {
        "lock_execution": "e",
        "lock_expires_at": 1,
        "fencing_token": 7,
        "last_execution": {"status": "fail"},
    }
    sets = ", ".join(f"{name} = :{name}" for name in kept)
    tables.update_if(
        "jobs",
        jobs.key("billing", "nightly"),
        f"SET {sets}",
        "attribute_exists(job_key)",
        {f":{name}": value for name, value in kept.items()},
    )
    put(exclusive=True, payload="new")
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert picked(job, kept) == kept


def test_a_deleted_job_is_not_found_and_can_be_created_again() -> None:
    put()
    delete_job("billing", "nightly", "ann", NOON_MS)
    with pytest.raises(NotFound):
        jobs.read("billing", "nightly")
    event = api_event(service_name="billing", job_name="nightly")
    assert get_handler(event, lambda_context())["statusCode"] == 404
    assert put()["created"]
    assert rule_schedules() == [EVERY_MINUTE]
    assert get_handler(event, lambda_context())["statusCode"] == 200


def test_deleting_a_job_again_succeeds_and_deleting_an_unknown_job_is_404() -> None:
    put()
    event = api_event("DELETE", service_name="billing", job_name="nightly")
    assert [delete_handler(event, lambda_context())["statusCode"] for _ in range(2)] == [204, 204]
    unknown = api_event("DELETE", service_name="billing", job_name="other")
    assert delete_handler(unknown, lambda_context())["statusCode"] == 404


def test_a_repeated_delete_removes_the_rule_that_an_interrupted_one_left() -> None:
    put()
    changes.delete("billing", "nightly", "ann", NOON_MS)
    assert rule_schedules() == [EVERY_MINUTE]
    delete_job("billing", "nightly", "ann", NOON_MS)
    assert rule_schedules() == []


def test_a_repeated_put_removes_the_old_rule_that_an_interrupted_move_left() -> None:
    put()
    moved = {"schedule": HOURLY, "invocation_type": "sns"}
    save_change(
        validate({"service_name": "billing", "job_name": "nightly", "job": moved, "updated_by": "ann"}),
        NOON_MS,
    )
    put(schedule=HOURLY)
    assert rule_schedules() == [HOURLY]


def test_a_put_of_another_schedule_for_a_paused_job_leaves_no_rule_behind() -> None:
    put()
    pause_job("billing", "nightly", {"reason": "migration"}, "ann", NOON_MS)
    assert rule_schedules() == []
    put(schedule=HOURLY)
    assert rule_schedules() == []
    assert schedules.job_count(HOURLY) == 0


@pytest.mark.parametrize("meanwhile", ["moved", "deleted"])
def test_a_resume_concurrent_with_another_change_leaves_no_rule_behind(
    monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    put()
    pause_job("billing", "nightly", {"reason": "migration"}, "ann", NOON_MS)
    resume = changes.resume

    def resume_later(*arguments: Any) -> Job:
        if meanwhile == "moved":
            put(schedule=HOURLY)
        else:
            changes.delete("billing", "nightly", "bob", NOON_MS)
        return resume(*arguments)

    monkeypatch.setattr(changes, "resume", resume_later)
    if meanwhile == "moved":
        resume_job("billing", "nightly", "ann", NOON_MS)
        assert rule_schedules() == [HOURLY]
    else:
        with pytest.raises(NotFound):
            resume_job("billing", "nightly", "ann", NOON_MS)
        assert rule_schedules() == []


def test_the_largest_job_fits_into_the_state_of_its_machine() -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html#service-limits-task-executions"""
    control = "\x01"
    extreme: dict[str, Any] = {
        "payload": (MAX_PAYLOAD_BYTES // 6) * control + (MAX_PAYLOAD_BYTES // 6) * "a",
        "description": 1024 * control,
        "owner": 256 * control,
        "tags": {f"{number:03}{125 * 'a'}": 256 * "b" for number in range(50)},
    }
    saved = put(**extreme)
    state = {"last_successful_execution": {"status": "success", "state": 34_000 * control}}
    tables.update_if(
        "jobs",
        jobs.key("billing", "nightly"),
        "SET last_successful_execution = :it",
        "attribute_exists(job_key)",
        {":it": state["last_successful_execution"]},
    )
    again = put(**extreme)
    assert len(json.dumps(again["job"]).encode()) > 200_000
    for answer in (saved, again):
        assert len(json.dumps({**answer, "job": None}).encode()) < 2048
        assert not (answer.keys() - {"job"}) & set(DEFINITION_FIELDS)


def machine(change: dict[str, Any]) -> dict[str, Any]:
    """Runs all steps of the state machine. Returns the answer of the last one."""
    saved = put(change["job_name"], **change["job"])
    return {name: saved[name] for name in ("created", "version", "warnings")}


def put_by_api(**fields: Any) -> tuple[int, dict[str, Any], str]:
    body = json.dumps({"schedule": EVERY_MINUTE, "invocation_type": "sns", **fields})
    event = api_event("PUT", body, service_name="billing", job_name="nightly")
    answer = put_job.handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"]), answer["headers"]["etag"]


@pytest.mark.parametrize("schedule", ["cron(0 0 31 2 ? *)", "cron(0 0 1 1 ? 2020)"])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_put_of_a_schedule_that_never_fires_warns(
    monkeypatch: pytest.MonkeyPatch, schedule: str, enabled: bool
) -> None:
    monkeypatch.setattr(put_job, "update_job", machine)
    status, job, _ = put_by_api(schedule=schedule, enabled=enabled)
    assert status == 201
    assert job["warnings"] == [{"code": "never_fires", "detail": f"{schedule} never fires again"}]
    assert not DOCUMENT.errors({"$ref": "#/components/schemas/SavedJob"}, job)


def test_a_put_on_a_rate_that_is_already_in_use_says_when_it_fires() -> None:
    minute_ms = 60_000
    assert put("first", schedule=HOURLY)["warnings"] == []
    for _ in range(2):  # a step may be repeated, and so may a PUT
        (warning,) = put("second", schedule=HOURLY, at_ms=NOON_MS + 40 * minute_ms)["warnings"]
        assert warning["code"] == "shared_rate"
        assert "counted from about 2026-11-23T12:00:00Z" in warning["detail"]
        assert "next fires at about 2026-11-23T13:00:00Z" in warning["detail"]
    later_ms = NOON_MS + 41 * minute_ms
    assert put("first", schedule=HOURLY, payload="new", at_ms=later_ms)["warnings"] == []
    assert put("third", schedule=HOURLY, enabled=False, at_ms=later_ms)["warnings"] == []
    assert put("third", schedule="rate(2 hours)", at_ms=later_ms)["warnings"] == []
    for at_ms in (NOON_MS, later_ms):
        assert put("fourth", schedule="cron(0 * * * ? *)", at_ms=at_ms)["warnings"] == []


def test_a_put_is_answered_with_the_job_as_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put_job, "update_job", machine)
    status, job, tag = put_by_api(payload="p")
    assert (status, tag) == (201, '"1"')
    assert job == job_view(jobs.read("billing", "nightly"), NOON_MS)
    assert put_by_api(payload="p") == (200, job, '"1"')


@pytest.mark.parametrize("meanwhile", ["changed", "deleted"])
def test_a_put_followed_by_another_change_does_not_answer_the_other_etag(
    monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    def machine_and_another(change: dict[str, Any]) -> dict[str, Any]:
        result = machine(change)
        if meanwhile == "changed":
            put(payload="other")
        else:
            delete_job("billing", "nightly", "bob", NOON_MS)
        return result

    monkeypatch.setattr(put_job, "update_job", machine_and_another)
    status, job, tag = put_by_api(payload="p")
    assert (status, tag, job["version"]) == (201, '"1"', 2)


def test_a_rule_removed_while_a_job_is_saved_is_restored_by_the_job() -> None:
    put("a")
    put("b")
    rules.remove(trigger_name(EVERY_MINUTE))
    settle_all([EVERY_MINUTE])
    assert rule_schedules() == [EVERY_MINUTE]


def test_a_deletion_restores_the_rule_if_another_job_was_saved_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put("a")
    remove = rules.remove

    def arrive_meanwhile(name: str) -> None:
        monkeypatch.setattr(rules, "remove", remove)
        put("b")
        remove(name)

    monkeypatch.setattr(rules, "remove", arrive_meanwhile)
    delete_job("billing", "a", "ann", NOON_MS)
    assert rule_schedules() == [EVERY_MINUTE]
    assert schedules.job_count(EVERY_MINUTE) == 1


def test_a_put_removes_its_rule_if_the_job_was_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put("a")
    put_rule = rules.put

    def leave_meanwhile(schedule: str, seen: Any = None) -> None:
        monkeypatch.setattr(rules, "put", put_rule)
        delete_job("billing", "a", "ann", NOON_MS)
        put_rule(schedule)

    monkeypatch.setattr(rules, "put", leave_meanwhile)
    settle_all([EVERY_MINUTE])
    assert rule_schedules() == []


def test_repeating_an_interrupted_removal_restores_the_target_that_jobs_need() -> None:
    put("a")
    put("b", schedule=HOURLY)
    events().remove_targets(Rule=trigger_name(EVERY_MINUTE), Ids=["start-due-executions"])
    settle_all([EVERY_MINUTE])
    (target,) = events().list_targets_by_rule(Rule=trigger_name(EVERY_MINUTE))["Targets"]
    assert target["Id"] == "start-due-executions"


def test_a_put_settles_every_schedule_that_earlier_puts_left() -> None:
    put()
    for schedule in (HOURLY, "rate(2 hours)"):
        change = {"schedule": schedule, "invocation_type": "sns"}
        put_schedule(schedule, NOON_MS)
        save_change(
            validate({"service_name": "billing", "job_name": "nightly", "job": change, "updated_by": "ann"}),
            NOON_MS,
        )
    put(schedule="rate(2 hours)")
    assert rule_schedules() == ["rate(2 hours)"]


def test_a_schedule_that_eventbridge_refuses_is_a_bad_request_with_a_pointer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = ClientError({"Error": {"Code": "ValidationException"}}, "PutRule")

    def refuse(**_: Any) -> None:
        raise refusal

    monkeypatch.setattr(events(), "put_rule", refuse)
    with pytest.raises(BadRequest) as refused:
        put_schedule("rate(5 minutes)", NOON_MS)
    (error,) = refused.value.extra["errors"]
    assert error["pointer"] == "/schedule"
    refusal.response["Error"]["Code"] = "InternalException"
    with pytest.raises(ClientError):
        put_schedule("rate(5 minutes)", NOON_MS)


def test_two_concurrent_puts_take_effect_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    find = jobs.find

    def find_then_lose(service_name: str, job_name: str, **options: Any) -> Job | None:
        seen = find(service_name, job_name, **options)
        monkeypatch.setattr(jobs, "find", find)
        put(schedule="rate(2 hours)")
        return seen

    monkeypatch.setattr(jobs, "find", find_then_lose)
    put(schedule=HOURLY)
    assert rule_schedules() == [HOURLY]
    assert [schedules.job_count(each) for each in (EVERY_MINUTE, "rate(2 hours)", HOURLY)] == [0, 0, 1]


def test_a_matching_rule_is_not_put_again(monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    client = events()
    monkeypatch.setattr(client, "put_rule", lambda **_: pytest.fail("EventBridge would restart its rate"))
    monkeypatch.setattr(client, "put_targets", lambda **_: pytest.fail("the target needs no change"))
    put(payload="other")


def test_a_rule_disabled_by_hand_is_enabled_by_the_next_put() -> None:
    put()
    boto3.client("events").disable_rule(Name=trigger_name(EVERY_MINUTE))
    put()
    (rule,) = boto3.client("events").list_rules()["Rules"]
    assert rule["State"] == "ENABLED"


def test_errors_in_names_and_in_the_body_are_reported_together() -> None:
    change = {"service_name": "a b", "job_name": "x" * 65, "job": {"schedule": "soon"}, "updated_by": "ann"}
    with pytest.raises(BadRequest) as refused:
        validate(change)
    pointers = {error["pointer"] for error in refused.value.extra["errors"]}
    assert pointers == {"/service_name", "/job_name", "/invocation_type", "/schedule"}
