"""Express machines: an execution of one begins, notifies the service, and leaves the rest to callbacks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from functions.finish_execution.handler import handler as finish_execution
from jobmanager.core.clock import iso
from jobmanager.core.errors import AnswerNotRecorded, NotificationUndelivered
from jobmanager.delivery.machines import ExpressExecution, Machine, StandardTask, machine_of
from jobmanager.delivery.notification import send
from jobmanager.delivery.notify import run
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.cancel import cancel
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.reap import reap
from jobmanager.executions.record import ByHand, Execution
from jobmanager.executions.settle import FinishInput
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from tests.unit.functions.callbacks import answer_to
from tests.unit.functions.examples import ACCOUNT, NOON_MS, due, lambda_context, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")
NOON = NOON_MS // 1000
TTL = 100
ARN = f"arn:aws:states:us-east-1:{ACCOUNT}:express:sjm-test-run-job-express"
UNDELIVERED = {"status": "fail", "error": "NotificationUndelivered", "cause": "the target answered HTTP 503"}


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of the handlers and of answers, in seconds after noon."""

    def set_clock(seconds: int) -> None:
        for module in (
            "functions.receive_callback.handler",
            "functions.finish_execution.handler",
            "jobmanager.delivery.notify",
        ):
            monkeypatch.setattr(f"{module}.now_ms", lambda: NOON_MS + seconds * 1000)

    set_clock(10)
    return set_clock


def started(**fields: Any) -> dict[str, Any]:
    """What a tick gives to the machine."""
    job = save_job(**{"workflow_type": "express", "ttl_seconds": TTL, **fields})
    return {**due(schedule=job["schedule"]), "workflow_type": "express", **task_limits(job)}


def restarted(execution: dict[str, Any]) -> dict[str, Any]:
    """What the sweep gives to a machine that takes over."""
    record = stored(execution)
    return {**machine_input(record), "takes_over": record["machine_execution"]}


def invoke(
    execution: dict[str, Any], machine: str = "m-1", at_ms: int = NOON_MS, started_at_ms: int = NOON_MS
) -> None:
    """Does what run_execution does for an execution of the Express machine."""
    event = {
        "execution": execution,
        "machine_execution": f"{ARN}:{execution['execution_id']}:{machine}",
        "machine_started_at": iso(started_at_ms),
    }
    run(execution, machine_of(event), at_ms)


def fail(execution: dict[str, Any], machine: str = "m-1", **how: str) -> dict[str, Any]:
    """Does what the machine does when run_execution has failed for good."""
    event = {**execution, **UNDELIVERED, **how, "machine_execution": machine}
    output: dict[str, Any] = finish_execution(cast(FinishInput, event), lambda_context())
    return output


def throttled(*_: Any, **__: Any) -> Any:
    raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")


def test_a_run_is_inserted_with_all_that_a_callback_needs_and_then_noted_as_delivered(
    target: Target, machines: Machines, writes: list[str], published: list[str]
) -> None:
    execution = started(invocation_target=target.url)
    writes.clear()
    invoke(execution)
    assert (writes, published, machines.signals) == (["put_item", "update_item"], ["running"], [])
    record = stored(execution)
    assert (record["workflow_type"], record["machine_execution"]) == ("express", "m-1")
    assert (record["service_invoked_at_ms"], record["delivered_attempt"]) == (NOON_MS, 1)
    assert (record["lock_expires_at"], record["sweep_at"]) == (NOON + TTL, NOON + 60)
    assert "task_token" not in record
    assert (len(record["callback_hashes"]), len(target.bodies)) == (1, 1)


def test_a_callback_settles_the_execution_and_signals_no_task(
    target: Target, machines: Machines, published: list[str]
) -> None:
    execution = started(invocation_target=target.url, exclusive=True)
    invoke(execution)
    assert answer_to(target, status="success", state="s")[0] == 200
    record = stored(execution)
    assert (record["status"], record["settled_at_ms"]) == ("success", NOON_MS + 10_000)
    assert not record.keys() & {"sweep_shard", "sweep_at", "machine_execution"}
    assert (published, machines.signals, machines.stopped) == (["running", "success"], [], [])
    assert "lock_execution" not in jobs.read("billing", "nightly")


