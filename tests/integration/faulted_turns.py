"""The flows of executions that wait for their turn, and of jobs that run after others, each with a fault.

What the flows need is begun by the manager's own code in this process, and without a state machine. So it is
certain who holds the lock or the slot, and who waits for it, before a fault is planned. Then the act of a
flow starts the machine of the first execution, or ends it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from jobmanager.aws import tables
from jobmanager.core.clock import iso, now_ms
from jobmanager.core.names import execution_id
from jobmanager.core.settings import number_setting
from jobmanager.executions import store
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.machine import start_machine_of
from jobmanager.executions.record import FINAL_STATUSES, WAITING, ByHand, Due, Execution
from jobmanager.jobs import store as jobs
from jobmanager.jobs.after import ENDS
from jobmanager.limits import changes as limit_changes
from jobmanager.limits import store as limits
from local.api_client import path_of
from local.faults import plans
from local.faults.worker import FAIL
from tests.integration.faulted_runs import (
    DEAD_MACHINE,
    EXPRESS,
    OWN_JOB,
    SILENT,
    UPDATED_BY,
    Bench,
    Flow,
    Run,
    wait_until_quiet,
)
from tests.integration.polling import CLOCK, patient, poll
from tests.integration.turn_invariants import decided_ms
from tools.redrive import invocation_of

type Json = dict[str, Any]

ROUNDS, ROUNDS_THAT_END_NOTHING = 6, 3
SECONDS_TO_SEE_IT = 15
SECONDS_UNTIL_ITS_TIME = 6
NOBODY = "nobody"


# --- what flows need -------------------------------------------------------------------------------------


def _save(bench: Bench, run: Run) -> None:
    """Saves the limit and the jobs of a run. In the fields of jobs, ``after`` has roles."""
    if run.flow.limit is not None:
        limit: Any = run.flow.limit
        limit_changes.save(run.service_name, run.job_name, limit, UPDATED_BY, now_ms())
    for role, fields in {OWN_JOB: run.flow.job, **run.flow.others}.items():
        more: Json = {"limit": run.job_name} if "limit" in fields else {}
        if "after" in fields:
            after = [{"job": run.name_of(parent), "on": list(ENDS)} for parent in fields["after"]]
            more |= {"schedule": None, "after": after}
        bench.save(run, role, **more)


def _begin(run: Run, role: str = OWN_JOB, at_ms: int | None = None, payload: str | None = None) -> Execution:
    """Begins an execution without its state machine. It runs or waits."""
    by_hand = ByHand(started_by=UPDATED_BY)
    if payload is not None:
        by_hand["payload"] = payload
    at_ms = at_ms or now_ms()
    guid = run.guids[role]
    due: Due = {
        "service_name": run.service_name,
        "job_name": run.name_of(role),
        "job_guid": guid,
        "execution_id": execution_id(guid, at_ms, f"{at_ms % 1000:03}{uuid.uuid4().hex[:8]}"),
        "scheduled_time": iso(at_ms),
    }
    time.sleep(0.002)  # the next one of the job sorts after it
    return begin_by_hand(due, by_hand, at_ms)


def _wait(run: Run, role: str = OWN_JOB, at_ms: int | None = None) -> Execution:
    """Begins an execution that has to wait."""
    record = _begin(run, role, at_ms)
    assert record["status"] == WAITING, record
    return record


def _change(bench: Bench, record: Execution, **changes: Any) -> None:
    """Changes fields of a record past the manager."""
    key = {"job_guid": record["job_guid"], "execution_id": record["execution_id"]}
    update = f"SET {', '.join(f'{name} = :{name}' for name in changes)}"
    values = {f":{name}": value for name, value in changes.items()}
    table = bench.outputs["executions_table_name"]
    assert tables.update_if(table, key, update, "attribute_exists(execution_id)", values)


def _hold(bench: Bench, run: Run) -> None:
    """Begins the execution that holds the lock, the slot, or both."""
    _save(bench, run)
    run.first = _begin(run)["execution_id"]


def _hold_silently(bench: Bench, run: Run) -> None:
    _save(bench, run)
    run.first = _begin(run, payload=SILENT["payload"])["execution_id"]


def _hold_and_wait(bench: Bench, run: Run) -> None:
    _hold(bench, run)
    _wait(run)


def _let_all_wait(run: Run) -> None:
    """Lets another job wait for the slot, and then the same job for its lock."""
    for role in ("b", OWN_JOB):
        _wait(run, role)


def _hold_all(bench: Bench, run: Run) -> None:
    _hold(bench, run)
    _let_all_wait(run)


def _hold_all_silently(bench: Bench, run: Run) -> None:
    _hold_silently(bench, run)
    _let_all_wait(run)


def _run_silently(bench: Bench, run: Run) -> None:
    _hold_silently(bench, run)
    _run_first(bench, run)
    _see_notified(bench, run)


def _run_all_silently(bench: Bench, run: Run) -> None:
    _hold_all_silently(bench, run)
    _run_first(bench, run)
    _see_notified(bench, run)


def _see_notified(bench: Bench, run: Run) -> None:
    names = {run.first}
    poll(lambda: names & {each.notification.get("execution_id") for each in bench.service.received}, 60, "it")


def _wait_for_a_deleted_limit(bench: Bench, run: Run) -> None:
    _hold_and_wait(bench, run)
    bench.save(run, limit=None)


def _save_until_its_time(bench: Bench, run: Run) -> None:
    """Saves a job of which the next execution may start in a few seconds."""
    _save(bench, run)
    limit = limits.read(run.service_name, run.job_name)
    values = {":next": now_ms() + 1000 * patient(SECONDS_UNTIL_ITS_TIME)}
    key = limits.key(run.service_name, limit["limit_name"])
    table, exists = bench.outputs["limits_table_name"], "attribute_exists(limit_name)"
    assert tables.update_if(table, key, "SET next_start_ms = :next", exists, values)


# --- what only the sweep sees ----------------------------------------------------------------------------


def _fall_silent(bench: Bench, run: Run) -> None:
    """Lets the Express execution that holds everything be overdue."""
    _hold_all_silently(bench, run)
    record, at_ms = _found(run.first), now_ms()
    overdue = at_ms // 1000 - number_setting("REAP_GRACE_SECONDS") - 1
    _change(
        bench,
        record,
        machine_execution=DEAD_MACHINE,
        service_invoked_at_ms=at_ms,
        delivered_attempt=1,
        lock_expires_at=overdue,
        sweep_at=at_ms // 1000 - 1,
    )


def _lose_the_turn(bench: Bench, run: Run, at_ms: int | None = None) -> None:
    """Lets an execution wait for a lock that is free then."""
    _save(bench, run)
    of_job = {"service_name": run.service_name, "job_name": run.job_name}
    table, exists = bench.outputs["jobs_table_name"], "attribute_exists(job_key)"
    held = {":nobody": NOBODY, ":until": now_ms() // 1000 + 600}
    update = "SET lock_execution = :nobody, lock_expires_at = :until"
    assert tables.update_if(table, of_job, update, exists, held)
    record = _wait(run, at_ms=at_ms)
    freed = "lock_execution = :nobody"
    remove = "REMOVE lock_execution, lock_expires_at"
    assert tables.update_if(table, of_job, remove, freed, {":nobody": NOBODY})
    _change(bench, record, sweep_at=now_ms() // 1000 - 1)


def _wait_too_long(bench: Bench, run: Run) -> None:
    _lose_the_turn(bench, run, now_ms() - 60_000)


def _get_the_turn_without_a_machine(bench: Bench, run: Run) -> None:
    _hold(bench, run)
    _change(bench, _found(run.first), waiting_since_ms=now_ms(), sweep_at=now_ms() // 1000 - 1)


def _found(name: str) -> Execution:
    record = store.find(name)
    assert record is not None
    return record


# --- what flows do ---------------------------------------------------------------------------------------


def _run_first(_bench: Bench, run: Run) -> None:
    start_machine_of(_found(run.first))


def _ask_for_another(bench: Bench, run: Run) -> None:
    bench.request(run, "POST", f"{run.path}/executions", {}, idempotency_key=run.job_name)


def _ask_for_another_and_run_first(bench: Bench, run: Run) -> None:
    _ask_for_another(bench, run)
    _run_first(bench, run)


def _tick_and_run_first(bench: Bench, run: Run) -> None:
    bench.tick(run.schedule)
    _until(lambda: len(bench.records(run)) > 1)
    _run_first(bench, run)


def _cancel_first(bench: Bench, run: Run) -> None:
    bench.request(run, "POST", f"{run.path}/executions/{run.first}/cancel")


def _cancel_what_waits(bench: Bench, run: Run) -> None:
    _, second = bench.records(run)
    bench.request(run, "POST", f"{run.path}/executions/{second['execution_id']}/cancel")
    _run_first(bench, run)


def _delete_job(bench: Bench, run: Run) -> None:
    bench.request(run, "DELETE", run.path)
    _run_first(bench, run)


def _raise_limit(bench: Bench, run: Run) -> None:
    _change_limit(bench, run, "PUT", {"slots": 2})


def _delete_limit(bench: Bench, run: Run) -> None:
    _change_limit(bench, run, "DELETE")


def _change_limit(bench: Bench, run: Run, method: str, body: Json | None = None) -> None:
    """Changes the limit so that the execution that waits may run beside the first one."""
    bench.request(run, method, path_of("services", run.service_name, "limits", run.job_name), body)
    _until(lambda: any(record["status"] in FINAL_STATUSES for record in bench.records(run)))
    _run_first(bench, run)


def _until(is_seen: Callable[[], bool]) -> None:
    """Waits for something that a fault may prevent."""
    deadline = CLOCK.now() + SECONDS_TO_SEE_IT
    while not is_seen() and CLOCK.now() < deadline:
        time.sleep(0.3)


# --- the flows -------------------------------------------------------------------------------------------

ONE_SLOT: Json = {"slots": 1}
QUEUE: Json = {"overlap": "queue_all"}
LIMITED: Json = {"limit": True}
# The first one runs only after a wait for what a fault may prevent, and must not be overdue by then.
LIMITED_AND_PATIENT: Json = {**LIMITED, "ttl_seconds": 600}
# The end of the first one frees the lock and the slot, and starts the job after it.
ALL: Json = {
    "others": {"b": LIMITED, "c": {"after": [OWN_JOB]}},
    "limit": ONE_SLOT,
    "most_at_once": 1,
}
AFTER_ALL = ("success",) * 4
DIAMOND: Json = {"b": {"after": [OWN_JOB]}, "c": {"after": [OWN_JOB]}, "d": {"after": ["b", "c"]}}

_OF_BOTH_TYPES = (
    Flow(
        "turn-lock",
        ("a/start_execution", "a/start_waiting_executions", "a/run_execution"),
        QUEUE,
        _hold,
        _ask_for_another_and_run_first,
        ends=("success", "success"),
    ),
    Flow(
        "turn-tick",
        ("a/run_execution",),
        QUEUE,
        _hold,
        _tick_and_run_first,
        ends=("success", "success"),
        has_own_schedule=True,
    ),
    Flow(
        "turn-newest",
        ("a/start_execution", "a/start_waiting_executions"),
        {"overlap": "queue_one"},
        _hold_and_wait,
        _ask_for_another_and_run_first,
        ends=("success", "skipped", "success"),
    ),
    Flow(
        "turn-replace",
        ("a/start_execution", "a/start_waiting_executions"),
        {"overlap": "cancel_running"},
        _run_silently,
        _ask_for_another,
        ends=("cancelled", "success"),
    ),
    Flow(
        "turn-callback",
        ("first/receive_callback",),
        {**QUEUE, **LIMITED},
        _hold_all,
        _run_first,
        ends=("success", *AFTER_ALL),
        **ALL,
    ),
    Flow(
        "turn-sync",
        ("first/run_execution",),
        {**QUEUE, **LIMITED, "async": False},
        _hold_all,
        _run_first,
        ends=("success", *AFTER_ALL),
        **ALL,
    ),
    Flow(
        "turn-cancel",
        ("first/cancel_execution",),
        {**QUEUE, **LIMITED},
        _run_all_silently,
        _cancel_first,
        ends=("cancelled", *AFTER_ALL),
        **ALL,
    ),
    Flow(
        "limit-slots",
        ("a/start_execution", "limit/start_waiting_executions", "a/run_execution"),
        LIMITED,
        _hold_and_wait,
        _ask_for_another_and_run_first,
        ends=("success",) * 3,
        limit=ONE_SLOT,
        most_at_once=1,
    ),
    Flow(
        "limit-rate",
        ("a/start_execution", "a/start_spread_executions", "a/start_waiting_executions", "a/run_execution"),
        LIMITED,
        _save_until_its_time,
        _ask_for_another,
        ends=("success",),
        limit={"per_second": 1},
    ),
    Flow(
        "chain-child",
        ("first/start_children", "b/run_execution"),
        {},
        _hold,
        _run_first,
        ends=("success", "success"),
        others={"b": {"after": [OWN_JOB]}},
    ),
    Flow(
        "chain-diamond",
        ("first/start_children", "b/start_children", "c/start_children"),
        {},
        _hold,
        _run_first,
        ends=("success",) * 4,
        others=DIAMOND,
    ),
)

_FLOWS = (
    *_OF_BOTH_TYPES,
    *(
        replace(
            flow,
            name=f"express-{flow.name}",
            job={**EXPRESS, **flow.job},
            others={role: {**EXPRESS, **fields} for role, fields in flow.others.items()},
        )
        for flow in _OF_BOTH_TYPES
    ),
    Flow(
        "turn-timeout",
        ("first/finish_execution",),
        {**QUEUE, **LIMITED},
        _hold_all_silently,
        _run_first,
        ends=("timeout", *AFTER_ALL),
        **ALL,
    ),
    Flow(
        "turn-cancelled",
        ("a/cancel_execution",),
        QUEUE,
        _hold_and_wait,
        _cancel_what_waits,
        ends=("success", "cancelled"),
    ),
    Flow(
        "turn-deleted",
        ("a/start_waiting_executions",),
        QUEUE,
        _hold_and_wait,
        _delete_job,
        ends=("success", "skipped"),
    ),
    Flow(
        "limit-cancelled",
        ("a/cancel_execution",),
        LIMITED,
        _hold_and_wait,
        _cancel_what_waits,
        ends=("success", "cancelled"),
        limit=ONE_SLOT,
        most_at_once=1,
    ),
    Flow(
        "limit-raised",
        ("limit/put_limit",),
        LIMITED_AND_PATIENT,
        _hold_and_wait,
        _raise_limit,
        ends=("success", "success"),
        limit=ONE_SLOT,
        most_at_once=2,
    ),
    Flow(
        "limit-deleted",
        ("limit/delete_limit",),
        LIMITED_AND_PATIENT,
        _wait_for_a_deleted_limit,
        _delete_limit,
        ends=("success", "success"),
        limit=ONE_SLOT,
    ),
    Flow(
        "turn-swept",
        ("reap_executions",),
        {**EXPRESS, **QUEUE, **LIMITED},
        _fall_silent,
        ends=("timeout", *AFTER_ALL),
        is_upkeep=True,
        **ALL,
    ),
    Flow(
        "turn-lost",
        ("reap_executions",),
        QUEUE,
        _lose_the_turn,
        ends=("success",),
        is_upkeep=True,
    ),
    Flow(
        "turn-late",
        ("reap_executions",),
        {**QUEUE, "starting_deadline_seconds": 10},
        _wait_too_long,
        ends=("skipped",),
        is_upkeep=True,
    ),
    Flow(
        "turn-begun",
        ("reap_executions",),
        QUEUE,
        _get_the_turn_without_a_machine,
        ends=("success",),
        is_upkeep=True,
    ),
)

TURNS = tuple(replace(flow, is_of_turns=True) for flow in _FLOWS)


# --- afterwards ------------------------------------------------------------------------------------------


def heal(bench: Bench, runs: Sequence[Run]) -> None:
    """Lets the stage look after what these runs have left, as it does with the time.

    Permanent faults end first, as if an operator had mended them and redriven the dead letters. Then the
    sweep looks at what is open. What runs becomes overdue only if that does not help.
    """
    for run in runs:
        if run.kind == FAIL:
            plans.forget(run.subjects)
    for number in range(ROUNDS):
        redriven = _redrive(bench, runs)
        left = [run for run in runs if run in redriven or not _is_over(bench, run)]
        if not left:
            break
        bench.make_overdue(left, ends_running=number >= ROUNDS_THAT_END_NOTHING)
        bench.sweep()
        wait_until_quiet(bench, left)


def _is_over(bench: Bench, run: Run) -> bool:
    """Whether nothing is open, and nothing is missing that a retry would have started."""
    records = bench.records(run)
    are_all_there = run.kind == FAIL or len(records) == len(run.flow.ends)
    return are_all_there and all("settled_at_ms" in record for record in records)


def _redrive(bench: Bench, runs: Sequence[Run]) -> list[Run]:
    """Invokes the functions once more of which the dead letters are about these runs; returns these."""
    sqs, url = bench.aws.client("sqs"), bench.outputs["upkeep_dead_letter_queue_url"]
    found: list[Run] = []
    while True:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=5)
        messages = answer.get("Messages", [])
        for message in messages:
            about = [run for run in runs if run.service_name in message["Body"]]
            if about:
                asked = invocation_of(message, bench.outputs["function_names"], str)
                assert bench.invoke(asked.function_name, asked.payload)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                found += about
        if not messages:
            return found


def wrong_ends(bench: Bench, run: Run) -> Iterator[str]:
    """What is wrong with a run of a flow of turns, once nothing is to follow any more."""
    records = {role: bench.records_of(run, role) for role in run.guids}
    for record in (record for of_role in records.values() for record in of_role):
        if record["status"] not in FINAL_STATUSES:
            yield f"{run} left {record['execution_id']} {record['status']}"
        elif record["status"] != "success" and not record.keys() & {"reason", "error", "cause"}:
            yield f"{run} ended {record['execution_id']} as {record['status']}, and does not say why"
    yield from _what_is_held(run)
    yield from _wrong_children(run, records)
    yield from _wrong_order(bench, run, records)


def _what_is_held(run: Run) -> Iterator[str]:
    for role in run.guids:
        job = jobs.find(run.service_name, run.name_of(role))
        if job is None:
            yield f"{run} has lost the job {role}"
        elif job.get("waiting_count") or "lock_execution" in job:
            yield f"{run} left {job.get('waiting_count')} to wait, and {job.get('lock_execution')} the lock"
    limit = limits.find(run.service_name, run.job_name) if run.flow.limit else None
    if limit is not None and (limit.get("waiting_count") or limit.get("holders")):
        yield f"{run} left {limit.get('waiting_count')} to wait, and slots to {limit.get('holders')}"


def _wrong_children(run: Run, records: dict[str, list[Json]]) -> Iterator[str]:
    """A job runs once after each end of its parent, or of all its parents, and they are linked."""
    for role, fields in run.flow.others.items():
        if "after" not in fields:
            continue
        ended = [
            {record["execution_id"]: record for record in records[parent] if record["status"] in ENDS}
            for parent in fields["after"]
        ]
        expected = min(map(len, ended))
        if len(records[role]) != expected:
            yield f"{run} started {len(records[role])} executions of {role} after {expected} ends"
        for record in records[role]:
            for parent, of_parent in zip(record["parents"], ended, strict=True):
                linked = of_parent.get(parent["execution_id"], {}).get("children", [])
                if linked.count(record["execution_id"]) != 1:
                    yield f"{run} linked {record['execution_id']} {linked} with its parent"


def _wrong_order(bench: Bench, run: Run, records: dict[str, list[Json]]) -> Iterator[str]:
    """Those of a job are notified in their order, and not more at once than the limit has slots.

    A fault may let one overtake another in the queue for slots. A change of the limit does so on purpose.
    """
    arrived: dict[str, float] = {}
    for each in bench.service.received:
        if each.notification["service_name"] == run.service_name:
            arrived.setdefault(each.notification["execution_id"], each.arrived_at)
    came = sorted(records[OWN_JOB], key=decided_ms)
    own = [arrived[each["execution_id"]] for each in came if each["execution_id"] in arrived]
    is_in_order = run.flow.limit is None or (run.call is None and run.flow.most_at_once == 1)
    if own != sorted(own) and is_in_order:
        yield f"{run} notified its executions in the order {own}"
    if run.flow.most_at_once is None:
        return
    spans = [
        (arrived[record["execution_id"]], record["finished_at_ms"] / 1000)
        for of_role in records.values()
        for record in of_role
        if record.get("holds_slot") and record["execution_id"] in arrived and "finished_at_ms" in record
    ]
    most = max((sum(since <= at < until for since, until in spans) for at, _ in spans), default=0)
    if most > run.flow.most_at_once:
        yield f"{run} let {most} executions run at once"
