"""The sweep: goes on with Express executions that nothing else goes on with, and moves ``sweep_at``."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.callbacks.receive import apply_callback
from jobmanager.core.errors import AwsCallFailed, Gone, NotificationUndelivered
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.executions import attempts
from jobmanager.executions import reap as reaper
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.reap import reap
from jobmanager.executions.record import Execution
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store as jobs
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import NOON_MS, due, save_job, stored
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud", "machines")
NOON = NOON_MS // 1000
TTL, GRACE = 300, 60
RETRY = {"max_attempts": 2, "interval_seconds": 100, "on": ["fail", "timeout"]}
NOTHING = {"reaped": 0, "retried": 0, "closed": 0, "restarted": 0}


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of callbacks and of answers, in seconds after noon."""

    def set_clock(seconds: int) -> None:
        for module in ("functions.receive_callback.handler", "jobmanager.delivery.notify"):
            monkeypatch.setattr(f"{module}.now_ms", lambda: NOON_MS + seconds * 1000)

    set_clock(0)
    return set_clock


def sweep(seconds: int) -> dict[str, int]:
    """Sweeps so many seconds after noon. Returns what it did, without what it did not."""
    done = reap(NOON_MS + seconds * 1000, lambda: 300_000)
    assert done.keys() == NOTHING.keys()
    return {name: number for name, number in done.items() if number}


def begun(target: Target, **fields: Any) -> dict[str, Any]:
    """Lets an Express execution begin at noon. Returns its input. The target may refuse the notification."""
    job = save_job(
        **{"workflow_type": "express", "ttl_seconds": TTL, "invocation_target": target.url, **fields}
    )
    execution = {**due(), **task_limits(job)}
    try:
        notify(execution, "m-1")
    except NotificationUndelivered:
        assert "delivered_attempt" not in stored(execution)
    return execution


def notify(execution: dict[str, Any], machine: str, seconds: int = 0) -> None:
    """Does what an execution of the Express machine does."""
    event = {"execution": execution, "machine_execution": f"arn:aws:states:a:b:express:c:d:{machine}"}
    run(execution, machine_of(event), NOON_MS + seconds * 1000)


def is_locked() -> bool:
    return "lock_execution" in jobs.read("billing", "nightly")


def test_an_attempt_that_was_not_delivered_within_a_minute_gets_another_machine_execution(
    target: Target, machines: Machines
) -> None:
    target.script = [503]
    execution = begun(target, exclusive=True)
    assert (sweep(59), machines.started) == ({}, [])
    assert sweep(60) == {"restarted": 1}
    ((name, passed),) = machines.started
    assert name == "sjm-test-run-job-express"
    assert (passed["takes_over"], passed["attempt"], passed["workflow_type"]) == ("m-1", 1, "express")
    assert stored(execution)["sweep_at"] == NOON + 120
    assert (sweep(60), sweep(119)) == ({}, {})
    notify(passed, "m-2", 100)
    record = stored(execution)
    assert (record["machine_execution"], record["delivered_attempt"], len(target.bodies)) == ("m-2", 1, 2)
    assert (sweep(220), stored(execution)["sweep_at"]) == ({}, NOON + 100 + TTL)
    assert call_back(target, status="success") == 200
    assert "sweep_at" not in stored(execution)


def test_the_sweep_restarts_an_execution_each_minute_until_its_service_was_notified(
    target: Target, machines: Machines
) -> None:
    target.script = [503]
    begun(target)
    assert [sweep(seconds) for seconds in (61, 121, 181)] == [{"restarted": 1}] * 3
    assert [passed["takes_over"] for _, passed in machines.started] == ["m-1"] * 3
    for number, (_, passed) in enumerate(machines.started):
        notify(passed, f"m-{2 + number}", 190)
    assert len(target.bodies) == 2