def test_a_callback_may_come_before_the_notification_is_answered(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered_late(record: Execution, body: dict[str, Any]) -> Any:
        answer = send(record, body)
        assert answer_to(target, status="success")[0] == 200
        return answer

    monkeypatch.setattr("jobmanager.delivery.notify.send", answered_late)
    execution = started(invocation_target=target.url, exclusive=True)
    invoke(execution)
    record = stored(execution)
    assert (record["status"], "delivered_attempt" in record) == ("success", False)


def test_a_retry_of_the_state_does_not_notify_again_once_the_notification_was_delivered(
    target: Target, published: list[str]
) -> None:
    execution = started(invocation_target=target.url)
    invoke(execution)
    before = stored(execution)
    invoke(execution, at_ms=NOON_MS + 2000)
    assert (len(target.bodies), stored(execution), published) == (1, before, ["running"])


def test_a_retry_of_the_state_notifies_a_service_that_was_not_reached(
    target: Target, published: list[str]
) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url, exclusive=True)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    assert "delivered_attempt" not in stored(execution)
    invoke(execution, at_ms=NOON_MS + 2000)
    record = stored(execution)
    assert (record["machine_execution"], record["delivered_attempt"]) == ("m-1", 1)
    assert (record["lock_expires_at"], record["sweep_at"]) == (NOON + 2 + TTL, NOON + 62)
    assert (len(record["callback_hashes"]), len({body["callback_url"] for body in target.bodies})) == (2, 2)
    assert published == ["running", "running"], "the first try may have died before it published"
    assert answer_to(target, status="success")[0] == 200


def test_another_machine_execution_of_the_same_name_does_nothing(
    target: Target, published: list[str]
) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution, "m-1")
    before = stored(execution)
    invoke(execution, "m-2", NOON_MS + 1000)
    assert (len(target.bodies), stored(execution), published) == (1, before, ["running"])
    invoke(execution, "m-1", NOON_MS + 2000)
    invoke(execution, "m-2", NOON_MS + 3000)
    assert (len(target.bodies), stored(execution)["machine_execution"]) == (2, "m-1")


def test_of_five_equal_starts_at_once_one_notifies_the_service(target: Target, published: list[str]) -> None:
    execution = started(invocation_target=target.url, exclusive=True)
    names = [f"m-{number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda name: invoke(execution, name), names))
    assert (len(target.bodies), published) == (1, ["running"])
    record = stored(execution)
    assert (record["machine_execution"] in names, len(record["callback_hashes"])) == (True, 1)
    assert (record["fencing_token"], record["delivered_attempt"]) == (1, 1)


@pytest.mark.parametrize("retry", [None, {"max_attempts": 2, "interval_seconds": 20}])
def test_an_attempt_that_ended_while_the_answer_to_its_insert_was_lost_is_not_notified(
    target: Target, monkeypatch: pytest.MonkeyPatch, retry: dict[str, Any] | None
) -> None:
    """AWS runs the machine twice: one invocation begins the attempt, and the other one fails and ends it."""
    execution = started(invocation_target=target.url, **({"retry": retry} if retry else {}))
    insert = executions.insert

    def insert_and_lose_the_answer(*arguments: Any) -> bool:
        insert(*arguments)
        fail(execution, error="Lambda.AWSLambdaException")
        return False  # the SDK has inserted it a second time

    monkeypatch.setattr(executions, "insert", insert_and_lose_the_answer)
    invoke(execution)
    record = stored(execution)
    assert (target.bodies, "delivered_attempt" in record) == ([], False)
    assert (record["status"], len(record.get("attempts", []))) == (("running", 1) if retry else ("fail", 0))


def test_a_machine_execution_takes_over_from_the_one_that_the_sweep_named_and_from_no_other(
    target: Target,
) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution, "m-1")
    again = machine_input(stored(execution))
    invoke({**again, "takes_over": "m-0"}, "m-2", NOON_MS + 60_000)
    assert (stored(execution)["machine_execution"], len(target.bodies)) == ("m-1", 1)
    invoke({**again, "takes_over": "m-1"}, "m-3", NOON_MS + 60_000)
    record = stored(execution)
    assert (record["machine_execution"], record["delivered_attempt"]) == ("m-3", 1)
    assert (record["sweep_at"], len(target.bodies)) == (NOON + 120, 2)
    for late, takes_over in (("m-1", None), ("m-4", "m-1")):
        invoke(execution if takes_over is None else {**again, "takes_over": takes_over}, late)
    assert (stored(execution), len(target.bodies)) == (record, 2)


def test_a_machine_execution_that_another_has_replaced_does_not_notify(target: Target) -> None:
    target.script = [503, 503]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution, "m-1")
    again = {**machine_input(stored(execution)), "takes_over": "m-1"}
    with pytest.raises(NotificationUndelivered):
        invoke(again, "m-2", NOON_MS + 60_000)
    invoke(execution, "m-1", NOON_MS + 61_000)
    assert (stored(execution)["machine_execution"], len(target.bodies)) == ("m-2", 2)
    invoke(again, "m-2", NOON_MS + 62_000)
    assert (stored(execution)["delivered_attempt"], len(target.bodies)) == (1, 3)


def moved(target: Target, **fields: Any) -> dict[str, Any]:
    """Lets a job move to another schedule that fires now too, before the tick of the old one is handled.

    Returns the input that the tick of the new schedule gives.
    """
    old = started(invocation_target=target.url, at_ms=NOON_MS - 1000)
    new = started(invocation_target=target.url, schedule="rate(1 hour)", at_ms=NOON_MS - 500, **fields)
    invoke(old, "m-old", NOON_MS + 1000)
    assert stored(old)["reason"]["code"] == "schedule_changed"
    return new


