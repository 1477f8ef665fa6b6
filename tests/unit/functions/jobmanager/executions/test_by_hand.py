"""start_execution, rerun_execution and cancel_execution: requests by people, and their refusals."""

import json
from typing import Any, cast

import pytest

from functions.cancel_execution.handler import handler as cancel_handler
from functions.get_job import handler as get_job
from functions.list_jobs import handler as list_jobs
from functions.rerun_execution.handler import handler as rerun_handler
from functions.start_execution import handler as start
from functions.start_execution.handler import handler as start_handler
from jobmanager.delivery.machines import ExpressExecution
from jobmanager.delivery.notify import notify
from jobmanager.executions import by_hand
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from tests.unit.functions.examples import NOON_MS, api_event, due, end_as, finish, lambda_context, save_job
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")


def test_a_record_lists_a_bounded_number_of_reruns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "start_machine_of", lambda record: None)
    monkeypatch.setattr(by_hand, "_MAX_RERUNS", 2)
    save_job()
    old = begin(due(), NOON_MS)["execution_id"]
    new = [
        by_hand.rerun("billing", "nightly", old, "ann", None, NOON_MS + number)["execution_id"]
        for number in range(3)
    ]
    kept = executions.find(old)
    last = executions.find(new[-1])
    assert kept is not None
    assert last is not None
    assert kept["reruns"] == new[:2]
    assert last["rerun_of"] == old


class FakeStepFunctions:
    """Accepts each name once, and can be made to fail. moto's own state machine would run the executions."""

    exceptions = Machines.exceptions

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}
        self.failures: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.is_over = False
        self.is_down = False

    def start_execution(self, **request: Any) -> None:
        if self.is_down:
            raise RuntimeError("the function was killed before the answer")
        if request["name"] in self.inputs:
            raise self.exceptions.ExecutionAlreadyExists
        self.inputs[request["name"]] = json.loads(request["input"])

    def send_task_failure(self, **request: Any) -> None:
        if self.is_over:
            raise self.exceptions.TaskTimedOut
        self.failures.append(request)

    def stop_execution(self, **request: Any) -> None:
        self.stopped.append(request["executionArn"].rpartition(":")[2])


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeStepFunctions:
    fake = FakeStepFunctions()
    monkeypatch.setattr("jobmanager.executions.machine.step_functions", lambda: fake)
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: fake)
    return fake


def call(handler: Any, body: Any = None, key: str | None = None, **path: str) -> tuple[int, dict[str, Any]]:
    event = api_event("POST", None if body is None else json.dumps(body))
    event["pathParameters"] = {"service_name": "billing", "job_name": "nightly", **path}
    if key is not None:
        event["headers"]["idempotency-key"] = key
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def test_run_now_starts_a_new_execution(machine: FakeStepFunctions) -> None:
    save_job(payload="scheduled")
    status, execution = call(start_handler)
    assert (status, execution["status"], execution["payload"]) == (201, "running", "scheduled")
    assert execution["started_by"].endswith(":user/ann")
    assert "paused" not in execution
    (passed,) = machine.inputs.values()
    assert passed["execution_id"] == execution["execution_id"]
    assert "payload" not in passed
    assert begin(cast(Due, passed), NOON_MS)["execution_id"] == execution["execution_id"]


def test_run_now_may_override_the_payload(machine: FakeStepFunctions) -> None:
    save_job(payload="scheduled")
    _, execution = call(start_handler, {"payload": "by hand"})
    assert execution["payload"] == "by hand"
    assert jobs.read("billing", "nightly")["payload"] == "scheduled"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"payload": 5}, "/payload"),
        ({"payload": "ü" * 16_385}, "/payload"),
        ({"payload": "\x01" * 11_000}, "/payload"),  # 32 KiB at most, but 66,000 bytes as JSON
        ({"x": 1}, "/x"),
        ([1], ""),
    ],
)
def test_an_invalid_run_now_is_refused_with_a_pointer(body: Any, pointer: str) -> None:
    save_job()
    status, answer = call(start_handler, body)
    assert (status, [error["pointer"] for error in answer["errors"]]) == (400, [pointer])


def test_a_disabled_or_paused_job_can_run_now_and_shows_its_pause(machine: FakeStepFunctions) -> None:
    save_job(enabled=False)
    assert call(start_handler)[0] == 201
    changes.pause("billing", "nightly", {"reason": "migration"}, "ann", NOON_MS)
    status, execution = call(start_handler)
    assert (status, execution["paused"]["reason"]) == (201, "migration")