def test_of_two_sweeps_at_once_one_restarts_an_execution(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.script = [503]
    execution = begun(target)
    find = executions.find
    others: list[dict[str, int]] = []

    def find_and_let_another_sweep(execution_id: str) -> Execution | None:
        found = find(execution_id)
        monkeypatch.setattr(executions, "find", find)
        others.append(sweep(60))
        return found

    monkeypatch.setattr(executions, "find", find_and_let_another_sweep)
    assert (sweep(60), others) == ({}, [{"restarted": 1}])
    assert len(machines.started) == 1
    assert stored(execution)["sweep_at"] == NOON + 120


def test_a_restart_that_step_functions_refuses_is_tried_again_a_minute_later(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")

    target.script = [503]
    begun(target)
    with monkeypatch.context() as failing:
        failing.setattr(machines, "start_execution", refuse)
        with pytest.raises(AwsCallFailed, match="1 overdue"):
            sweep(60)
    assert sweep(120) == {"restarted": 1}


def stale(monkeypatch: pytest.MonkeyPatch, execution: Mapping[str, Any]) -> None:
    """Lets the index still have the execution at the time that its sweep_at was before."""
    monkeypatch.setattr(executions, "due_for_sweep", lambda now: iter([execution["execution_id"]]))


def test_an_execution_whose_index_entry_is_old_is_not_restarted(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function may have just begun to notify the service once more."""
    target.script = [503, 503]
    execution = begun(target)
    with pytest.raises(NotificationUndelivered):
        notify(execution, "m-1", 50)
    before = stored(execution)
    stale(monkeypatch, execution)
    assert (sweep(61), machines.started, stored(execution)) == ({}, [], before)


def test_a_next_attempt_whose_index_entry_is_old_still_begins_at_its_time(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch, at: Callable[[int], None]
) -> None:
    execution = begun(target, retry=RETRY)
    at(59)
    assert call_back(target, status="fail", error="LedgerBusy") == 200
    with monkeypatch.context() as patched:
        stale(patched, execution)
        assert sweep(61) == {}
    assert stored(execution)["sweep_at"] == NOON + 159
    assert (sweep(158), sweep(159)) == ({}, {"restarted": 1})


def test_a_next_attempt_begins_at_its_time_and_not_before(
    target: Target, machines: Machines, at: Callable[[int], None]
) -> None:
    execution = begun(target, retry=RETRY, exclusive=True)
    at(30)
    assert call_back(target, status="fail", error="LedgerBusy") == 200
    assert (sweep(129), machines.started) == ({}, [])
    assert sweep(130) == {"restarted": 1}
    ((_, passed),) = machines.started
    assert (passed["attempt"], passed["next_attempt_at"]) == (2, "2026-11-23T12:02:10Z")
    assert "takes_over" not in passed
    assert (sweep(189), sweep(190)) == ({}, {"restarted": 1}), "the first start has not notified anybody"
    notify(passed, "m-2", 191)
    notify(machines.started[1][1], "m-3", 192)
    assert [body["attempt"] for body in target.bodies] == [1, 2]
    assert (stored(execution)["machine_execution"], is_locked()) == ("m-2", True)
    at(200)
    assert call_back(target, status="success") == 200
    assert not is_locked()


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_next_attempt_begins_although_the_sweep_comes_after_its_ttl(
    target: Target, machines: Machines, exclusive: bool
) -> None:
    execution = begun(target, retry=RETRY, ttl_seconds=10, exclusive=exclusive)
    assert call_back(target, status="fail", error="LedgerBusy") == 200
    late = 100 + 10 + GRACE + 1
    assert sweep(late) == {"restarted": 1}
    notify(machines.started[0][1], "m-2", late + 1)
    assert [body["attempt"] for body in target.bodies] == [1, 2]
    assert stored(execution)["lock_expires_at"] == NOON + late + 1 + 10


def test_the_lock_of_a_next_attempt_ends_with_its_execution(target: Target) -> None:
    execution = begun(target, retry=RETRY, ttl_seconds=10, max_duration_seconds=150)
    assert call_back(target, status="fail", error="LedgerBusy") == 200
    assert stored(execution)["lock_expires_at"] == NOON + 150


def test_a_postponed_notification_is_sent_at_the_time_that_the_service_asked_for(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(*_: Any) -> Any:
        raise NotificationUndelivered("the target answered HTTP 503", 100)

    monkeypatch.setattr("jobmanager.delivery.notify.uniform", lambda low, high: low)
    with monkeypatch.context() as busy:
        busy.setattr("jobmanager.delivery.notify.send", later)
        execution = begun(target)
    assert (sweep(99), sweep(100)) == ({}, {"restarted": 1})
    ((_, passed),) = machines.started
    assert passed["takes_over"] == "postponed"
    notify(passed, "m-2", 101)
    assert (stored(execution)["delivered_attempt"], len(target.bodies)) == (1, 1)


def test_a_postponed_notification_is_sent_before_its_lock_expires(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late in its minute the sweep comes: another tick must not take the lock before."""

    def later(*_: Any) -> Any:
        raise NotificationUndelivered("the target answered HTTP 503", 86_400)

    with monkeypatch.context() as busy:
        busy.setattr("jobmanager.delivery.notify.send", later)
        execution = begun(target, exclusive=True)
    waits_until = stored(execution)["sweep_at"]
    assert NOON < waits_until < NOON + TTL
    late = waits_until - NOON + 60
    assert (sweep(late - 60), begin(due(at_ms=NOON_MS + late * 1000), NOON_MS + late * 1000)["status"]) == (
        {"restarted": 1},
        "skipped",
    )
    notify(machines.started[0][1], "m-2", late)
    assert stored(execution)["delivered_attempt"] == 1


SYNC: dict[str, Any] = {"async": False, "ttl_seconds": 60, "max_duration_seconds": 1000}


def postponed(target: Target, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> dict[str, Any]:
    """Lets an execution begin whose service asks to be notified 4 seconds later. Its silence may last 10."""

    def later(*_: Any) -> Any:
        raise NotificationUndelivered("the target answered HTTP 503", 4)

    with monkeypatch.context() as busy:
        busy.setattr("jobmanager.delivery.notify.send", later)
        return begun(target, **{**fields, "ttl_seconds": 10})


@pytest.mark.parametrize("seconds", [60, 10 + GRACE + 30])
@pytest.mark.parametrize("fields", [{}, SYNC], ids=["async", "sync"])
def test_a_postponed_notification_is_sent_although_the_sweep_comes_after_ttl_seconds(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], seconds: int
) -> None:
    execution = postponed(target, monkeypatch, exclusive=True, **fields)
    assert sweep(seconds) == {"restarted": 1}
    notify(machines.started[0][1], "m-2", seconds)
    record = stored(execution)
    assert ([body["attempt"] for body in target.bodies], "attempts" in record) == ([1], False)
    assert record["status"] == ("running" if record["async"] else "success")


@pytest.mark.parametrize("fields", [{}, SYNC], ids=["async", "sync"])
def test_a_postponed_notification_that_is_never_sent_is_the_managers_failure(
    target: Target, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    execution = postponed(target, monkeypatch, **{**fields, "max_duration_seconds": 1000})
    late = 5 + attempts.seconds_to_sweep() + 10 + GRACE + 1
    assert (sweep(late - 1 - GRACE), sweep(late)) == ({"restarted": 1}, {"reaped": 1})
    record = stored(execution)
    assert (record["status"], record["error"]) == ("fail", '"Manager.NotNotified"')


@pytest.mark.parametrize("fields", [{}, SYNC], ids=["async", "sync"])
def test_a_postponed_execution_that_lasts_too_long_times_out(
    target: Target, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    execution = postponed(target, monkeypatch, **{**fields, "max_duration_seconds": 70})
    assert sweep(70 + GRACE + 1) == {"reaped": 1}
    record = stored(execution)
    assert (record["status"], record["error"]) == ("timeout", '"Job.Timeout"')


def test_a_sync_execution_is_not_restarted_while_its_function_may_wait_for_the_answer(
    target: Target, machines: Machines
) -> None:
    target.script = [503]
    execution = begun(target, **SYNC)
    assert stored(execution)["sweep_at"] == NOON + 75
    assert [sweep(seconds) for seconds in (60, 75, 75 + GRACE)] == [{}] * 3
    assert machines.started == []
    assert sweep(75 + GRACE + 1) == {"reaped": 1}
    record = stored(execution)
    assert (record["status"], record["error"]) == ("timeout", '"Job.HeartbeatTimeout"')
    assert ("settled_at_ms" in record, machines.stopped) == (True, [])


def test_a_sync_execution_that_no_machine_runs_is_started(target: Target, machines: Machines) -> None:
    save_job(workflow_type="express", invocation_target=target.url, **SYNC)
    record = begin_by_hand(due(), {"started_by": "ann"}, NOON_MS)
    assert (sweep(74), sweep(75)) == ({}, {"restarted": 1})
    notify(machines.started[0][1], "m-1", 76)
    assert stored(record)["status"] == "success"


def test_the_next_attempt_of_a_sync_execution_is_started(target: Target, machines: Machines) -> None:
    target.script = [404]
    execution = begun(target, retry=RETRY, **SYNC)
    assert (sweep(99), sweep(100)) == ({}, {"restarted": 1})
    notify(machines.started[0][1], "m-2", 101)
    assert (stored(execution)["status"], len(target.bodies)) == ("success", 2)


def test_an_execution_by_hand_whose_machine_was_never_started_is_started(
    target: Target, machines: Machines
) -> None:
    save_job(workflow_type="express", invocation_target=target.url)
    record = begin_by_hand(due(), {"started_by": "ann", "payload": "p"}, NOON_MS)
    assert (sweep(59), sweep(60)) == ({}, {"restarted": 1})
    ((name, passed),) = machines.started
    assert (name, "takes_over" in passed) == ("sjm-test-run-job-express", False)
    notify(passed, "m-1", 61)
    assert [body["payload"] for body in target.bodies] == ["p"]
    assert stored(record)["delivered_attempt"] == 1


def test_the_sweep_moves_its_time_after_the_deadline_that_heartbeats_have_moved(
    target: Target, at: Callable[[int], None]
) -> None:
    execution = begun(target)
    assert (sweep(60), stored(execution)["sweep_at"]) == ({}, NOON + TTL)
    at(200)
    assert call_back(target, status="processing") == 200
    record = stored(execution)
    assert (record["sweep_at"], record["lock_expires_at"]) == (NOON + TTL, NOON + 200 + TTL)
    assert (sweep(TTL - 1), stored(execution)["sweep_at"]) == ({}, NOON + TTL)
    assert (sweep(TTL), stored(execution)["sweep_at"]) == ({}, NOON + 200 + TTL)
    assert sweep(200 + TTL + GRACE) == {}
    assert sweep(200 + TTL + GRACE + 1) == {"reaped": 1}
    assert stored(execution)["status"] == "timeout"


def test_an_execution_of_which_no_heartbeat_comes_times_out(target: Target, machines: Machines) -> None:
    execution = begun(target, exclusive=True)
    assert [sweep(seconds) for seconds in (60, TTL, TTL + GRACE)] == [{}] * 3
    assert sweep(TTL + GRACE + 1) == {"reaped": 1}
    record = stored(execution)
    assert (record["status"], record["error"]) == ("timeout", '"Job.HeartbeatTimeout"')
    assert record["cause"] == "no heartbeat and no result until 2026-11-23T12:05:00Z; reaped"
    assert ("settled_at_ms" in record, "fault" in record, is_locked()) == (True, False, False)
    assert (machines.stopped, machines.signals, machines.started) == ([], [], [])


def test_after_a_timeout_the_next_attempt_begins(target: Target, machines: Machines) -> None:
    execution = begun(target, retry=RETRY, exclusive=True)
    over = TTL + GRACE + 1
    # The lock lasts until the sweep has surely decided.
    assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON + TTL + 240
    assert sweep(over) == {"retried": 1}
    record = stored(execution)
    assert (record["status"], record["attempts"][0]["status"]) == ("running", "timeout")
    assert (record["sweep_at"], is_locked(), machines.signals) == (NOON + over + 100, True, [])
    assert (sweep(over + 99), sweep(over + 100)) == ({}, {"restarted": 1})
    notify(machines.started[0][1], "m-2", over + 101)
    assert [body["attempt"] for body in target.bodies] == [1, 2]


def test_the_locks_last_as_long_as_the_sweep_of_the_stage_may_take(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS_TO_SWEEP", "4320")
    execution = begun(target, retry=RETRY, exclusive=True, max_duration_seconds=20_000)
    assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON + TTL + 4320
    assert sweep(TTL + GRACE + 1) == {"retried": 1}
    begins_at = NOON + TTL + GRACE + 1 + 100
    assert stored(execution)["lock_expires_at"] == begins_at + 4320 + TTL
    assert jobs.read("billing", "nightly")["lock_expires_at"] == begins_at + 2 * 4320 + TTL


@pytest.mark.parametrize("is_retried", [False, True])
def test_an_execution_whose_service_was_never_notified_is_the_managers_failure(
    target: Target, machines: Machines, is_retried: bool
) -> None:
    target.script = [503]
    execution = begun(target, exclusive=True, **({"retry": RETRY} if is_retried else {}))
    assert sweep(TTL + GRACE) == {"restarted": 1}
    assert sweep(TTL + GRACE + 60) == {"retried" if is_retried else "reaped": 1}
    record = stored(execution)
    ended: Any = record["attempts"][0] if is_retried else record
    assert (ended["status"], ended["error"], ended["fault"]) == ("fail", '"Manager.NotNotified"', "manager")
    assert ended["cause"] == (
        "the service was not notified of attempt 1: no state machine confirmed it; reaped"
    )
    assert (record["status"], is_locked()) == ("running" if is_retried else "fail", is_retried)


def test_a_next_attempt_that_never_begins_is_the_managers_failure(target: Target) -> None:
    execution = begun(target, retry=RETRY)
    assert call_back(target, status="fail", error="LedgerBusy") == 200
    over = 100 + attempts.seconds_to_sweep() + TTL + GRACE + 1
    assert sweep(over) == {"reaped": 1}
    record = stored(execution)
    assert (record["status"], record["error"], record["fault"]) == (
        "fail",
        '"Manager.NotNotified"',
        "manager",
    )
    assert record["cause"].startswith("the service was not notified of attempt 2: ")


def test_a_callback_that_comes_while_the_sweep_ends_an_express_execution_wins(
    target: Target, monkeypatch: pytest.MonkeyPatch, at: Callable[[int], None]
) -> None:
    execution = begun(target)

    def first_the_callback(*arguments: Any) -> Execution | None:
        at(TTL + GRACE)
        assert call_back(target, status="success") == 200
        return end_attempt(*arguments)

    monkeypatch.setattr(reaper, "end_attempt", first_the_callback)
    assert sweep(TTL + GRACE + 1) == {}
    assert stored(execution)["status"] == "success"


@pytest.mark.parametrize("is_exclusive", [False, True])
def test_a_heartbeat_that_comes_while_the_sweep_ends_an_express_execution_wins(
    target: Target, monkeypatch: pytest.MonkeyPatch, at: Callable[[int], None], is_exclusive: bool
) -> None:
    execution = begun(target, exclusive=is_exclusive)
    over = TTL + GRACE + 1

    def first_the_heartbeat(*arguments: Any) -> Execution | None:
        at(over)
        assert call_back(target, status="processing") == 200
        return end_attempt(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(reaper, "end_attempt", first_the_heartbeat)
        assert sweep(over) == {}
    record = stored(execution)
    assert (record["status"], record["lock_expires_at"]) == ("running", NOON + over + TTL)
    assert "settled_at_ms" not in record
    assert is_locked() == is_exclusive
    # The sweep finds it again once the new deadline has passed.
    assert (sweep(over + TTL + GRACE), sweep(over + TTL + GRACE + 1)) == ({}, {"reaped": 1})


@pytest.mark.parametrize("is_exclusive", [False, True])
@pytest.mark.parametrize("is_retried", [False, True])
def test_a_heartbeat_that_read_before_the_sweep_ended_its_attempt_is_410_and_changes_nothing(
    target: Target, monkeypatch: pytest.MonkeyPatch, is_exclusive: bool, is_retried: bool
) -> None:
    """It extends the lock before it writes. The next attempt may need the lock for longer."""
    execution = begun(target, exclusive=is_exclusive, **({"retry": RETRY} if is_retried else {}))
    over = TTL + GRACE + 1
    as_read = stored(execution)
    assert sweep(over) == {"retried" if is_retried else "reaped": 1}
    after, locked_until = stored(execution), jobs.read("billing", "nightly").get("lock_expires_at")
    with pytest.raises(Gone) as gone:
        apply_callback(as_read, 1, {"status": "processing"}, NOON_MS + over * 1000)
    assert gone.value.extra["execution_status"] == ("running" if is_retried else "timeout")
    assert stored(execution) == after
    assert jobs.read("billing", "nightly").get("lock_expires_at") == locked_until
    assert is_locked() == (is_exclusive and is_retried)


@pytest.mark.parametrize("is_settled", [True, False])
def test_an_execution_that_ends_while_the_sweep_looks_is_not_restarted(
    target: Target, machines: Machines, monkeypatch: pytest.MonkeyPatch, is_settled: bool
) -> None:
    target.script = [503]
    execution = begun(target)
    find = executions.find

    def find_before_it_ends(execution_id: str) -> Execution | None:
        found = find(execution_id)
        monkeypatch.setattr(executions, "find", find)
        if is_settled:
            assert call_back(target, status="success") == 200
        else:
            record_outcome(stored(execution), "success", {}, NOON_MS)
        return found

    monkeypatch.setattr(executions, "find", find_before_it_ends)
    assert (sweep(60), machines.started) == ({}, [])
    record = stored(execution)
    assert (record["status"], "settled_at_ms" in record) == ("success", is_settled)


def test_an_ended_execution_is_settled_and_no_machine_is_stopped(target: Target, machines: Machines) -> None:
    execution = begun(target, exclusive=True)
    record_outcome(stored(execution), "success", {"state": "s"}, NOON_MS + 5000)
    assert sweep(5 + GRACE) == {}
    assert sweep(5 + GRACE + 1) == {"closed": 1}
    assert ("settled_at_ms" in stored(execution), is_locked(), machines.stopped) == (True, False, [])


def of_the_version_before(record: Execution) -> None:
    """Changes a record to what the version before has inserted."""
    values = {":shard": record["sweep_shard"].replace("sweep", "open"), ":running": "running"}
    changed = executions.update_if(
        record["execution_id"],
        "SET open_shard = :shard REMOVE sweep_shard, sweep_at",
        "#status = :running",
        values,
    )
    assert changed is not None


def test_an_execution_of_the_version_before_times_out(machines: Machines) -> None:
    save_job(ttl_seconds=TTL, exclusive=True)
    record = begin(due(), NOON_MS)
    of_the_version_before(record)
    assert (sweep(TTL), sweep(TTL + GRACE)) == ({}, {})
    assert "sweep_at" not in stored(record)
    assert sweep(TTL + GRACE + 1) == {"reaped": 1}
    assert not stored(record).keys() & {"open_shard", "sweep_shard"}
    assert machines.stopped_names == [record["execution_id"]]


def test_an_ended_execution_of_the_version_before_is_settled_soon(machines: Machines) -> None:
    save_job(ttl_seconds=43_200)
    record = begin(due(), NOON_MS)
    of_the_version_before(record)
    record_outcome(stored(record), "success", {}, NOON_MS + 5000)
    assert stored(record)["lock_expires_at"] == NOON + 5
    assert sweep(5 + GRACE + 1) == {"closed": 1}
    assert "open_shard" not in stored(record)


def test_an_attempt_of_the_version_before_is_followed_by_another(machines: Machines) -> None:
    save_job(ttl_seconds=TTL, retry=RETRY)
    record = begin(due(), NOON_MS)
    of_the_version_before(record)
    waiting = end_attempt(stored(record), "fail", {"error": "LedgerBusy"}, NOON_MS)
    assert waiting is not None
    assert ("sweep_at" in waiting, waiting["lock_expires_at"]) == (False, NOON + 100 + TTL)


def test_a_heartbeat_keeps_an_execution_of_the_version_before_whose_index_entry_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_job(ttl_seconds=TTL)
    record = begin(due(), NOON_MS)
    of_the_version_before(record)
    before = stored(record)
    stale(monkeypatch, record)
    assert (sweep(TTL - 1), stored(record)) == ({}, before)


def test_the_sweep_leaves_what_is_gone_or_settled(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = begun(target)
    assert call_back(target, status="success") == 200
    gone = due("other")["execution_id"]
    monkeypatch.setattr(executions, "due_for_sweep", lambda now: iter([execution["execution_id"], gone]))
    assert sweep(TTL + GRACE + 1) == {}


def test_a_heartbeat_that_shortens_the_deadline_counts_although_the_sweep_has_just_moved_its_time(
    target: Target,
) -> None:
    execution = begun(target)
    as_read = stored(execution)
    assert sweep(61) == {}
    assert stored(execution)["sweep_at"] == NOON + TTL
    apply_callback(as_read, 1, {"status": "processing", "extend_seconds": 30}, NOON_MS + 62_000)
    assert stored(execution)["sweep_at"] == stored(execution)["lock_expires_at"] == NOON + 92


FAR = 43_200


def test_an_outcome_is_found_soon_although_the_sweep_has_moved_its_time_since_the_record_was_read(
    target: Target,
) -> None:
    execution = begun(target, ttl_seconds=FAR)
    as_read = stored(execution)
    assert (as_read["sweep_at"], sweep(60), stored(execution)["sweep_at"]) == (NOON + 60, {}, NOON + FAR)
    record_outcome(as_read, "success", {}, NOON_MS + 61_000)
    assert (stored(execution)["status"], stored(execution)["sweep_at"]) == ("success", NOON + 61)
    assert sweep(61 + GRACE + 1) == {"closed": 1}


def test_an_execution_is_found_soon_that_is_cancelled_while_its_attempt_ends(target: Target) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 3600}
    execution = begun(target, max_duration_seconds=FAR, retry=retry)
    as_read = stored(execution)
    end_attempt(as_read, "fail", {}, NOON_MS)
    assert stored(execution)["sweep_at"] == NOON + 3600
    record_outcome(as_read, "cancelled", {}, NOON_MS + 1000)
    assert stored(execution)["sweep_at"] == NOON + 1


def test_an_outcome_of_the_version_before_is_found_soon_although_a_heartbeat_came_since_it_was_read() -> None:
    save_job(ttl_seconds=FAR)
    record = begin(due(), NOON_MS)
    of_the_version_before(record)
    as_read: Execution = {**stored(record), "lock_expires_at": NOON + 60}
    record_outcome(as_read, "success", {}, NOON_MS)
    assert stored(record)["lock_expires_at"] == NOON


@pytest.mark.parametrize("ttl_seconds", [TTL, FAR])
def test_an_outcome_is_one_write_and_does_not_move_a_near_sweep(
    target: Target, monkeypatch: pytest.MonkeyPatch, ttl_seconds: int
) -> None:
    execution = begun(target, ttl_seconds=ttl_seconds)
    updates: list[str] = []
    update_if = executions.update_if

    def noted(execution_id: str, update: str, *arguments: Any) -> Execution | None:
        updates.append(update)
        return update_if(execution_id, update, *arguments)

    monkeypatch.setattr(executions, "update_if", noted)
    assert record_outcome(stored(execution), "success", {}, NOON_MS + 1000) is not None
    assert (len(updates), stored(execution)["sweep_at"]) == (1, NOON + 60)
    assert record_outcome(stored(execution), "success", {}, NOON_MS + 2000) is None
    assert (len(updates), stored(execution)["finished_at_ms"]) == (2, NOON_MS + 1000)


def test_of_two_outcomes_of_what_is_swept_late_the_first_wins(target: Target) -> None:
    execution = begun(target, ttl_seconds=FAR)
    as_read = stored(execution)
    assert record_outcome(as_read, "success", {}, NOON_MS + 1000) is not None
    assert record_outcome(as_read, "fail", {}, NOON_MS + 2000) is None
    assert (stored(execution)["status"], stored(execution)["finished_at_ms"]) == ("success", NOON_MS + 1000)
