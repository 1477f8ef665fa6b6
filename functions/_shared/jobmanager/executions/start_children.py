"""Starts the jobs that run after another job, once an execution of that job has ended.

The execution_id of a start follows from the executions after which it runs. So nothing starts twice if an
invocation is repeated, the settlement that asked for it, or a dead letter.

The record of the parent lists an execution first; then the execution is started. If the function dies between
the two, its retry starts what the parent lists, whatever the job runs after by then.

A job with several parents keeps their latest ends (``arrivals``), and runs once all of them have ended so
since its last run. These steps follow each other, and a function may die after any of them:

1. The end of the parent is noted, unless a later end of the same parent is noted already. If no other end
   is missing, the same write marks all ends as used, and keeps the start that follows (``starting``). So
   each end is used once, whatever else arrives.
2. The parents list the execution, and it is started. An end that lists an execution of the job is used,
   even if the job runs after more parents since, or after fewer.
3. ``starting`` is removed.

If a function dies before step 3, ``starting`` stays. The next invocation, a retry or one for another parent,
first starts what it finds there, also if the job has come to run after others meanwhile.
"""

import hashlib
import json
from typing import cast

from jobmanager.core.clock import iso
from jobmanager.core.errors import Contended
from jobmanager.core.names import execution_id, guid_of_execution
from jobmanager.core.retry import tries
from jobmanager.executions import store as executions
from jobmanager.executions.machine import start_machine
from jobmanager.executions.record import RUNNING, Execution, Start
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store
from jobmanager.jobs.after import ends_of, parents_of
from jobmanager.jobs.chains import MAX_CHILDREN
from jobmanager.jobs.definition import Arrival, Arrivals, ChainedStart, Job, Parent, is_deleted
from jobmanager.jobs.definition import workflow_type as type_of
from jobmanager.runtime.logs import logger

_MAX_TRIES = 10


def start_children(service_name: str, job_name: str, ended_execution_id: str) -> int:
    """Starts the jobs that run after an ended execution; returns how many. Safe to repeat.

    Raises Contended if concurrent changes of a job kept winning.
    """
    job = store.find_without_large_values(service_name, job_name)
    record = executions.find(ended_execution_id)
    if job is None or record is None or record["status"] == RUNNING:
        logger.info("nothing follows: the execution or its job does not exist any more")
        return 0
    return sum(_start_child(name, record) for name in job.get("children", []))


def _start_child(name: str, record: Execution) -> int:
    """Starts a job if nothing is missing any more; returns how many executions were started for it."""
    parent, started, is_written, is_used = record["job_name"], 0, True, False
    for _ in tries(_MAX_TRIES, 0.05, only_if=lambda: not is_written):  # noqa: B023 - as it is by then
        child = store.find_without_large_values(record["service_name"], name)
        if child is None or is_deleted(child):
            return started
        seen = child.get("arrivals", Arrivals(of={}))
        if start := seen.get("starting"):
            started += _start(child, start)
            # The record was read before this start was added to its children.
            is_used |= record["execution_id"] in (each["execution_id"] for each in start["parents"])
            is_written = _write(child, Arrivals(of=seen["of"]))
            continue
        if is_used or not _existed(child, record):
            return started
        alone = _start_after(child, [_arrival(record)])
        if alone["execution_id"] in record.get("children", ()):
            is_begun = executions.find(alone["execution_id"]) is not None
            return started + (0 if is_begun else _start(child, alone))
        if not _is_after(child, record) or _is_used(record, child, seen):
            return started
        if parents_of(child) == [parent]:
            return started + _start(child, alone)
        wanted = next_arrivals(child, seen, _arrival(record))
        if wanted == seen:
            return started
        is_written = _write(child, wanted)
        if is_written and "starting" not in wanted:
            return started
    raise Contended(f"{record['service_name']}/{name} is being changed by others.")


def _existed(child: Job, record: Execution) -> bool:
    """Whether the job existed when the execution ended."""
    return child["created_at"] <= iso(record["finished_at_ms"])


def _is_after(child: Job, record: Execution) -> bool:
    """Whether the job runs after executions that end so."""
    return record["status"] in ends_of(child, record["job_name"])


