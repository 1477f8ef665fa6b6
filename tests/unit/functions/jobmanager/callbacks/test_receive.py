"""receive_callback: everything answered with 200 is in the record, and nothing else is."""

import io
import json
from typing import Any

import pytest

from functions.receive_callback.handler import handler
from jobmanager.callbacks.token import hash_of
from jobmanager.core.mappings import picked
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Execution
from jobmanager.executions.view import execution_view
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger
from tests.unit.functions.examples import NOON_MS, api_event, due, finish, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
SECRET = "s" * 43


class FakeStepFunctions:
    """Records the signals to tasks. moto does not know task tokens."""

    class exceptions:
        class TaskTimedOut(Exception):
            pass

        class TaskDoesNotExist(Exception):
            pass

    def __init__(self) -> None:
        self.signals: list[tuple[str, dict[str, Any]]] = []
        self.is_over = False

    def _record(self, kind: str, **request: Any) -> None:
        if self.is_over:
            raise self.exceptions.TaskTimedOut
        self.signals.append((kind, request))

    def send_task_heartbeat(self, **request: Any) -> None:
        self._record("heartbeat", **request)

    def send_task_success(self, **request: Any) -> None:
        self._record("success", **request)

    def send_task_failure(self, taskToken: str, error: str, cause: str) -> None:
        if error == "ExecutionEnded":  # the state machine fails with what the cause says
            ended = json.loads(cause)
            error, cause = ended["error"], ended["cause"]
        self._record("failure", taskToken=taskToken, error=error, cause=cause)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeStepFunctions:
    fake = FakeStepFunctions()
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: fake)
    monkeypatch.setattr("functions.receive_callback.handler.now_ms", lambda: NOON_MS + 1000)
    return fake


@pytest.fixture
def execution_id() -> str:
    return notified()


def notified(at_ms: int = NOON_MS, **fields: Any) -> str:
    save_job(at_ms=at_ms, **fields)
    record = begin(due(at_ms=at_ms), at_ms)
    executions.update_if(
        record["execution_id"],
        "SET task_token = :token, callback_hashes = :hashes, service_invoked_at_ms = :now",
        "#status = :running",
        {
            ":token": "task",
            ":hashes": [hash_of("older"), hash_of(SECRET)],
            ":now": at_ms,
            ":running": "running",
        },
    )
    return str(record["execution_id"])


def call(execution_id: str, body: Any, secret: str = SECRET, **request: Any) -> tuple[int, dict[str, Any]]:
    text = body if isinstance(body, str) else json.dumps(body)
    event = api_event("POST", text, callback_token=f"{execution_id}.{secret}", **request)
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def stored(execution_id: str) -> Execution:
    record = executions.find(execution_id)
    assert record is not None
    return record


def test_a_heartbeat_moves_the_deadline(machine: FakeStepFunctions, execution_id: str) -> None:
    status, answer = call(execution_id, {"status": "processing", "progress": 73})
    assert status == 200
    assert answer == {
        "execution_id": execution_id,
        "attempt": 1,
        "status": "running",
        "progress": 73,
        "lock_expires_at": "2026-11-23T12:05:01Z",
    }
    assert machine.signals == [("heartbeat", {"taskToken": "task"})]


def test_a_heartbeat_may_ask_for_a_shorter_deadline(machine: FakeStepFunctions, execution_id: str) -> None:
    _, answer = call(execution_id, {"status": "processing", "extend_seconds": 9})
    assert answer["lock_expires_at"] == "2026-11-23T12:00:10Z"


def test_a_shorter_deadline_counts_for_the_lock_and_a_longer_one_follows(machine: FakeStepFunctions) -> None:
    execution_id = notified(exclusive=True)
    for seconds in (9, 5, 20):
        call(execution_id, {"status": "processing", "extend_seconds": seconds})
        assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON_MS // 1000 + 1 + seconds