def test_a_job_that_moved_runs_under_the_name_with_moved(target: Target, published: list[str]) -> None:
    new = moved(target)
    invoke(new, "m-new", NOON_MS + 2000)
    name = f"{new['execution_id']}-moved"
    assert [body["execution_id"] for body in target.bodies] == [name]
    assert stored(new)["status"] == "skipped"
    assert stored({"execution_id": name})["machine_execution"] == "m-new"
    invoke(new, "m-new", NOON_MS + 3000)
    invoke(new, "m-newer", NOON_MS + 3000)
    assert (len(target.bodies), published) == (1, ["skipped", "running"])
    assert answer_to(target, status="success")[0] == 200
    assert stored({"execution_id": name})["status"] == "success"


def test_a_job_that_moved_to_a_standard_machine_runs_too(target: Target, machines: Machines) -> None:
    new = moved(target)
    changed = started(
        invocation_target=target.url, schedule="rate(1 hour)", workflow_type="standard", at_ms=NOON_MS - 400
    )
    run(changed, StandardTask("token"), NOON_MS + 2000)
    name = f"{new['execution_id']}-moved"
    assert [body["execution_id"] for body in target.bodies] == [name]
    assert stored({"execution_id": name})["task_token"] == "token"


def test_the_failure_of_a_job_that_moved_ends_what_runs_under_the_name_with_moved(
    target: Target, published: list[str]
) -> None:
    new = moved(target)
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        invoke(new, "m-new", NOON_MS + 2000)
    name = f"{new['execution_id']}-moved"
    assert fail(new, "m-other")["status"] == "running"
    assert (stored({"execution_id": name})["status"], published) == ("running", ["skipped", "running"])
    output = fail(new, "m-new")
    assert (output["execution_id"], output["error"]) == (name, "NotificationUndelivered")
    record = stored({"execution_id": name})
    assert (record["status"], "settled_at_ms" in record, published[2:]) == ("fail", True, ["fail"])
    assert stored(new)["status"] == "skipped"


def test_another_attempt_of_a_job_that_moved_follows_under_the_name_with_moved(target: Target) -> None:
    new = moved(target, retry={"max_attempts": 2, "interval_seconds": 30})
    target.script = [503]
    with pytest.raises(NotificationUndelivered):
        invoke(new, "m-new", NOON_MS + 2000)
    name = f"{new['execution_id']}-moved"
    output = fail(new, "m-new")
    assert (output["execution_id"], output["status"], output["attempt"]) == (name, "running", 2)
    assert stored({"execution_id": name})["sweep_at"] == NOON + 40


def test_a_job_that_moved_and_never_began_is_recorded_as_failed(target: Target, published: list[str]) -> None:
    new = moved(target)
    output = fail(new, "m-new", error="Lambda.TooManyRequestsException")
    name = f"{new['execution_id']}-moved"
    assert (output["execution_id"], output["error"]) == (name, "Manager.ExecutionNotBegun")
    assert "settled_at_ms" in stored({"execution_id": name})
    assert published == ["skipped", "fail"]


def test_the_failure_of_the_old_schedules_tick_is_none_of_the_job_that_moved(target: Target) -> None:
    new = moved(target)
    old = {**new, "schedule": "rate(5 minutes)"}
    assert fail(old, "m-old")["status"] == "skipped"
    assert executions.find(f"{new['execution_id']}-moved") is None


@pytest.mark.parametrize("has_begun", [True, False])
def test_the_failure_of_a_standard_machine_whose_job_moved_is_of_the_name_with_moved(
    target: Target, machines: Machines, has_begun: bool
) -> None:
    moved(target)
    changed = started(
        invocation_target=target.url, schedule="rate(1 hour)", workflow_type="standard", at_ms=NOON_MS - 400
    )
    if has_begun:
        run(changed, StandardTask("token"), NOON_MS + 2000)
    silent = {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "no heartbeat"}
    output = finish_execution(cast(FinishInput, {**changed, **silent}), lambda_context())
    assert output["execution_id"] == f"{changed['execution_id']}-moved"
    assert output["status"] == ("timeout" if has_begun else "running"), "begins once more, with patience"


@pytest.mark.parametrize("suffix", ["", "-moved"])
def test_a_run_without_a_move_is_no_run_of_a_moved_job(target: Target, suffix: str) -> None:
    execution = started(invocation_target=target.url, enabled=False)
    execution["execution_id"] += suffix
    invoke(execution, "m-1")
    invoke(execution, "m-2")
    assert target.bodies == []
    assert executions.find(f"{due()['execution_id']}-moved{suffix}") is None


