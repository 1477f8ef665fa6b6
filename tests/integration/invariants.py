"""What must hold of a stage whenever it is quiet, whatever happened before.

`broken_invariants` looks at some services: at their records (read consistently), at Step Functions, at the
rules, and at what the services themselves have seen; it answers a sentence for each thing that is wrong. It
waits for nothing: make sure first that nothing of theirs is on its way. An execution may still wait.

It looks through a `View`: of a stage (tests.integration.stage_view), or of a simulated one
(tests.simulation.view).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, cast

from jobmanager.executions import attempts
from jobmanager.executions.record import (
    FINAL_STATUSES,
    RUNNING,
    WAITING,
    Execution,
    first_invoked_at_ms,
    is_express,
)
from tests.integration.trigger_invariants import wrong_completions, wrong_schedules, wrong_times
from tests.integration.turn_invariants import wrong_turns

type Json = dict[str, Any]
type Attempt = tuple[str, int]
"""An ``execution_id``, and the number of the attempt."""

_NOTIFIED_NOBODY = "skipped"
_OF_OPEN_ONES = ("sweep_shard", "sweep_at", "open_shard", "task_token")
_MAX_SECONDS_AFTER_THE_DEADLINE = 60


@dataclass(frozen=True)
class Service:
    """All that the tables hold of one service, deleted jobs too.

    ``queues``: the executions that wait in the queue of each lock and limit, as the queue names them.
    """

    jobs: list[Json]
    records: list[Json]
    limits: list[Json]
    queues: dict[str, list[str]]


class View(Protocol):
    """A stage as it is now, past its API."""

    def service(self, name: str) -> Service:
        """All that the tables hold of a service."""

    def machine_status(self, execution_id: str) -> str:
        """The status of an execution's machine, or ``unknown``."""

    def rule_name(self, schedule: str) -> str:
        """The name that the rule of a schedule has."""

    def rules(self) -> dict[str, Json]:
        """The rules of the stage's schedules, by name."""

    def scheduled(self, name: str) -> Json | None:
        """What EventBridge Scheduler says of a schedule; None if there is none of that name."""

    def starts_executions(self, rule_name: str) -> bool:
        """Whether a rule has the target that starts executions."""

    def is_start_function(self, arn: str) -> bool:
        """Whether an ARN is that of the function that starts executions."""

    def now_ms(self) -> int:
        """The time of the stage."""

    def schedule_counts(self) -> dict[str, int]:
        """The ``job_count`` of each schedule of the stage."""

    def users_of(self, schedule: str, jobs: Iterable[Json]) -> int:
        """How many active jobs have a schedule: these, and others."""


def broken_invariants(
    stage: View,
    service_names: Iterable[str],
    *,
    received: Iterable[Mapping[str, Any]] = (),
    excused: Collection[Attempt] = (),
    acknowledged: Iterable[tuple[str, int, str]] = (),
    schedules: Iterable[str] = (),
    notified_at_ms: Mapping[str, int] | None = None,
    are_ticks_by_hand: bool = False,
) -> list[str]:
    """A sentence for each thing that is not as it must be; empty if all is well.

    ``received``: the notifications that the services got, each as often as it came. ``excused``: the attempts
    of which a notification may come twice, as its answer was lost. ``acknowledged``: the final callbacks that
    were answered with 200, as (execution_id, attempt, status). ``schedules``: those to look at besides what
    the services' jobs have or had, in canonical form. ``notified_at_ms``: when an execution's service was
    first called, for those of which that is known better than from their records. ``are_ticks_by_hand``:
    somebody invokes the function of ticks, or changes triggers, so that jobs run at any time.
    """
    received = list(received)
    services = [stage.service(name) for name in service_names]
    jobs = [job for service in services for job in service.jobs]
    records = [record for service in services for record in service.records]
    machines = {name: stage.machine_status(name) for name in (each["execution_id"] for each in records)}
    known = {record["execution_id"]: record for record in records}
    return [
        *locks_of_the_dead(jobs, known, machines),
        *unfinished_executions(records, machines),
        *doubled_executions(records),
        *wrong_last_executions(jobs, records),
        *overlapping_holders(
            jobs, records, {each["execution_id"] for each in received}, notified_at_ms or {}
        ),
        *lost_results(acknowledged, known),
        *wrong_notifications(received, excused, known),
        *wrong_schedules(stage, jobs, schedules),
        *wrong_completions(jobs, records),
        *(sentence for service in services for sentence in wrong_turns(service)),
        *(() if are_ticks_by_hand else wrong_times(records)),
    ]