@pytest.mark.parametrize(
    "body", [{"status": "processing", "extend_seconds": 5}, {"status": "success"}], ids=["heartbeat", "final"]
)
def test_the_lock_lasts_as_long_as_the_record_says_if_the_function_dies_before_it_writes_that(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    execution_id = notified(exclusive=True, ttl_seconds=60)
    with monkeypatch.context() as patch:
        patch.setattr(executions, "update_if", lambda *_: 1 / 0)
        assert call(execution_id, body)[0] == 500

    lasts_until = stored(execution_id)["lock_expires_at"]
    assert lasts_until == NOON_MS // 1000 + 60
    assert jobs.read("billing", "nightly")["lock_expires_at"] >= lasts_until


@pytest.mark.parametrize("error", ["Manager.NoOutcome", "KeyError", {"name": "x", "fault": "manager"}])
def test_a_service_cannot_pass_its_fault_to_the_manager(
    machine: FakeStepFunctions, execution_id: str, error: Any
) -> None:
    assert call(execution_id, {"status": "fail", "error": "x", "fault": "manager"})[0] == 400
    assert call(execution_id, {"status": "fail", "error": error, "summary": "s"})[0] == 200
    assert "fault" not in stored(execution_id)
    reported = {**due(), "status": "fail", "error": "Manager.NoOutcome", "cause": "c"}
    assert "fault" not in finish(reported, NOON_MS + 2000)


def test_success_is_recorded_before_step_functions_is_told(
    machine: FakeStepFunctions, execution_id: str
) -> None:
    body = {"status": "success", "summary": "4 invoices", "state": "cursor", "correlation_id": "c-1"}
    status, answer = call(execution_id, body)
    assert (status, answer["status"]) == (200, "success")
    record = stored(execution_id)
    assert picked(record, body) == body
    output = json.dumps({"execution_id": execution_id, "status": "success"})
    assert machine.signals == [("success", {"taskToken": "task", "output": output})]
    assert "settled_at_ms" in record
    assert not record.keys() & {"sweep_shard", "task_token"}


@pytest.mark.parametrize(
    ("body", "error", "cause"),
    [
        ({"error": "DatabaseDown", "summary": "no route"}, "DatabaseDown", "no route"),
        ({"error": "DatabaseDown"}, "DatabaseDown", "DatabaseDown"),
        (
            {"error": {"name": "DatabaseDown", "code": 7}},
            "DatabaseDown",
            '{"name": "DatabaseDown", "code": 7}',
        ),
        ({"error": {"code": 7}, "summary": "oh"}, "Job.Fail", 'oh; {"code": 7}'),
        ({"error": "States.Timeout"}, "Job.Fail", "States.Timeout"),
        ({"error": "NotificationUndelivered"}, "NotificationUndelivered", "NotificationUndelivered"),
        ({}, "Job.Fail", ""),
    ],
)
def test_a_failure_tells_step_functions_the_services_error(
    machine: FakeStepFunctions, execution_id: str, body: dict[str, Any], error: str, cause: str
) -> None:
    status, _ = call(execution_id, {"status": "fail", **body})
    assert status == 200
    assert machine.signals == [("failure", {"taskToken": "task", "error": error, "cause": cause})]
    assert execution_view(stored(execution_id)).get("error") == body.get("error")


def test_a_long_error_is_cut_for_step_functions_and_kept_whole_in_the_record(
    machine: FakeStepFunctions, execution_id: str
) -> None:
    call(execution_id, {"status": "fail", "error": "x" * 1000})
    ((_, request),) = machine.signals
    assert (len(request["error"]), len(request["cause"])) == (256, 1000)
    assert execution_view(stored(execution_id))["error"] == "x" * 1000


@pytest.mark.parametrize(
    "final", [{"status": "success", "state": "s"}, {"status": "fail", "error": {"a": 1.5}}]
)
def test_a_repeated_final_callback_answers_the_same(
    machine: FakeStepFunctions, execution_id: str, final: dict[str, Any]
) -> None:
    assert call(execution_id, final) == call(execution_id, final)
    assert len(machine.signals) == 1
    finish({**due(), "status": "running"}, NOON_MS + 2000)
    assert call(execution_id, final)[0] == 200
    assert len(machine.signals) == 1, "no task waits after the execution is settled"


def test_the_log_says_once_how_an_execution_ended(
    machine: FakeStepFunctions, execution_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", logged)
    call(execution_id, {"status": "success"})
    assert messages_in(logged) == ["execution finished"]
    call(execution_id, {"status": "success"})
    assert messages_in(logged) == ["execution finished", "result accepted"]


def messages_in(logged: io.StringIO) -> list[str]:
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    return [line["message"] for line in lines if "message" in line]


def test_after_the_end_any_other_callback_is_410(machine: FakeStepFunctions, execution_id: str) -> None:
    call(execution_id, {"status": "success"})
    for body in ({"status": "fail"}, {"status": "success", "state": "other"}, {"status": "processing"}):
        status, answer = call(execution_id, body)
        assert (status, answer["type"], answer["execution_status"]) == (
            410,
            "/problems/execution-over",
            "success",
        )
        assert answer["status"] == 410


def test_a_heartbeat_between_two_tries_to_notify_is_accepted(
    machine: FakeStepFunctions, execution_id: str
) -> None:
    machine.is_over = True
    assert call(execution_id, {"status": "processing", "progress": 5})[0] == 200
    assert stored(execution_id)["progress"] == 5


def test_a_result_is_kept_although_step_functions_no_longer_waits(
    machine: FakeStepFunctions, execution_id: str
) -> None:
    machine.is_over = True
    assert call(execution_id, {"status": "success", "state": "kept"})[0] == 200
    timed_out = {**due(), "status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "silence"}
    assert finish(timed_out, NOON_MS + 2000)["status"] == "success"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        "." * 50,
        "{id}",
        "{id}.",
        "{id}." + "x" * 43,
        "{id}." + SECRET[:-1],
        "{id}." + SECRET + "s",
        "97ccbb7a-914a-5409-98cd-d98d54e957ae-20200101T000000Z." + SECRET,
        "{id}%00." + SECRET,
        "ünïcödé." + SECRET,
        "{id}.\ud800",
    ],
)
def test_a_wrong_token_is_forbidden(machine: FakeStepFunctions, execution_id: str, token: str) -> None:
    event = api_event("POST", '{"status": "success"}', callback_token=token.replace("{id}", execution_id))
    answer = handler(event, lambda_context())
    assert answer["statusCode"] == 403
    assert stored(execution_id)["status"] == "running"


def test_the_token_of_an_earlier_try_to_notify_is_valid(
    machine: FakeStepFunctions, execution_id: str
) -> None:
    assert call(execution_id, {"status": "success"}, secret="older")[0] == 200


def test_a_body_that_is_not_json_is_415(machine: FakeStepFunctions, execution_id: str) -> None:
    assert call(execution_id, {"status": "success"}, content_type="text/plain")[0] == 415
    assert call(execution_id, {"status": "success"}, content_type="application/json; charset=utf-8")[0] == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("{", ""),
        ('{"status": NaN}', ""),
        ('{"status": "success", "state": "\\ud800"}', ""),
        ([], ""),
        ({}, "/status"),
        ({"status": "done"}, "/status"),
        ({"status": "processing", "progress": 101}, "/progress"),
        ({"status": "processing", "progress": "73"}, "/progress"),
        ({"status": "processing", "state": "s"}, "/state"),
        ({"status": "processing", "extend_seconds": 301}, "/extend_seconds"),
        ({"status": "processing", "extend_seconds": 301.0}, "/extend_seconds"),
        ('{"status": "fail", "error": {"x": 1e400}}', ""),
        ({"status": "processing", "extend_seconds": 0}, "/extend_seconds"),
        ({"status": "success", "state": "s" * 65_537}, "/state"),
        ({"status": "success", "summary": "s" * 1025}, "/summary"),
        ({"status": "success", "correlation_id": "c" * 257}, "/correlation_id"),
        ({"status": "success", "error": "e"}, "/error"),
        ({"status": "fail", "error": "e" * 32_769}, "/error"),
        ({"status": "fail", "error": 5}, "/error"),
        ({"status": "success", "result": 1}, "/result"),
    ],
)
def test_an_invalid_body_is_400_with_a_pointer(
    machine: FakeStepFunctions, execution_id: str, body: Any, pointer: str
) -> None:
    status, answer = call(execution_id, body)
    assert status == 400
    assert [error["pointer"] for error in answer["errors"]] == [pointer]
    assert stored(execution_id)["status"] == "running"
    assert machine.signals == []