def _is_used(record: Execution, child: Job, seen: Arrivals) -> bool:
    """Whether the job was started after the execution, as far as its arrivals and the links tell.

    Without this, the same end could count again once the job runs after more parents, or after fewer.
    """
    known = seen["of"].get(record["job_name"])
    if known is not None and known["execution_id"] == record["execution_id"] and known["is_used"]:
        return True
    return any(guid_of_execution(name) == child["job_guid"] for name in record.get("children", []))


def next_arrivals(child: Job, seen: Arrivals, arrival: Arrival) -> Arrivals:
    """Returns a job's arrivals after one more end of a parent; with ``starting`` if no end is missing."""
    known = seen["of"].get(arrival["job"])
    if known is not None and _order(known) > _order(arrival):
        return seen
    latest = seen["of"] if known is not None and _order(known) == _order(arrival) else None
    of = latest or {**seen["of"], arrival["job"]: arrival}
    parents = [of.get(name) for name in parents_of(child)]
    ready = [
        each
        for each in parents
        if each is not None and not each["is_used"] and each["status"] in ends_of(child, each["job"])
    ]
    if len(ready) < len(parents):
        return Arrivals(of=of)
    used = {each["job"]: cast(Arrival, {**each, "is_used": True}) for each in ready}
    return Arrivals(of=of | used, starting=_start_after(child, ready))


def _order(arrival: Arrival) -> tuple[int, str]:
    return arrival["finished_at_ms"], arrival["execution_id"]


def _arrival(record: Execution) -> Arrival:
    arrival = Arrival(
        job=record["job_name"],
        execution_id=record["execution_id"],
        status=record["status"],
        finished_at_ms=record["finished_at_ms"],
        chain_depth=record.get("chain_depth", 1),
        is_used=False,
    )
    if "trace_header" in record:
        arrival["trace_header"] = record["trace_header"]
    return arrival


def _start_after(child: Job, arrivals: list[Arrival]) -> ChainedStart:
    """Builds the start that follows from these ends. It is due from the last of them on, and in its trace."""
    last = max(arrivals, key=_order)
    ended_ms = last["finished_at_ms"]
    names = json.dumps(sorted(arrival["execution_id"] for arrival in arrivals))
    # In the history of the job, runs of one second are in the order of their milliseconds.
    suffix = f"{ended_ms % 1000:03}{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    start = ChainedStart(
        execution_id=execution_id(child["job_guid"], ended_ms, suffix),
        scheduled_time=iso(ended_ms),
        parents=[
            Parent(job=each["job"], execution_id=each["execution_id"], status=each["status"])
            for each in arrivals
        ],
        chain_depth=max(each["chain_depth"] for each in arrivals) + 1,
    )
    if "trace_header" in last:
        start["trace_header"] = last["trace_header"]
    return start


def _start(child: Job, start: ChainedStart) -> int:
    """Adds an execution to its parents' records, and starts it; 1 if it was not started before."""
    due = {
        "service_name": child["service_name"],
        "job_name": child["job_name"],
        "job_guid": child["job_guid"],
        "execution_id": start["execution_id"],
        "scheduled_time": start["scheduled_time"],
        "workflow_type": type_of(child),
        "parents": start["parents"],
        "chain_depth": start["chain_depth"],
        **task_limits(child),
    }
    for parent in start["parents"]:
        executions.add_link(parent["execution_id"], "children", start["execution_id"], MAX_CHILDREN)
    is_new = start_machine(cast(Start, due), trace_header=start.get("trace_header"))
    logger.info("job started after others", extra={"started": start["execution_id"], "is_new": is_new})
    return int(is_new)


def _write(child: Job, arrivals: Arrivals) -> bool:
    """Replaces a job's arrivals; False if another function has changed them since they were read."""
    seen = {":seen": child["arrivals"]} if "arrivals" in child else {}
    condition = "arrivals = :seen" if seen else "attribute_exists(job_key) AND attribute_not_exists(arrivals)"
    condition += " AND attribute_not_exists(deleted_at)"
    values = {":arrivals": arrivals, **seen}
    service_name, job_name = child["service_name"], child["job_name"]
    return store.update_if(service_name, job_name, "SET arrivals = :arrivals", condition, values) is not None
