"""Creates, replaces, deletes, pauses, resumes and completes jobs, each change in one transaction.

A job is completed (``completed_at``) if its schedule never fires again. One that is active then stays so
until the reconciler has accounted for its last tick (jobmanager.executions.completion). One that would only
now become active is completed at once, and enters no schedule.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from jobmanager.api.fields import bad_field
from jobmanager.api.preconditions import Expected, check, is_repeated
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import Conflict, Contended, ManagedElsewhere, NotFound
from jobmanager.core.mappings import picked
from jobmanager.core.names import job_guid, job_key
from jobmanager.core.retry import tries
from jobmanager.jobs import activity, chains, events, store
from jobmanager.jobs.definition import (
    DEFINITION_FIELDS,
    MANAGER,
    Job,
    JobDefinition,
    Paused,
    Pausing,
    has_streak,
    is_chained,
    is_deleted,
    is_to_be_paused,
    wants_runs,
)
from jobmanager.jobs.places import may_change
from jobmanager.jobs.timing import schedule_key, timing_of_job
from jobmanager.schedules.expression import is_at
from jobmanager.schedules.fire_times import fires_again

_MAX_TRIES = 8
_MAX_LEFT_SCHEDULES = 3

type _Changed = Mapping[str, Any]
"""A job as a change wants it; :func:`_change` adds the version and the derived fields."""


def save(
    service_name: str,
    job_name: str,
    defined: JobDefinition,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
    request_id: str | None = None,
) -> tuple[Job, bool]:
    """Creates the job or replaces its definition; returns the job, and whether it was created.

    The same definition again changes nothing, so the step is safe to repeat. Each write requires that nobody
    else has written since the job was read, so concurrent saves are applied one after the other. The job
    lists the schedules that it left in ``left_schedules``, so a repeated step also knows which rules to
    settle.

    ``request_id`` identifies the request, whose write then counts as its own if the step is repeated.

    ``managed_by`` says where the job is defined as code. Raises ManagedElsewhere if the job is defined in a
    place whose jobs this one may not change; a save without ``managed_by`` may change none of them. Raises
    PreconditionFailed if the job is not as ``expected``. Raises BadRequest for an ``at`` whose time has
    passed, unless the job has it already, and for an ``after`` that :mod:`jobmanager.jobs.chains` refuses.
    """

    def change(old: Job | None) -> _Changed:
        known: _Changed = old or {}
        was_deleted = old is not None and is_deleted(old)
        if old is not None and not was_deleted:
            if "managed_by" in old and not may_change(old["managed_by"], managed_by):
                raise _managed_elsewhere(old)
            # A job that the version before saved is Standard, and does not say so.
            standard: dict[str, Any] = {"workflow_type": "standard"}
            is_same = standard | picked(old, DEFINITION_FIELDS) == standard | dict(defined)
            if is_same and old.get("managed_by") == managed_by:
                return old
        _check_once(None if was_deleted else old, defined, now_ms)
        dropped = {*DEFINITION_FIELDS, "deleted_at", "managed_by", "request_id"}
        if was_deleted:
            dropped |= {"paused", "created_at", "streak", "active_before", "completed_at", "arrivals"}
        dropped |= set() if is_chained(defined) else {"arrivals"}
        # Without these nobody counts the streak. An old one must not continue later.
        dropped |= set() if has_streak(defined) else {"streak"}
        return {
            "created_at": _created_at(old, now_ms),
            **{name: value for name, value in known.items() if name not in dropped},
            **defined,
            **({"managed_by": managed_by} if managed_by else {}),
            **({"request_id": request_id} if request_id else {}),
            "service_name": service_name,
            "job_name": job_name,
            "job_key": job_key(service_name, job_name),
            "job_guid": job_guid(service_name, job_name),
            "catalog": store.CATALOG,
        }

    old, job = _change(
        service_name, job_name, change, updated_by, now_ms, expected, request_id, is_saving=True
    )
    return job, old is None or (is_deleted(old) and not is_deleted(job))


def _check_once(old: Job | None, defined: JobDefinition, now_ms: int) -> None:
    """Raises BadRequest if the job newly gets an ``at`` that does not fire any more.

    A job keeps its ``at`` when its time has passed, so that its other fields can still be changed.
    """
    if is_chained(defined):
        return
    timing = timing_of_job(defined)
    if not is_at(timing.schedule) or fires_again(timing, now_ms):
        return
    if old is None or is_chained(old) or timing_of_job(old) != timing:
        raise bad_field(
            "schedule",
            f"{timing.schedule} does not fire any more: expected a time after {iso(now_ms)} that the clocks"
            f" of {timing.time_zone} do not skip",
        )


def _created_at(old: Job | None, now_ms: int) -> str:
    """Returns when a job is created; if it was created before, at least a second later.

    By this time, executions of the deleted job know that it is another one.
    """
    return iso(now_ms if old is None else max(now_ms, ms_of_iso(old["created_at"]) + 1000))


def delete(
    service_name: str,
    job_name: str,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> Job:
    """Replaces the job by a tombstone; deleting again changes nothing. Raises NotFound.

    Raises ManagedElsewhere if the job is defined as code, but not in ``managed_by``, and Conflict if it is
    not defined as code at all. Raises PreconditionFailed if the job is not as ``expected``.
    """

    def change(old: Job | None) -> _Changed:
        if old is None:
            raise NotFound(f"There is no job {job_key(service_name, job_name)}.")
        if is_deleted(old):
            return old
        if "managed_by" in old and old["managed_by"] != managed_by:
            raise _managed_elsewhere(old)
        if "managed_by" not in old and managed_by is not None:
            raise Conflict(
                f"{old['job_key']} is not managed by {managed_by}, but with the API. To delete it, leave"
                " managed_by out."
            )
        return {**old, "deleted_at": iso(now_ms)}

    # A job that comes to run after this one does not change its version, but has to be told of.
    of_others = ("children",)
    return _change(service_name, job_name, change, updated_by, now_ms, expected, unless_changed=of_others)[1]


def pause(service_name: str, job_name: str, pausing: Pausing, updated_by: str, now_ms: int) -> Job:
    """Pauses a job: its schedule no longer runs it, but callers still can. Raises NotFound.

    Without ``until`` the job leaves its rule. With ``until`` it stays on the rule, and its executions until
    then are skipped.
    """
    paused = cast(Paused, {**pausing, "paused_at": iso(now_ms), "paused_by": updated_by})

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        is_same = picked(job.get("paused", {}), ("reason", "until")) == pausing
        return job if is_same else {**job, "paused": paused}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def pause_failing(service_name: str, job_name: str, execution_id: str, now_ms: int) -> Job:
    """Pauses a job without end, if an execution was the failure after which it is to be paused.

    Changes nothing if the job was paused, resumed or changed to another schedule meanwhile, or has succeeded:
    the write requires that the streak has not changed since it was read. Raises NotFound.
    """

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        if not is_to_be_paused(job, execution_id, now_ms):
            return job
        failures = job["streak"]["to_pause"]["failures"]
        paused: Paused = {
            "code": "failures_in_a_row",
            "reason": f"{failures} {'failure' if failures == 1 else 'failures'} in a row,"
            f" the last one in {execution_id}; pause_after_failures is {job['pause_after_failures']}",
            "paused_at": iso(now_ms),
            "paused_by": MANAGER,
        }
        return {**job, "paused": paused}

    return _change(service_name, job_name, change, MANAGER, now_ms, unless_changed=("streak",))[1]


def resume(service_name: str, job_name: str, updated_by: str, now_ms: int) -> Job:
    """Ends the pause of a job; changes nothing if the job is not paused. Raises NotFound.

    The job counts as active from the end of the pause on, so that it catches up with no tick of the pause.
    """

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        return {name: value for name, value in job.items() if name != "paused"}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def complete(service_name: str, job_name: str, schedule: str, updated_by: str, now_ms: int) -> bool:
    """Completes a job that is on a schedule, given by its key, which never fires again. Safe to repeat.

    False if it is not on that schedule: it was completed, changed, paused or deleted meanwhile.
    """

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        if job.get("active_schedule") != schedule or fires_again(timing_of_job(job), now_ms):
            return job
        return {**job, "completed_at": iso(now_ms)}

    try:
        before, job = _change(service_name, job_name, change, updated_by, now_ms)
    except NotFound:
        return False
    return before != job


def _managed_elsewhere(job: Job) -> ManagedElsewhere:
    return ManagedElsewhere(
        f"{job['job_key']} is managed by {job['managed_by']}: change it there. Pause, resume, run now,"
        " cancel and rerun are possible here.",
        managed_by=job["managed_by"],
    )


def _change(
    service_name: str,
    job_name: str,
    change: Callable[[Job | None], _Changed],
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    request_id: str | None = None,
    is_saving: bool = False,
    unless_changed: tuple[str, ...] = (),
) -> tuple[Job | None, Job]:
    """Writes what ``change`` makes of the job, if it differs; returns the job before and after.

    ``unless_changed``: attributes that executions or changes of other jobs write, and that must be as
    ``change`` has seen them.

    If somebody else wrote meanwhile, ``change`` is called again with the new version of the job. ``expected``
    is checked even if nothing changes, unless the same request was applied before, as RFC 9110 allows:
    https://www.rfc-editor.org/rfc/rfc9110.html#section-13.1.1
    """
    for _ in tries(_MAX_TRIES):
        old = store.find(service_name, job_name, is_saving=is_saving)
        changed = change(old)
        if old is not None and changed == old:
            events.publish_pending(old)
            if not _has_made(old, updated_by, expected or {}, request_id):
                _check(expected, old, service_name, job_name)
            return old, old
        _check(expected, old, service_name, job_name)
        pending = events.pending_after_publishing(old)
        new = _with_derived_fields(old, changed, updated_by, now_ms)
        new["untold_events"] = events.with_change(pending, old, new, now_ms)
        new["untold_since"] = iso(now_ms)
        if store.replace(old, new, unless_changed, chains.link_changes(old, new)):
            # If SNS has failed just now, do not make the caller wait for another try.
            if not pending:
                events.publish_pending(new)
            return old, new
    raise Contended(f"{job_key(service_name, job_name)} is being changed by others.")


def _check(expected: Expected | None, old: Job | None, service_name: str, job_name: str) -> None:
    version = None if old is None or is_deleted(old) else old["version"]
    check(expected or {}, job_key(service_name, job_name), version)


def _has_made(job: Job, updated_by: str, expected: Expected, request_id: str | None) -> bool:
    """Whether this request, or the same one of this caller before, has made the job what it is.

    A step of a state machine is retried under the same ``request_id``. A caller whose answer was lost repeats
    an ``If-Match`` that names the version before the present one.
    """
    wanted = expected.get("if_match")
    is_deleted_before = is_deleted(job) and wanted == "*" and job["updated_by"] == updated_by
    return (
        (request_id is not None and job.get("request_id") == request_id)
        or is_repeated(expected, job, updated_by)
        or is_deleted_before
    )


def _with_derived_fields(old: Job | None, changed: _Changed, updated_by: str, now_ms: int) -> Job:
    """Adds the version and the derived fields: the schedule that the job is on, and those that it left."""
    left = old.get("active_schedule") if old else None
    new = cast(Job, {name: value for name, value in changed.items() if name != "active_schedule"})
    new["updated_at"] = iso(now_ms)
    new["updated_by"] = updated_by
    new["version"] = changed.get("version", 0) + 1
    entered = _schedule_to_be_on(new, left, now_ms)
    if entered:
        new["active_schedule"] = entered
    if not new["exclusive"]:
        new.pop("exclusive_since_ms", None)
    elif old is not None and not old["exclusive"]:
        # Executions that began before do not hold the lock. The first that takes it looks for them.
        new["exclusive_since_ms"] = now_ms
    new["left_schedules"] = _left_schedules(old, entered)
    if (_starter_of(new), new.get("paused")) != (_starter_of(old), old.get("paused") if old else None):
        new.pop("active_before", None)
        if spans := activity.spans_until(old, now_ms):
            new["active_before"] = spans
        if _starter_of(new):
            new["active_since_ms"] = now_ms
    return new


def _starter_of(job: Job | None) -> str | None:
    """Returns what starts the job: the schedule that it is on, or other jobs; None while nothing does."""
    if job is None or not is_chained(job):
        return job.get("active_schedule") if job else None
    return "after" if wants_runs(job) else None


def _schedule_to_be_on(new: Job, left: str | None, now_ms: int) -> str | None:
    """Returns the key of the schedule that the job is to be on; completes a job that would enter in vain."""
    runs_again = is_chained(new) or fires_again(timing_of_job(new), now_ms)
    if runs_again:
        new.pop("completed_at", None)
    if is_chained(new) or not wants_runs(new) or "completed_at" in new:
        return None
    schedule = schedule_key(new)
    if not runs_again and schedule != left:
        new["completed_at"] = iso(now_ms)
        return None
    return schedule


def _left_schedules(old: Job | None, entered: str | None) -> list[str]:
    """Returns the schedules that the job left last, newest first. Some may not be settled yet."""
    if old is None:
        return []
    left = dict.fromkeys((old.get("active_schedule"), *old.get("left_schedules", [])))
    others = [schedule for schedule in left if schedule and schedule != entered]
    return others[:_MAX_LEFT_SCHEDULES]