def test_values_at_their_limits_are_accepted(machine: FakeStepFunctions, execution_id: str) -> None:
    body = {"status": "success", "state": "ü" * 32_768, "summary": "s" * 1024, "correlation_id": "c" * 256}
    assert call(execution_id, body)[0] == 200


def test_an_execution_that_lost_its_lock_gets_410(machine: FakeStepFunctions) -> None:
    old = notified(exclusive=True, ttl_seconds=60, at_ms=NOON_MS - 120_000)
    new = begin(due(at_ms=NOON_MS), NOON_MS)
    for body in ({"status": "processing"}, {"status": "success"}):
        status, answer = call(old, body)
        assert (status, answer["detail"].startswith("The lock has passed")) == (410, True)
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert (job["lock_execution"], job["lock_expires_at"]) == (new["execution_id"], NOON_MS // 1000 + 60)


@pytest.mark.parametrize(
    ("state", "status"),
    [("x" * 65_536, 200), ('"\n' * 32_768, 200), ("\x01" * 21_845, 200), ("\x01" * 21_847, 400)],
    ids=["plain", "quoted", "short", "control characters"],
)
def test_a_state_too_large_for_the_next_notification_is_refused(
    machine: FakeStepFunctions, execution_id: str, state: str, status: int
) -> None:
    answered, body = call(execution_id, {"status": "success", "state": state})
    assert answered == status
    if status == 400:
        assert [error["pointer"] for error in body["errors"]] == ["/state"]
