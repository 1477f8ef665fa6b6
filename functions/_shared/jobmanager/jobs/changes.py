"""Changes of a job: each creates, replaces, deletes, pauses or resumes it, in one transaction."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from jobmanager.api.preconditions import Expected, check
from jobmanager.core.clock import iso
from jobmanager.core.errors import Contended, ManagedElsewhere, NotFound
from jobmanager.core.mappings import picked
from jobmanager.core.names import job_guid, job_key
from jobmanager.core.retry import tries
from jobmanager.jobs import events, store
from jobmanager.jobs.definition import DEFINITION_FIELDS, Job, JobDefinition, Paused, Pausing, is_deleted

_MOST_TRIES = 8
_MOST_LEFT_SCHEDULES = 3

type _Changed = Mapping[str, Any]
"""A job as a change wants it; :func:`_change` adds its version and what follows from its fields."""


def save(
    service_name: str,
    job_name: str,
    defined: JobDefinition,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> tuple[Job, bool]:
    """Creates the job or replaces its definition; returns the job, and whether it was created.

    The same definition again changes nothing, so the step is safe to repeat. Of two saves at once, one waits
    for the other: each write requires that nobody wrote since the job was read. The job keeps the schedules
    that it left in ``left_schedules``, so a repeated step also knows which rules to settle.

    ``managed_by`` says where the job is defined as code. A save without it comes from the API, and raises
    ManagedElsewhere for a job that has it. Raises PreconditionFailed if the job is not as ``expected``.
    """

    def change(old: Job | None) -> _Changed:
        known: _Changed = old or {}
        was_deleted = old is not None and is_deleted(old)
        if old is not None and not was_deleted:
            _leave_to_its_manager(old, managed_by)
            if picked(old, DEFINITION_FIELDS) == defined and old.get("managed_by") == managed_by:
                return old
        gone = {*DEFINITION_FIELDS, "deleted_at", "managed_by"}
        gone |= {"paused", "created_at", "streak"} if was_deleted else set()
        # Nobody counts the streak of a job without alert_after_failures, so an old one must not go on later.
        gone |= set() if "alert_after_failures" in defined else {"streak"}
        return {
            "created_at": iso(now_ms),
            **{name: value for name, value in known.items() if name not in gone},
            **defined,
            **({"managed_by": managed_by} if managed_by else {}),
            "service_name": service_name,
            "job_name": job_name,
            "job_key": job_key(service_name, job_name),
            "job_guid": job_guid(service_name, job_name),
            "catalog": store.CATALOG,
        }

    old, job = _change(service_name, job_name, change, updated_by, now_ms, expected)
    return job, old is None or (is_deleted(old) and not is_deleted(job))


def delete(
    service_name: str,
    job_name: str,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> Job:
    """Leaves a tombstone; deleting again changes nothing. Raises NotFound if there never was such a job.

    With ``managed_by``, only a job that is managed there is deleted. Without it, a job that is managed
    anywhere raises ManagedElsewhere. Raises PreconditionFailed if the job is not as ``expected``.
    """

    def change(old: Job | None) -> _Changed:
        if old is None:
            raise NotFound(f"There is no job {job_key(service_name, job_name)}.")
        if is_deleted(old):
            return old
        _leave_to_its_manager(old, managed_by)
        if old.get("managed_by") != managed_by:
            return old
        return {**old, "deleted_at": iso(now_ms)}

    return _change(service_name, job_name, change, updated_by, now_ms, expected)[1]


def pause(service_name: str, job_name: str, pausing: Pausing, updated_by: str, now_ms: int) -> Job:
    """Keeps a job from firing. Its definition stays, and callers may still run it by hand. Raises NotFound.

    Without ``until`` the job leaves its rule. With ``until`` the rule stays, and the executions that it
    starts before then are skipped.
    """
    paused: Paused = {**pausing, "paused_at": iso(now_ms), "paused_by": updated_by}

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        is_same = picked(job.get("paused", {}), ("reason", "until")) == pausing
        return job if is_same else {**job, "paused": paused}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def resume(service_name: str, job_name: str, updated_by: str, now_ms: int) -> Job:
    """Lets a job fire again, if it is enabled. Changes nothing if the job is not paused. Raises NotFound."""

    def change(old: Job | None) -> _Changed:
        job = store.existing(old, service_name, job_name)
        return {name: value for name, value in job.items() if name != "paused"}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def _leave_to_its_manager(job: Job, managed_by: str | None) -> None:
    """Refuses a change by the API of a job that is defined as code."""
    if managed_by is None and "managed_by" in job:
        raise ManagedElsewhere(
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
) -> tuple[Job | None, Job]:
    """Writes the job as ``change`` wants it, unless it is so already; returns the job before and after.

    If somebody else wrote meanwhile, ``change`` is called again with the job as it is then. ``expected``
    applies only to a job that is really replaced, so a repeated change succeeds although its first write made
    its own If-Match stale: https://www.rfc-editor.org/rfc/rfc9110.html#section-13.1.1
    """
    for _ in tries(_MOST_TRIES):
        old = store.find(service_name, job_name)
        changed = change(old)
        if old is not None and changed == old:
            events.publish_pending(old)
            return old, old
        version = None if old is None or is_deleted(old) else old["version"]
        check(expected or {}, job_key(service_name, job_name), version)
        pending = events.pending_after_publishing(old)
        new = _with_what_follows(old, changed, updated_by, now_ms)
        new["untold_events"] = events.with_change(pending, old, new, now_ms)
        if store.replace(old, new):
            # If SNS failed just now, the caller need not wait for another try.
            if not pending:
                events.publish_pending(new)
            return old, new
    raise Contended(f"{job_key(service_name, job_name)} is being changed by others.")


def _with_what_follows(old: Job | None, changed: _Changed, updated_by: str, now_ms: int) -> Job:
    """The changed job with its version, and with the schedules that it is on and that it left."""
    new = cast(Job, {name: value for name, value in changed.items() if name != "active_schedule"})
    new["updated_at"] = iso(now_ms)
    new["updated_by"] = updated_by
    new["version"] = changed.get("version", 0) + 1
    if _is_active(new):
        new["active_schedule"] = new["schedule"]
    entered = new.get("active_schedule")
    left = old.get("active_schedule") if old else None
    new["left_schedules"] = _left_schedules(old, entered)
    if entered and entered != left:
        new["active_since_ms"] = now_ms
    return new


def _is_active(job: Job) -> bool:
    """Whether the rule of its schedule starts the job."""
    is_paused_for_good = "paused" in job and "until" not in job["paused"]
    return job["enabled"] and not is_deleted(job) and not is_paused_for_good


def _left_schedules(old: Job | None, entered: str | None) -> list[str]:
    """The schedules that the job left last, newest first: an earlier one may not be settled yet."""
    if old is None:
        return []
    left = dict.fromkeys((old.get("active_schedule"), *old.get("left_schedules", [])))
    others = [schedule for schedule in left if schedule and schedule != entered]
    return others[:_MOST_LEFT_SCHEDULES]