def busy(target: Target, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Lets the service answer 503, and ask to be notified after so many seconds."""

    def answer(record: Execution, body: dict[str, Any]) -> Any:
        target.bodies.append(body)
        raise NotificationUndelivered("the target answered HTTP 503", seconds)

    monkeypatch.setattr("jobmanager.delivery.notify.uniform", lambda low, high: low)
    monkeypatch.setattr("jobmanager.delivery.notify.send", answer)


def test_a_service_that_asks_to_be_notified_later_is_left_to_the_sweep(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(target, monkeypatch, 20)
    execution = started(ttl_seconds=600)
    invoke(execution, at_ms=NOON_MS + 10_000)
    record = stored(execution)
    assert (record["sweep_at"], record["postponed"], record["status"]) == (NOON + 30, 1, "running")
    assert (record["machine_execution"], "delivered_attempt" in record) == ("postponed", False)
    assert machines.signals == []
    invoke(execution, "m-1", NOON_MS + 11_000)
    invoke(execution, "m-2", NOON_MS + 11_000)
    invoke(machine_input(record), "m-1", NOON_MS + 11_000)
    assert fail(execution, "m-1")["status"] == "running"
    assert (len(target.bodies), stored(execution)) == (1, record)


def held_job() -> Job:
    found = jobs.find("billing", "nightly")
    assert found is not None
    return found


def test_only_the_machine_that_notifies_after_a_wait_shortens_the_lock_again(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one of the same execution looks at it during the wait, and leaves it."""
    busy(target, monkeypatch, 20)
    execution = started(ttl_seconds=600, exclusive=True)
    invoke(execution, at_ms=NOON_MS + 10_000)
    record = stored(execution)
    held_until = held_job()["lock_expires_at"]
    assert held_until == record["lock_expires_at"] > NOON + 11 + 600
    invoke(machine_input(record), "m-2", NOON_MS + 11_000)
    assert (stored(execution), held_job()["lock_expires_at"]) == (record, held_until)
    monkeypatch.setattr("jobmanager.delivery.notify.send", lambda record, body: None)
    invoke(restarted(execution), "m-3", NOON_MS + 30_000)
    assert stored(execution)["lock_expires_at"] == held_job()["lock_expires_at"] == NOON + 30 + 600


def test_the_number_of_postponements_is_limited_and_begins_anew_with_another_attempt(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(target, monkeypatch, 20)
    retry = {"max_attempts": 2, "interval_seconds": 10}
    execution = started(ttl_seconds=600, retry=retry)
    invoke(execution, "m-0")
    for number in range(1, 5):
        invoke(restarted(execution), f"m-{number}")
    assert stored(execution)["postponed"] == 5
    with pytest.raises(NotificationUndelivered):
        invoke(restarted(execution), "m-5")
    assert fail(execution, "m-5")["attempt"] == 2
    assert "postponed" not in stored(execution)


def test_a_postponement_that_cannot_be_stored_is_a_retry_of_the_state(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(target, monkeypatch, 20)
    execution = started(ttl_seconds=600)
    monkeypatch.setattr("jobmanager.delivery.machines.store.update_if", throttled)
    with pytest.raises(NotificationUndelivered):
        invoke(execution, at_ms=NOON_MS + 10_000)
    assert stored(execution)["machine_execution"] == "m-1"


def test_a_heartbeat_during_a_503_keeps_the_execution_from_being_postponed(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(record: Execution, body: dict[str, Any]) -> Any:
        target.bodies.append(body)
        assert answer_to(target, status="processing")[0] == 200
        raise NotificationUndelivered("the target answered HTTP 503", 20)

    monkeypatch.setattr("jobmanager.delivery.notify.send", answer)
    execution = started(ttl_seconds=600)
    invoke(execution)
    record = stored(execution)
    assert (record["machine_execution"], record["delivered_attempt"]) == ("m-1", 1)
    assert "postponed" not in record


def test_a_delivery_that_cannot_be_noted_is_logged_and_the_execution_goes_on(
    target: Target, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    execution = started(invocation_target=target.url)
    with monkeypatch.context() as patched:
        patched.setattr("jobmanager.delivery.machines.store.update_if", throttled)
        invoke(execution)
    assert "the notification was not noted as delivered" in [line.message for line in caplog.records]
    assert "delivered_attempt" not in stored(execution)
    assert answer_to(target, status="success")[0] == 200


def test_a_sync_job_is_settled_by_its_answer(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url, exclusive=True, **{"async": False, "ttl_seconds": 60})
    invoke(execution)
    record = stored(execution)
    assert (record["status"], "settled_at_ms" in record, machines.signals) == ("success", True, [])
    assert "lock_execution" not in jobs.read("billing", "nightly")


def test_the_sweep_looks_at_a_sync_job_no_earlier_than_at_its_deadline(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Execution] = []

    def look(record: Execution, body: dict[str, Any]) -> Any:
        seen.append(stored(record))
        return send(record, body)

    monkeypatch.setattr("jobmanager.delivery.notify.send", look)
    target.script = [503]
    execution = started(invocation_target=target.url, **{"async": False, "ttl_seconds": 60})
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    invoke(execution, at_ms=NOON_MS + 4000)
    assert [(each["sweep_at"], each["lock_expires_at"]) for each in seen] == [
        (NOON + 75, NOON + 75),
        (NOON + 79, NOON + 79),
    ]


@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_an_answer_that_cannot_be_recorded_is_the_end_whatever_the_job_retries(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch, workflow_type: str
) -> None:
    """The service has done its work, so it is not called again."""
    retry = {"max_attempts": 3, "interval_seconds": 30, "on": ["fail", "timeout"]}
    execution = started(
        invocation_target=target.url,
        workflow_type=workflow_type,
        retry=retry,
        **{"async": False, "ttl_seconds": 60},
    )
    machine = {"express": ExpressExecution("m-1"), "standard": StandardTask("token")}[workflow_type]
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.delivery.notify.end_attempt", throttled)
        failing.setattr("time.sleep", lambda _: None)
        with pytest.raises(AnswerNotRecorded) as not_recorded:
            run(execution, cast(Machine, machine), NOON_MS)
    failed = {"status": "fail", "error": AnswerNotRecorded.__name__, "cause": str(not_recorded.value)}
    of_express = {"machine_execution": "m-1"} if workflow_type == "express" else {}
    finish_execution(cast(FinishInput, {**execution, **failed, **of_express}), lambda_context())
    record = stored(execution)
    assert (record["status"], "attempts" in record, "settled_at_ms" in record) == ("fail", False, True)
    assert (record["error"], record["fault"]) == ('"AnswerNotRecorded"', "manager")
    assert len(target.bodies) == 1


@pytest.mark.parametrize("is_async", [True, False])
def test_a_rejected_notification_fails_the_execution(target: Target, is_async: bool) -> None:
    target.script = [404]
    execution = started(
        invocation_target=target.url, exclusive=True, **{"async": is_async, "ttl_seconds": 60}
    )
    invoke(execution)
    record = stored(execution)
    assert (record["status"], record["error"]) == ("fail", '"Job.NotificationRejected"')
    assert ("settled_at_ms" in record, "fault" in record) == (True, False)


@pytest.mark.parametrize("is_async", [True, False])
def test_after_a_rejection_the_next_attempt_waits_for_the_sweep(target: Target, is_async: bool) -> None:
    target.script = [404]
    retry = {"max_attempts": 2, "interval_seconds": 30}
    execution = started(invocation_target=target.url, retry=retry, **{"async": is_async, "ttl_seconds": 60})
    invoke(execution)
    record = stored(execution)
    assert (record["status"], len(record["attempts"]), record["sweep_at"]) == ("running", 1, NOON + 40)
    assert not record.keys() & {"machine_execution", "service_invoked_at_ms"}
    for machine in ("m-1", "m-2"):
        invoke(execution, machine, NOON_MS + 12_000)
    assert (len(target.bodies), stored(execution)) == (1, record)


def test_a_retry_of_an_execution_that_has_ended_settles_it(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.script = [404]
    execution = started(invocation_target=target.url, exclusive=True)
    with monkeypatch.context() as failing:
        failing.setattr("jobmanager.executions.settle.publish_event", throttled)
        with pytest.raises(ClientError):
            invoke(execution)
    assert (stored(execution)["status"], "settled_at_ms" in stored(execution)) == ("fail", False)
    invoke(execution, at_ms=NOON_MS + 1000)
    assert ("settled_at_ms" in stored(execution), len(target.bodies)) == (True, 1)


def test_a_service_that_is_never_reached_fails_the_execution(target: Target) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url, exclusive=True)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    assert fail(execution) == {
        "execution_id": execution["execution_id"],
        "status": "fail",
        "error": "NotificationUndelivered",
        "cause": "the target answered HTTP 503",
    }
    record = stored(execution)
    assert ("settled_at_ms" in record, "fault" in record) == (True, False)
    assert "lock_execution" not in jobs.read("billing", "nightly")


LAST_TRIES = [(True, 260), (False, 210)]


@pytest.mark.parametrize(("is_async", "seconds"), LAST_TRIES)
@pytest.mark.parametrize("is_retried", [False, True])
def test_a_machine_that_has_no_time_for_another_try_ends_the_attempt(
    target: Target, at: Callable[[int], None], is_async: bool, seconds: int, is_retried: bool
) -> None:
    """Else the machine is over before it tells, and the sweep takes the service for silent."""
    target.script = [503] * 2
    retry = {"retry": {"max_attempts": 2, "interval_seconds": 30}} if is_retried else {}
    fields = {"async": is_async, "ttl_seconds": 60, "max_duration_seconds": 600, **retry}
    execution = started(invocation_target=target.url, exclusive=True, **fields)
    at(seconds)
    with pytest.raises(NotificationUndelivered, match="503"):
        invoke(execution)
    at(seconds + 1)
    invoke(execution)
    record = stored(execution)
    ended: Any = record["attempts"][0] if is_retried else record
    assert (ended["status"], ended["error"]) == ("fail", '"NotificationUndelivered"')
    assert (ended["cause"], "fault" in ended) == ("the target answered HTTP 503", False)
    assert (record["status"], "settled_at_ms" in record) == (
        ("running", False) if is_retried else ("fail", True)
    )
    assert ("lock_execution" in jobs.read("billing", "nightly")) == is_retried
    assert len(target.bodies) == 2


def test_a_heartbeat_during_the_last_try_keeps_the_execution(
    target: Target, at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused_after_a_heartbeat(record: Execution, body: dict[str, Any]) -> Any:
        target.bodies.append(body)
        monkeypatch.setattr("jobmanager.delivery.notify._came_through", lambda _: False)
        assert answer_to(target, status="processing")[0] == 200
        raise NotificationUndelivered("the target answered HTTP 504")

    monkeypatch.setattr("jobmanager.delivery.notify.send", refused_after_a_heartbeat)
    execution = started(invocation_target=target.url)
    at(280)
    invoke(execution)
    record = stored(execution)
    assert (record["status"], record["delivered_attempt"]) == ("running", 1)


def test_a_machine_that_has_no_time_left_leaves_an_attempt_that_another_has_taken_over(
    target: Target, at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused_after_a_takeover(record: Execution, body: dict[str, Any]) -> Any:
        monkeypatch.setattr("jobmanager.delivery.notify.send", send)
        with pytest.raises(NotificationUndelivered, match="503"):
            invoke(restarted(execution), "m-2", NOON_MS + 280_000, NOON_MS + 280_000)
        raise NotificationUndelivered("the target answered HTTP 504")

    monkeypatch.setattr("jobmanager.delivery.notify.send", refused_after_a_takeover)
    target.script = [503]
    execution = started(invocation_target=target.url)
    at(280)
    invoke(execution)
    assert (stored(execution)["status"], stored(execution)["machine_execution"]) == ("running", "m-2")


def test_a_machine_of_the_version_before_does_not_say_how_long_it_has(target: Target) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url)
    arn = f"{ARN}:{execution['execution_id']}:m-1"
    with pytest.raises(NotificationUndelivered, match="503"):
        run(execution, machine_of({"execution": execution, "machine_execution": arn}), NOON_MS)


def test_a_service_that_was_not_reached_is_notified_of_its_next_attempt_by_the_sweep(target: Target) -> None:
    target.script = [503]
    retry = {"max_attempts": 2, "interval_seconds": 30}
    execution = started(invocation_target=target.url, retry=retry)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    for _ in range(2):
        output = fail(execution)
        assert (output["status"], output["attempt"]) == ("running", 2)
    record = stored(execution)
    expires_at = NOON + 40 + attempts.seconds_to_sweep() + TTL
    assert (record["sweep_at"], record["lock_expires_at"]) == (NOON + 40, expires_at)
    assert "machine_execution" not in record
    invoke(machine_input(record), "m-2", NOON_MS + 41_000)
    assert [body["attempt"] for body in target.bodies] == [1, 2]
    record = stored(execution)
    assert (record["machine_execution"], record["delivered_attempt"]) == ("m-2", 2)
    assert record["sweep_at"] == NOON + 101


def test_an_undelivered_notification_that_a_heartbeat_proves_is_not_the_end(target: Target) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    assert answer_to(target, status="processing")[0] == 200
    assert fail(execution)["status"] == "running"
    assert answer_to(target, status="success")[0] == 200


def test_a_failure_of_the_manager_after_the_attempt_began_is_recorded_as_its_fault(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = started(invocation_target=target.url)
    monkeypatch.setattr("jobmanager.delivery.notify.send", kills)
    with pytest.raises(Killed):
        invoke(execution)
    fail(execution, error="States.Timeout", cause="")
    record = stored(execution)
    assert (record["status"], record["error"], record["fault"]) == ("fail", '"Manager.Timeout"', "manager")


def test_a_failure_after_the_service_was_notified_is_none(target: Target) -> None:
    """The function may die between its last write and its end."""
    execution = started(invocation_target=target.url)
    invoke(execution)
    assert fail(execution, error="Lambda.TooManyRequestsException")["status"] == "running"
    assert answer_to(target, status="success")[0] == 200


def test_the_failure_of_a_machine_execution_that_does_not_own_the_record_leaves_it(target: Target) -> None:
    execution = started(invocation_target=target.url)
    invoke(execution, "m-1")
    before = stored(execution)
    assert fail(execution, "m-2", error="Lambda.TooManyRequestsException")["status"] == "running"
    assert stored(execution) == before


@pytest.mark.parametrize("error", ["NotificationUndelivered", "States.Timeout", "Lambda.Unknown"])
@pytest.mark.parametrize("retry", [None, {"max_attempts": 2, "interval_seconds": 30}])
@pytest.mark.parametrize("is_by_hand", [False, True])
def test_the_failure_of_a_dead_machine_execution_leaves_an_attempt_that_another_has_just_taken_over(
    target: Target, monkeypatch: pytest.MonkeyPatch, error: str, retry: Any, is_by_hand: bool
) -> None:
    """It does so between the read and the write of finish_execution."""
    target.script = [503] if is_by_hand else [503, 503]
    execution = started(invocation_target=target.url, **({"retry": retry} if retry else {}))
    if is_by_hand:  # then the record names no machine execution, and m-1 has died before it began
        execution = machine_input(begin_by_hand(due(), ByHand(started_by="ann"), NOON_MS))
        again = execution
    else:
        with pytest.raises(NotificationUndelivered):
            invoke(execution, "m-1")
        again = restarted(execution)
    find = executions.find

    def find_and_take_over(execution_id: str) -> Execution | None:
        found = find(execution_id)
        monkeypatch.setattr(executions, "find", find)
        with pytest.raises(NotificationUndelivered):
            invoke(again, "m-2", NOON_MS + 60_000)
        return found

    monkeypatch.setattr(executions, "find", find_and_take_over)
    assert fail(execution, "m-1", error=error)["status"] == "running"
    record = stored(execution)
    assert (record["status"], record["machine_execution"], "attempts" in record) == ("running", "m-2", False)
    invoke(again, "m-2", NOON_MS + 62_000)
    assert stored(execution)["delivered_attempt"] == 1


def test_a_heartbeat_between_read_and_write_wins_over_a_failure_of_the_manager(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.script = [503]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    find = executions.find

    def find_and_beat(execution_id: str) -> Execution | None:
        found = find(execution_id)
        monkeypatch.setattr(executions, "find", find)
        assert answer_to(target, status="processing")[0] == 200
        return found

    monkeypatch.setattr(executions, "find", find_and_beat)
    assert fail(execution, error="States.Timeout")["status"] == "running"
    assert answer_to(target, status="success")[0] == 200


def test_an_execution_that_never_began_is_recorded_as_failed() -> None:
    execution = started()
    assert fail(execution, error="Lambda.TooManyRequestsException")["error"] == "Manager.ExecutionNotBegun"
    record = stored(execution)
    assert ("settled_at_ms" in record, record["fault"]) == (True, "manager")
    assert record["workflow_type"] == "express"
    invoke(execution, "m-2")
    assert stored(execution) == record


def test_an_execution_keeps_its_type_while_its_job_gets_another(target: Target) -> None:
    execution = started(invocation_target=target.url)
    invoke(execution)
    save_job(invocation_target=target.url, workflow_type="standard", ttl_seconds=TTL)
    assert answer_to(target, status="processing")[0] == 200
    assert stored(execution)["workflow_type"] == "express"
    assert answer_to(target, status="success")[0] == 200
    assert "settled_at_ms" in stored(execution)
    later = {**due(at_ms=NOON_MS + 300_000), **task_limits(jobs.read("billing", "nightly"))}
    run(later, StandardTask("token"), NOON_MS + 300_000)
    record = stored(later)
    assert ("workflow_type" in record, record["task_token"]) == (False, "token")


def test_a_tick_that_comes_again_as_one_of_another_type_notifies_nobody_again(
    target: Target, machines: Machines
) -> None:
    execution = started(invocation_target=target.url)
    invoke(execution)
    run(execution, StandardTask("token"), NOON_MS + 1000)
    assert len(target.bodies) == 1
    other = {**due(at_ms=NOON_MS + 300_000), **task_limits(jobs.read("billing", "nightly"))}
    run(other, StandardTask("token"), NOON_MS + 300_000)
    invoke(other, "m-1", NOON_MS + 301_000)
    assert (len(target.bodies), stored(other)["task_token"]) == (2, "token")


def test_a_cancelled_execution_is_settled_and_nothing_is_stopped(target: Target, machines: Machines) -> None:
    execution = started(invocation_target=target.url, exclusive=True)
    invoke(execution)
    cancelled = cancel(stored(execution), "by ann", NOON_MS + 5000)
    assert (cancelled["status"], cancelled["settled_at_ms"]) == ("cancelled", NOON_MS + 5000)
    assert (machines.stopped, machines.signals) == ([], [])
    assert "lock_execution" not in jobs.read("billing", "nightly")
    assert answer_to(target, status="success")[0] == 410
    invoke(execution, at_ms=NOON_MS + 6000)
    assert len(target.bodies) == 1


def test_a_heartbeat_extends_the_deadline_and_leaves_the_sweep(target: Target, machines: Machines) -> None:
    target.script = [504]
    execution = started(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered):
        invoke(execution)
    assert answer_to(target, status="processing", progress=0.5)[0] == 200
    record = stored(execution)
    assert (record["lock_expires_at"], record["sweep_at"]) == (NOON + 10 + TTL, NOON + 60)
    assert (record["delivered_attempt"], record["progress"]) == (1, 0.5)
    invoke(execution, at_ms=NOON_MS + 11_000)
    assert (len(target.bodies), stored(execution)) == (1, record)


@pytest.mark.parametrize(("seconds", "sweep_at"), [(30, NOON + 40), (50, NOON + 60), (51, NOON + 61)])
def test_a_shorter_deadline_that_the_service_asks_for_moves_the_sweep(
    target: Target, seconds: int, sweep_at: int
) -> None:
    execution = started(invocation_target=target.url)
    invoke(execution)
    assert answer_to(target, status="processing", extend_seconds=seconds)[0] == 200
    record = stored(execution)
    assert (record["lock_expires_at"], record["sweep_at"]) == (NOON + 10 + seconds, sweep_at)


def test_between_two_attempts_a_final_callback_may_be_repeated_and_no_other_comes_in(
    target: Target, machines: Machines, at: Callable[[int], None]
) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 30}
    execution = started(invocation_target=target.url, retry=retry, exclusive=True)
    invoke(execution)
    answers = [answer_to(target, status="fail", error="LedgerBusy") for _ in range(2)]
    assert [(status, answer["next_attempt_at"]) for status, answer in answers] == [
        (200, "2026-11-23T12:00:40Z"),
        (200, "2026-11-23T12:00:40Z"),
    ]
    before = stored(execution)
    at(20)
    others: list[dict[str, Any]] = [
        {"status": "processing"},
        {"status": "success"},
        {"status": "fail", "error": "Other"},
    ]
    for body in others:
        assert answer_to(target, **body)[0] == 410
    assert (stored(execution), machines.signals) == (before, [])
    assert (before["sweep_at"], "machine_execution" in before) == (NOON + 40, False)
    # The sweep comes each minute, so the lock must last longer than that of a Standard machine.
    assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON + 40 + 240 + TTL


def test_an_attempt_after_the_deletion_of_its_job_ends_as_cancelled(target: Target) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 30}
    execution = started(invocation_target=target.url, retry=retry)
    invoke(execution)
    assert answer_to(target, status="fail", error="LedgerBusy")[0] == 200
    changes.delete("billing", "nightly", "tester", NOON_MS + 20_000)
    invoke(machine_input(stored(execution)), "m-2", NOON_MS + 41_000)
    record = stored(execution)
    assert (record["status"], record["reason"]["code"]) == ("cancelled", "job_deleted")
    assert ("settled_at_ms" in record, len(target.bodies)) == (True, 1)


def test_a_skipped_execution_is_one_write_and_one_event(
    machines: Machines, writes: list[str], published: list[str]
) -> None:
    execution = started(enabled=False)
    writes.clear()
    invoke(execution)
    record = stored(execution)
    assert (writes, published) == (["put_item"], ["skipped"])
    assert (record["reason"]["code"], record["settled_at_ms"]) == ("job_disabled", NOON_MS)
    assert record["workflow_type"] == "express"
    assert not record.keys() & {"sweep_shard", "sweep_at"}
    invoke(execution, "m-2")
    assert (stored(execution), published) == (record, ["skipped"])


class Killed(BaseException):
    """The function is killed."""


def kills(*_: Any) -> None:
    raise Killed


def test_a_retry_publishes_the_event_of_a_skip_after_which_the_function_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str] = []
    execution = started(enabled=False)
    monkeypatch.setattr("jobmanager.executions.skip.publish_event", kills)
    with pytest.raises(Killed):
        invoke(execution)
    monkeypatch.setattr("jobmanager.executions.skip.publish_event", lambda *_: found.append("published"))
    invoke(execution, "another machine execution")
    assert found == []
    invoke(execution, at_ms=NOON_MS + 1000)
    assert found == ["published"]
    assert fail(execution, error="Lambda.Unknown")["status"] == "skipped"
    assert found == ["published"] * 2


def test_a_skip_whose_event_sns_does_not_take_is_found_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = started(enabled=False)
    with monkeypatch.context() as failing:
        for module in ("skip", "settle"):
            failing.setattr(f"jobmanager.executions.{module}.publish_event", throttled)
        with pytest.raises(ClientError):
            invoke(execution)
    opened = stored(execution)
    assert opened["sweep_at"] == NOON_MS // 1000
    assert "settled_at_ms" not in opened
    published: list[str] = []
    monkeypatch.setattr("jobmanager.executions.settle.publish_event", lambda *_: published.append("event"))
    assert reap(NOON_MS + 120_000, lambda: 300_000)["closed"] == 1
    assert published == ["event"]
    assert "sweep_shard" not in stored(execution)


def test_a_repeated_start_of_a_skipped_execution_does_not_run_it(target: Target) -> None:
    execution = started(invocation_target=target.url, enabled=False)
    invoke(execution)
    save_job(invocation_target=target.url, workflow_type="express")
    for machine in ("m-1", "m-2"):
        invoke(execution, machine, NOON_MS + 1000)
    assert (stored(execution)["status"], target.bodies) == ("skipped", [])


def test_a_begun_execution_without_a_machine_is_free_for_the_first_that_comes(target: Target) -> None:
    save_job(invocation_target=target.url, workflow_type="express")
    record = begin_by_hand(due(), ByHand(started_by="somebody"), NOON_MS)
    invoke(machine_input(record), "m-1", NOON_MS + 1000)
    invoke(machine_input(record), "m-2", NOON_MS + 1000)
    assert (len(target.bodies), stored(record)["machine_execution"]) == (1, "m-1")
