"""Jobs that run after others: each complete set of ends starts one execution, and nothing else does."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from tests.integration.turn_invariants import decided_ms
from tests.life.checks.known import (
    READ_MS,
    Faults,
    Known,
)
from tests.life.journal import Json
from tests.life.living import Job
from tests.life.model import NO_JOB

_START_MS = 15_000
"""How long after the end of its last parent a job may be started."""

_SAVED_MS = 2000
"""How long before an end a job must exist, because the time at which it was created is in whole seconds."""


def chained_starts(known: Known) -> Faults:
    """What starts a job of a chain is the right ends of all its parents, each used once, the latest ones."""
    for name, parents in known.life.after.items():
        used: defaultdict[str, list[str]] = defaultdict(list)
        starts = _starts(known, known.life.chained[name])
        for record in starts:
            yield from ((f"{record['execution_id']} {what}", name) for what in _wrong_start(known, record))
            for parent in record["parents"]:
                used[parent["execution_id"]].append(record["execution_id"])
        for parent_name, started in used.items():
            if len(started) > 1:
                yield f"{started} all started after {parent_name}", name
        for earlier, later in pairwise(sorted(starts, key=lambda each: _order_of_parents(known, each))):
            if any(_order(known, later, each) <= _order(known, earlier, each) for each in parents):
                names = later["execution_id"], earlier["execution_id"]
                yield f"{names[0]} started after older ends than {names[1]} did", name


def _starts(known: Known, job: Job) -> list[Json]:
    """The executions of a job that other jobs have started. A rerun has the parents of its original."""
    return [each for each in known.of_job(job) if "parents" in each and "rerun_of" not in each]


def _wrong_start(known: Known, record: Json) -> list[str]:
    """What is wrong with the ends after which an execution started."""
    wrong, ended = [], []
    wanted = known.life.after[record["job_name"]]
    if sorted(parent["job"] for parent in record["parents"]) != sorted(wanted):
        wrong.append(f"started after {record['parents']}, and its job runs after {wanted}")
    for parent in record["parents"]:
        of_parent = known.records.get(parent["execution_id"], {})
        ended.append(of_parent.get("finished_at_ms", 2**62))
        if of_parent.get("status") != parent["status"] or of_parent.get("job_name") != parent["job"]:
            wrong.append(f"started after {parent}, which is {of_parent.get('status')}")
        elif parent["status"] not in wanted.get(parent["job"], ()):
            wrong.append(f"started after the end {parent['status']} of {parent['job']}")
        if record["execution_id"] not in of_parent.get("children", []):
            wrong.append(f"is not known as a child of {parent['execution_id']}")
    last_ms = max(ended, default=0)
    if decided_ms(record) < last_ms or record["scheduled_time_ms"] != last_ms // 1000 * 1000:
        wrong.append(f"began at {decided_ms(record)}, and its last parent ended at {last_ms}")
    states = known.states(record, decided_ms(record))
    if known.deliveries.get(record["execution_id"]) and all(
        state.is_stopped_at(decided_ms(record)) for state in states
    ):
        wrong.append(f"ran, and its job could only be {states}")
    return [*wrong, *_wrong_message(known, record)]


def _wrong_message(known: Known, record: Json) -> list[str]:
    """What is wrong with the parents that its notifications name."""
    told = [
        {"job": each["job"], "execution_id": each["execution_id"], "status": each["status"]}
        | {key: state for key, state in known.records[each["execution_id"]].items() if key == "state"}
        for each in record["parents"]
        if each["execution_id"] in known.records
    ]
    return [
        f"was notified of the parents {each.notification.get('parents')}, and they are {told}"
        for each in known.deliveries.get(record["execution_id"], [])
        if each.notification.get("parents") != told
    ]


def _order(known: Known, record: Json, parent: str) -> tuple[int, str]:
    """Where the end of a parent, after which an execution started, stands among the ends of that parent."""
    name = next((each["execution_id"] for each in record["parents"] if each["job"] == parent), "")
    return known.records.get(name, {}).get("finished_at_ms", 0), name


def _order_of_parents(known: Known, record: Json) -> list[tuple[int, str]]:
    return [_order(known, record, parent) for parent in known.life.after[record["job_name"]]]


def missing_starts(known: Known) -> Faults:
    """After the right ends of all its parents, a job is started once.

    If one has ended more than once since, its latest end counts. Which ends meet is only sure if no other end
    is near.
    """
    for name, parents in known.life.after.items():
        job = known.life.chained[name]
        ends = {parent: _ends(known, parent, set(wanted)) for parent, wanted in parents.items()}
        together = [{each["execution_id"] for each in start["parents"]} for start in _starts(known, job)]
        for parent, of_parent in ends.items():
            for end in of_parent:
                others = [_latest(ends[other], end) for other in ends if other != parent]
                if any(other is None for other in others):
                    continue
                met = [end, *(other for other in others if other is not None)]
                names = {each["execution_id"] for each in met}
                is_sure = _is_alone(known, end, ends) and all(
                    _is_followed(known, job, each, end) for each in met
                )
                used = [each for each in together if names & each]
                was_used_before = any(
                    each != names and all(_finished(known, one) <= _key(end) for one in each) for each in used
                )
                if is_sure and names not in together and not was_used_before:
                    yield f"nothing was started after {sorted(names)}", name


def _ends(known: Known, parent: str, wanted: set[str]) -> list[Json]:
    """The executions of a job that ended so, oldest end first."""
    of_it = known.of_job(known.life.planned[parent])
    return sorted((each for each in of_it if each["status"] in wanted), key=_key)


def _key(record: Json) -> tuple[int, str]:
    return record["finished_at_ms"], record["execution_id"]


def _finished(known: Known, name: str) -> tuple[int, str]:
    return _key(known.records[name]) if name in known.records else (2**62, name)


def _latest(ends: list[Json], end: Json) -> Json | None:
    """The last of these ends before another one."""
    return next((each for each in reversed(ends) if _key(each) < _key(end)), None)


def _is_alone(known: Known, end: Json, ends: dict[str, list[Json]]) -> bool:
    """Whether no other end of a parent may be noted before this one is, or overtake one that came before."""
    if len(ends) == 1:
        return True
    near_ms = _START_MS + known.late_ms(end["finished_at_ms"], end["settled_at_ms"])
    return all(
        other is end
        or other["settled_at_ms"] + near_ms < end["finished_at_ms"]
        or end["settled_at_ms"] + near_ms < other["finished_at_ms"]
        for of_parent in ends.values()
        for other in of_parent
    )


def _is_followed(known: Known, job: Job, end: Json, last: Json) -> bool:
    """Whether a job surely ran after an end: it and its parent existed all the time that matters."""
    from_ms = end["finished_at_ms"]
    until_ms = last["settled_at_ms"] + _START_MS + known.late_ms(from_ms, last["settled_at_ms"])
    parent = known.life.planned[end["job_name"]]
    settled_ms = end["settled_at_ms"] + READ_MS + known.late_ms(from_ms, end["settled_at_ms"])
    was_there = NO_JOB not in parent.timeline.possible(decided_ms(end), settled_ms)
    return was_there and NO_JOB not in job.timeline.possible(from_ms - _SAVED_MS, until_ms)