def locks_of_the_dead(
    jobs: Iterable[Json], known: Mapping[str, Json], machines: Mapping[str, str]
) -> Iterator[str]:
    """A lock is held by an execution that is running, and by nobody else.

    An Express execution runs although nothing waits for it.
    """
    for job in jobs:
        holder = job.get("lock_execution")
        if holder is None:
            continue
        if holder not in known:
            yield f"the lock of {job['job_key']} is held by {holder}, of which there is no record"
        elif known[holder]["status"] == WAITING:
            if known[holder]["waits_for"] == "lock":
                yield f"the lock of {job['job_key']} is held by {holder}, which waits for it"
        elif known[holder]["status"] != RUNNING:
            status = known[holder]["status"]
            yield f"the lock of {job['job_key']} is held by {holder}, which has ended as {status}"
        elif machines[holder] != "RUNNING" and not _is_express(known[holder]):
            yield f"the lock of {job['job_key']} is held by {holder}, whose machine is {machines[holder]}"


def unfinished_executions(records: Iterable[Json], machines: Mapping[str, str]) -> Iterator[str]:
    """What is running runs, or the sweep finds it in time; what has ended is settled, closed, and stopped."""
    for record in records:
        name, status, machine = record["execution_id"], record["status"], machines[record["execution_id"]]
        if status == RUNNING:
            if machine != "RUNNING" and not _is_express(record):
                yield f"{name} is running, and its machine is {machine}"
            if wrong := _why_not_swept(record):
                yield f"{name} is running, but the sweep would not find it in time: {wrong}"
            continue
        if status == WAITING:
            if machine == "RUNNING":
                yield f"{name} waits, and its machine is {machine}"
            if "sweep_at" not in record:
                yield f"{name} waits, and the sweep would not find it"
            continue
        if status not in FINAL_STATUSES:
            yield f"{name} has the unknown status {status}"
        if left := [each for each in _OF_OPEN_ONES if each in record]:
            yield f"{name} has ended as {status}, and is still among the open ones: {left}"
        if "settled_at_ms" not in record:
            yield f"{name} has ended as {status}, and was never settled"
        if machine == "RUNNING":
            yield f"{name} has ended as {status}, and its machine runs on"


def _is_express(record: Json) -> bool:
    return is_express(cast(Execution, record))


def _why_not_swept(record: Json) -> str | None:
    """Why the sweep would not find a running execution soon after its deadline; None if it would.

    One of the version before is found by its deadline, in an index of its own.
    """
    if "open_shard" in record and not _is_express(record):
        return None
    # All indexes of a record have the same shard.
    if record.get("sweep_shard") != f"sweep#{record['day_shard'].rpartition('#')[2]}":
        return f"its sweep_shard is {record.get('sweep_shard')}"
    seconds = record.get("sweep_at", float("inf")) - record["lock_expires_at"]
    if seconds > _MAX_SECONDS_AFTER_THE_DEADLINE:
        return f"its sweep_at is {seconds} s after its deadline"
    return None


def doubled_executions(records: Iterable[Json]) -> Iterator[str]:
    """A job runs once at a time of its schedule, however often the tick came.

    One that moved between two schedules has a second execution for that time, if the first was skipped. Two
    executions may end in one second, and the jobs after them then run twice for that time.
    """
    by_tick = (each for each in records if "started_by" not in each and "parents" not in each)
    due = (each for each in by_tick if each["status"] != _NOTIFIED_NOBODY)
    times = Counter((f"{each['service_name']}/{each['job_name']}", each["scheduled_time"]) for each in due)
    for (job_key, scheduled_time), number in times.items():
        if number > 1:
            yield f"{job_key} ran {number} times for {scheduled_time}"


def wrong_last_executions(jobs: Iterable[Json], records: Sequence[Json]) -> Iterator[str]:
    """A job knows the last of its executions that have ended, and the last of the successful ones."""
    for job in jobs:
        ended = [
            record
            for record in records
            if record["job_guid"] == job["job_guid"] and record["status"] in FINAL_STATUSES
        ]
        ended = [record for record in ended if record["status"] != _NOTIFIED_NOBODY]
        successful = [record for record in ended if record["status"] == "success"]
        for name, of in (("last_execution", ended), ("last_successful_execution", successful)):
            last = [record for record in of if not any(_is_later(other, record) for other in of)]
            # If the job was exclusive only at times, each may be earlier than another: then any may be the
            # last.
            expected = [(record["execution_id"], record["status"]) for record in last or of]
            kept = job.get(name)
            found = kept and (kept["execution_id"], kept["status"])
            if (found or expected) and found not in expected:
                yield f"{name} of {job['job_key']} is {found}, and should be one of {expected}"