def test_a_pause_that_has_ended_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job()
    changes.pause("billing", "nightly", {"reason": "migration", "until": NOON_MS + 1000}, "ann", NOON_MS)
    for now, is_shown in ((NOON_MS + 999, True), (NOON_MS + 1000, False)):
        for module in (start, get_job, list_jobs):
            monkeypatch.setattr(module, "now_ms", lambda now=now: now)
        _, execution = call(start_handler)
        _, job = call(get_job.handler)
        event = api_event()
        (listed,) = json.loads(list_jobs.handler(event, lambda_context())["body"])["results"]
        assert ["paused" in shown for shown in (execution, job, listed)] == [is_shown] * 3


def test_a_started_run_is_answered_even_if_the_job_was_just_deleted(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job()
    start_machine = machine.start_execution

    def start_and_delete(**request: Any) -> None:
        start_machine(**request)
        changes.delete("billing", "nightly", "ann", NOON_MS)

    monkeypatch.setattr(machine, "start_execution", start_and_delete)
    status, execution = call(start_handler, key="k")
    assert (status, [execution["execution_id"]]) == (201, list(machine.inputs))
    assert call(start_handler, key="k") == (201, execution)


def test_an_unknown_or_deleted_job_cannot_run() -> None:
    assert call(start_handler)[0] == 404
    save_job()
    changes.delete("billing", "nightly", "ann", NOON_MS)
    assert call(start_handler)[0] == 404


def test_run_now_is_refused_with_the_holder_while_the_lock_is_held(
    machine: FakeStepFunctions,
) -> None:
    save_job(exclusive=True)
    _, first = call(start_handler)
    status, refusal = call(start_handler)
    assert (status, refusal["lock_execution"]) == (409, first["execution_id"])
    assert len(machine.inputs) == 1
    assert first["fencing_token"] == 1


def test_an_idempotency_key_makes_a_request_repeatable(machine: FakeStepFunctions) -> None:
    save_job(exclusive=True)
    first = call(start_handler, {"payload": "p"}, key="k-1")
    assert call(start_handler, {"payload": "p"}, key="k-1") == first
    assert len(machine.inputs) == 1
    status, refusal = call(start_handler, {"payload": "other"}, key="k-1")
    assert (status, "Idempotency-Key" in refusal["detail"]) == (409, True)
    assert call(start_handler, key="ü")[0] == 400


def test_only_the_same_role_may_repeat_a_request_in_any_session(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job()
    role = "arn:aws:sts::123456789012:assumed-role"
    answers = []
    for caller in ("team/billing/pod-1", "team/billing/pod-2", "team/other/pod-1"):
        monkeypatch.setattr(start, "caller_arn", lambda event, caller=caller: f"{role}/{caller}")
        answers.append(call(start_handler, key="k-1"))
    assert answers[0] == answers[1]
    assert answers[2][0] == 409
    assert len(machine.inputs) == 1


def test_repeating_an_interrupted_request_completes_it(
    machine: FakeStepFunctions,
) -> None:
    save_job(exclusive=True)
    machine.is_down = True
    assert call(start_handler, key="k-1")[0] == 500
    assert machine.inputs == {}
    machine.is_down = False
    status, execution = call(start_handler, key="k-1")
    assert (status, list(machine.inputs)) == (201, [execution["execution_id"]])


def test_repeating_a_request_does_not_start_another_machine_beside_the_one_that_runs(
    machine: FakeStepFunctions, target: Target
) -> None:
    """Express accepts a name again, and the second would take over from the first."""
    job = save_job(workflow_type="express", invocation_target=target.url)
    first = by_hand.start_by_hand(*named(job), {"started_by": "ann"}, "key", NOON_MS)
    started = machine.inputs.pop(first["execution_id"])
    notify(started, ExpressExecution("one"), NOON_MS + 100)
    again = by_hand.start_by_hand(*named(job), {"started_by": "ann"}, "key", NOON_MS + 2000)
    assert (again["execution_id"], machine.inputs) == (first["execution_id"], {})


def named(job: Job) -> tuple[str, str]:
    return job["service_name"], job["job_name"]


def test_a_key_that_was_refused_and_is_used_again_later_keeps_its_state(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = NOON_MS
    monkeypatch.setattr(start, "now_ms", lambda: clock)
    save_job(exclusive=True)
    _, holder = call(start_handler)
    clock += 5000
    assert call(start_handler, key="k-1")[0] == 409
    succeed(holder, "holder", clock + 60_000)
    clock += 120_000
    _, between = call(start_handler)
    succeed(between, "between", clock + 1000)
    clock += 5000
    status, late = call(start_handler, key="k-1")
    assert (status, late["scheduled_time"]) == (201, "2026-11-23T12:00:05Z")
    succeed(late, "late", clock + 1000)
    assert jobs.read("billing", "nightly")["last_successful_execution"]["state"] == "late"


def succeed(execution: dict[str, Any], state: str, at_ms: int) -> None:
    end_as(execution, "success", {"state": state}, at_ms)
    finish(execution, at_ms)


def test_records_of_idempotency_keys_are_in_no_list() -> None:
    from jobmanager.core.clock import now_ms
    from jobmanager.executions.history import list_executions

    save_job()
    call(start_handler, key="k-1")
    for query in ({}, {"service_name": "billing"}, {"service_name": "billing", "job_name": "nightly"}):
        assert len(list_executions(query, now_ms())["results"]) == 1


def test_a_rerun_has_its_original_payload_and_both_executions_link_to_each_other() -> None:
    save_job(payload="old")
    old = begin(due(), NOON_MS)["execution_id"]
    save_job(payload="new")
    status, new = call(rerun_handler, execution_id=old)
    assert (status, new["payload"], new["rerun_of"]) == (201, "old", old)
    found = executions.find(old)
    assert found is not None
    assert found["reruns"] == [new["execution_id"]]
    assert call(rerun_handler, execution_id="x")[0] == 404


def test_a_rerun_of_an_execution_that_never_began_has_the_payload_of_the_job() -> None:
    save_job(payload="of the job")
    failed = {"status": "fail", "error": "Manager.ExecutionNotBegun", "cause": "throttled"}
    old = finish({**due(), **failed}, NOON_MS)["execution_id"]
    status, new = call(rerun_handler, execution_id=old)
    assert (status, new["payload"], new["rerun_of"]) == (201, "of the job", old)


def test_a_rerun_of_an_empty_payload_stays_empty() -> None:
    save_job(payload="")
    old = begin(due(), NOON_MS)["execution_id"]
    save_job(payload="new")
    assert call(rerun_handler, execution_id=old)[1]["payload"] == ""


def test_a_repeated_rerun_request_is_linked_once() -> None:
    save_job()
    old = begin(due(), NOON_MS)["execution_id"]
    assert call(rerun_handler, key="k", execution_id=old) == call(rerun_handler, key="k", execution_id=old)
    found = executions.find(old)
    assert found is not None
    assert len(found["reruns"]) == 1


def test_a_cancelled_execution_ends_and_frees_its_lock(machine: FakeStepFunctions) -> None:
    save_job(exclusive=True)
    record = begin(due(), NOON_MS)
    executions.update_if(
        record["execution_id"], "SET task_token = :t", "#status = :r", {":t": "t", ":r": "running"}
    )
    status, execution = call(cancel_handler, {"reason": "wrong ledger"}, execution_id=record["execution_id"])
    assert (status, execution["status"]) == (200, "cancelled")
    assert execution["cause"].endswith("wrong ledger")
    [failure] = machine.failures
    assert (failure["error"], json.loads(failure["cause"])["error"]) == ("ExecutionEnded", "Job.Cancelled")
    settled = finish({**due(), "status": "fail", "error": "Job.Cancelled", "cause": "x"}, NOON_MS)
    assert settled["status"] == "cancelled"
    assert "lock_execution" not in jobs.read("billing", "nightly")


@pytest.mark.parametrize("waits", [False, True], ids=["not notified yet", "whose machine is gone"])
def test_cancelling_ends_an_execution_that_no_task_would_end_and_may_be_repeated(
    machine: FakeStepFunctions, waits: bool
) -> None:
    save_job(exclusive=True)
    identifier = begin(due(), NOON_MS)["execution_id"]
    if waits:
        machine.is_over = True
        executions.update_if(identifier, "SET task_token = :t", "#status = :r", {":t": "t", ":r": "running"})
    for _ in range(2):
        assert call(cancel_handler, execution_id=identifier)[0] == 200
        assert "lock_execution" not in jobs.read("billing", "nightly")
    assert (machine.failures, machine.stopped) == ([], [identifier])
    record = executions.find(identifier)
    assert record is not None
    assert "settled_at_ms" in record


def test_an_execution_that_ended_otherwise_cannot_be_cancelled() -> None:
    save_job(enabled=False)
    identifier = begin(due(), NOON_MS)["execution_id"]
    status, refusal = call(cancel_handler, execution_id=identifier)
    assert (status, refusal["execution_status"]) == (409, "skipped")
    assert call(cancel_handler, {"reason": 5}, execution_id=identifier)[0] == 400
    assert call(cancel_handler, execution_id="x")[0] == 404