def _is_later(one: Json, other: Json) -> bool:
    """Of two that held the lock, the one with the higher token is later; else the one that ended later.

    Of two that ended in the same millisecond, it is the one whose execution_id sorts later.
    """
    if "fencing_token" in one and "fencing_token" in other:
        return bool(one["fencing_token"] > other["fencing_token"])
    first, second = ((each["finished_at_ms"], each["execution_id"]) for each in (one, other))
    return bool(first > second)


def overlapping_holders(
    jobs: Iterable[Json],
    records: Sequence[Json],
    received: Collection[str],
    notified_at_ms: Mapping[str, int],
) -> Iterator[str]:
    """Each holder of a lock has a token of its own, the later the higher, and is notified after the last.

    An execution that was notified lets its lock go when it ends, or when its ``lock_expires_at`` passes. If
    it is known who received a notification, those who did not are left out: a record notes a notification
    before it is sent. It notes the time before the lock is taken, which may take seconds.
    """
    for job in jobs:
        of_the_job = [record for record in records if record["job_guid"] == job["job_guid"]]
        holders = sorted(
            (record for record in of_the_job if "fencing_token" in record),
            key=lambda record: int(record["fencing_token"]),
        )
        for record in of_the_job:
            is_due_one = record.get("exclusive") and record["status"] not in (_NOTIFIED_NOBODY, WAITING)
            has_begun = "waiting_since_ms" not in record or "lock_expires_at" in record
            if is_due_one and has_begun and "fencing_token" not in record:
                yield f"{record['execution_id']} ran without the lock of {job['job_key']}"
        if holders and holders[-1]["fencing_token"] > job.get("fencing_token", 0):
            yield f"the fencing_token of {job['job_key']} is behind that of {holders[-1]['execution_id']}"
        for earlier, later in pairwise(holders):
            if earlier["fencing_token"] == later["fencing_token"]:
                yield f"{earlier['execution_id']} and {later['execution_id']} have the same fencing_token"
        notified = [(record, first_invoked_at_ms(cast(Execution, record))) for record in holders]
        told = [
            (record, notified_at_ms.get(record["execution_id"], ms))
            for record, ms in notified
            if ms is not None
            and record["status"] != _NOTIFIED_NOBODY
            and (not received or record["execution_id"] in received)
        ]
        for (earlier, _), (later, later_ms) in pairwise(told):
            if "Manager.LockLost" in earlier.get("error", ""):
                continue  # its record says until when it would have had the lock
            free_at_ms = min(
                earlier.get("finished_at_ms", earlier["lock_expires_at"] * 1000),
                earlier["lock_expires_at"] * 1000,
            )
            if later_ms < free_at_ms:
                yield (
                    f"{later['execution_id']} was notified {free_at_ms - later_ms} ms before"
                    f" {earlier['execution_id']} had let go of the lock of {job['job_key']}"
                )


def lost_results(acknowledged: Iterable[tuple[str, int, str]], known: Mapping[str, Json]) -> Iterator[str]:
    """What a service was answered with 200 stands in the record."""
    for name, attempt, status in acknowledged:
        record = known.get(name)
        stands = None if record is None else _status_of_attempt(record, attempt)
        if stands != status:
            yield f"attempt {attempt} of {name} was acknowledged as {status}, and the record says {stands}"


def wrong_notifications(
    received: Iterable[Mapping[str, Any]], excused: Collection[Attempt], known: Mapping[str, Json]
) -> Iterator[str]:
    """A service is notified once of an attempt, and only of what has a record and was not skipped."""
    came = Counter((each["execution_id"], each["attempt"]) for each in received)
    for (name, attempt), times in came.items():
        if times > 1 and (name, attempt) not in excused:
            yield f"attempt {attempt} of {name} was notified {times} times"
        if name not in known:
            yield f"{name} was notified, and there is no record of it"
        elif known[name]["status"] == _NOTIFIED_NOBODY:
            yield f"{name} was notified, and is skipped"
        elif attempt > attempts.latest(cast(Execution, known[name])):
            yield f"attempt {attempt} of {name} was notified, and the record knows of no such attempt"


def _status_of_attempt(record: Json, attempt: int) -> str | None:
    earlier = record.get("attempts", [])
    if attempt <= len(earlier):
        return str(earlier[attempt - 1]["status"])
    return str(record["status"]) if attempt == attempts.current(cast(Execution, record)) else None
