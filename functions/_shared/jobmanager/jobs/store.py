"""The jobs table. A deleted job stays as a tombstone: its history, its fencing tokens and its guid go on."""

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from jobmanager.api.preconditions import Expected, check
from jobmanager.aws import tables
from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso
from jobmanager.core.errors import Contended, ManagedElsewhere, NotFound
from jobmanager.core.names import job_guid, job_key, name_errors, split_job_key
from jobmanager.core.settings import setting
from jobmanager.jobs import events as job_events
from jobmanager.jobs.definition import DEFINITION_FIELDS, JobDefinition
from jobmanager.schedules import counts as schedules

type Job = dict[str, Any]

_ATTEMPTS = 8
_MOST_LEFT_SCHEDULES = 3
_CATALOG = "jobs"


def key(service_name: str, job_name: str) -> dict[str, str]:
    """The primary key of a job."""
    return {"service_name": service_name, "job_name": job_name}


def find(service_name: str, job_name: str) -> Job | None:
    """The job as it is now, be it deleted; None if there never was one."""
    if name_errors(service_name, job_name):
        return None
    return tables.get(setting("JOBS_TABLE"), key(service_name, job_name))


def read(service_name: str, job_name: str) -> Job:
    """The job as it is now; raises NotFound if there is none, or it was deleted."""
    return _existing(find(service_name, job_name), service_name, job_name)


def is_deleted(job: Job) -> bool:
    """Whether only a tombstone is left of it."""
    return "deleted_at" in job


def save(
    service_name: str,
    job_name: str,
    defined: JobDefinition,
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> tuple[Job, bool]:
    """Creates the job or replaces its definition; answers the job, and whether it was created.

    The same definition again changes nothing, which makes the step repeatable. Two saves at once end in one
    order or the other: each is written on the condition that nobody wrote since it read. A change of schedule
    is kept in ``left_schedules`` on the job, so that also a repeated step knows which rules to settle.

    ``managed_by`` says where the job is defined as code; a save without it is the API's, and raises
    ManagedElsewhere for a job that has it. Raises PreconditionFailed if the job is not as ``expected``.
    """

    def change(old: Job | None) -> Job:
        known: Job = {} if old is None else old
        if old is not None and not is_deleted(old):
            _leave_to_its_manager(old, managed_by)
            if _definition_of(old) == defined and old.get("managed_by") == managed_by:
                return old
        gone = {*DEFINITION_FIELDS, "deleted_at", "managed_by"}
        gone |= {"paused", "created_at", "streak"} if is_deleted(known) else set()
        # A streak that nobody went on counting would be taken up where it was left.
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
            "catalog": _CATALOG,
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

    With ``managed_by``, a job that is not managed there stays as it is; without, ManagedElsewhere is raised
    for a job that is managed anywhere. Raises PreconditionFailed if the job is not as ``expected``.
    """

    def change(old: Job | None) -> Job:
        if old is None:
            raise NotFound(f"There is no job {job_key(service_name, job_name)}.")
        if is_deleted(old):
            return old
        _leave_to_its_manager(old, managed_by)
        if old.get("managed_by") != managed_by:
            return old
        return {**old, "deleted_at": iso(now_ms)}

    return _change(service_name, job_name, change, updated_by, now_ms, expected)[1]


def pause(service_name: str, job_name: str, pausing: dict[str, Any], updated_by: str, now_ms: int) -> Job:
    """Keeps a job from firing; its definition, and who may run it by hand, stay as they are.

    ``pausing``: ``reason``, and ``until`` in ms if it shall end by itself. Without ``until`` the job leaves
    its rule; with it the rule stays, and what it starts before then is skipped. Raises NotFound.
    """
    paused = {**pausing, "paused_at": iso(now_ms), "paused_by": updated_by}

    def change(old: Job | None) -> Job:
        job = _existing(old, service_name, job_name)
        known = job.get("paused", {})
        is_same = {name: known.get(name) for name in ("reason", "until")} == {"until": None, **pausing}
        return job if is_same else {**job, "paused": paused}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def resume(service_name: str, job_name: str, updated_by: str, now_ms: int) -> Job:
    """Lets a job fire again, if it is enabled; of one that is not paused nothing changes. Raises NotFound."""

    def change(old: Job | None) -> Job:
        job = _existing(old, service_name, job_name)
        return {name: value for name, value in job.items() if name != "paused"}

    return _change(service_name, job_name, change, updated_by, now_ms)[1]


def is_paused(job: Job, at_ms: int) -> bool:
    """Whether a job is paused at that time."""
    return "paused" in job and at_ms < job["paused"].get("until", at_ms + 1)


def is_to_catch_up(job: Job, schedule: str, missed_ms: int) -> bool:
    """Whether a job wants to be started for a time that was missed, and would have been started then."""
    return (
        job.get("catch_up") == "one"
        and job.get("active_schedule") == schedule
        and job.get("active_since_ms", missed_ms + 1) <= missed_ms
        and not is_paused(job, missed_ms)
    )


def _existing(job: Job | None, service_name: str, job_name: str) -> Job:
    if job is None or is_deleted(job):
        raise NotFound(f"There is no job {job_key(service_name, job_name)}. PUT it to create it.")
    return job


def _leave_to_its_manager(job: Job, managed_by: str | None) -> None:
    """Refuses what the API may not do to a job that is defined as code."""
    if managed_by is None and "managed_by" in job:
        raise ManagedElsewhere(
            f"{job['job_key']} is managed by {job['managed_by']}: change it there. Pause, resume, run now,"
            " cancel and rerun are possible here.",
            managed_by=job["managed_by"],
        )


def _change(
    service_name: str,
    job_name: str,
    change: Callable[[Job | None], Job],
    updated_by: str,
    now_ms: int,
    expected: Expected | None = None,
) -> tuple[Job | None, Job]:
    """Writes what ``change`` makes of the job, unless that is as it was; answers the job before and after.

    If somebody else wrote meanwhile, the change is made again, of what is there then. What is ``expected``
    is of the job that the change replaces. A job that is already as asked is none to be replaced, so a
    change may be repeated although its own first writing made its If-Match stale:
    https://www.rfc-editor.org/rfc/rfc9110.html#section-13.1.1
    """
    for attempt in range(_ATTEMPTS):
        old = find(service_name, job_name)
        changed = change(old)
        if changed == old:
            job_events.tell(changed)
            return old, changed
        version = None if old is None or is_deleted(old) else old["version"]
        check(expected or {}, job_key(service_name, job_name), version)
        untold = job_events.untold_after_telling(old)
        new = {name: value for name, value in changed.items() if name != "active_schedule"} | _active(changed)
        new |= {"updated_at": iso(now_ms), "updated_by": updated_by, "version": changed.get("version", 0) + 1}
        new |= _schedule_left(old, new.get("active_schedule"))
        new |= _active_since(old, new, now_ms)
        new["untold_events"] = job_events.with_change(untold, old, new, now_ms)
        if _write(old, new):
            # If the subscribers could not be told just now, the caller need not wait for another try.
            if not untold:
                job_events.tell(new)
            return old, new
        # Many jobs that change at once share the count of a schedule.
        time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise Contended(f"{job_key(service_name, job_name)} is being changed by others.")


def _active(job: Job) -> dict[str, str]:
    """``active_schedule``, which only a job has that its rule shall start."""
    is_paused_for_good = "paused" in job and "until" not in job["paused"]
    is_active = job["enabled"] and not is_deleted(job) and not is_paused_for_good
    return {"active_schedule": job["schedule"]} if is_active else {}


def _active_since(old: Job | None, new: Job, now_ms: int) -> dict[str, int]:
    """``active_since_ms``: when the job entered the schedule that it has, if that is now."""
    known: Job = old or {}
    stays = "active_schedule" in new and new["active_schedule"] == known.get("active_schedule")
    return {} if stays or "active_schedule" not in new else {"active_since_ms": now_ms}


def many(keys: Iterable[str]) -> list[Job]:
    """The jobs with these job_keys (100 at most) in that order, without those that do not exist."""
    wanted = list(keys)
    items = tables.get_many(setting("JOBS_TABLE"), [key(*split_job_key(job)) for job in wanted])
    found = {job["job_key"]: job for job in items if not is_deleted(job)}
    return [found[job] for job in wanted if job in found]


def _schedule_left(old: Job | None, entered: str | None) -> dict[str, list[str]]:
    """The schedules that the job left last, newest first: an earlier one may not be settled yet."""
    known: Job = old or {}
    left = dict.fromkeys((known.get("active_schedule"), *known.get("left_schedules", [])))
    others = [schedule for schedule in left if schedule and schedule != entered]
    return {"left_schedules": others[:_MOST_LEFT_SCHEDULES]}


def _definition_of(job: Job) -> dict[str, Any]:
    return {name: job[name] for name in DEFINITION_FIELDS if name in job}


def _write(old: Job | None, new: Job) -> bool:
    """Writes what differs; False if the job changed since ``old`` was read.

    Only the differing attributes are named, so that locks and results that executions write meanwhile stay.
    """
    before = old or {}
    changed = {name: value for name, value in new.items() if before.get(name) != value}
    removed = [name for name in before if name not in new]
    for part in ("service_name", "job_name"):
        changed.pop(part, None)
    sets = ", ".join(f"#{name} = :{name}" for name in changed)
    removes = f" REMOVE {', '.join(f'#{name}' for name in removed)}" if removed else ""
    values = {f":{name}": value for name, value in changed.items()} | {":seen": before.get("version", 0)}
    return tables.transact(
        [
            {
                "Update": {
                    "TableName": setting("JOBS_TABLE"),
                    "Key": to_item(key(new["service_name"], new["job_name"])),
                    "UpdateExpression": f"SET {sets}{removes}",
                    "ConditionExpression": "attribute_not_exists(#version) OR #version = :seen"
                    if old is None
                    else "#version = :seen",
                    "ExpressionAttributeNames": {
                        f"#{name}": name for name in {*changed, *removed, "version"}
                    },
                    "ExpressionAttributeValues": to_item(values),
                }
            },
            *schedules.count_changes(
                before.get("active_schedule"), new.get("active_schedule"), new.get("active_since_ms")
            ),
        ]
    )


# --- what executions do to a job -------------------------------------------------------------------------


def extend_lock(service_name: str, job_name: str, execution_id: str, expires_at: int) -> bool:
    """Moves ``lock_expires_at`` (seconds since 1970); False if the lock has passed to another execution."""
    job = tables.update_if(
        setting("JOBS_TABLE"),
        key(service_name, job_name),
        "SET lock_expires_at = :until",
        "lock_execution = :me",
        {":until": expires_at, ":me": execution_id},
    )
    return job is not None


def remember(service_name: str, job_name: str, finished: dict[str, Any], frees_lock: bool) -> Job | None:
    """Keeps a finished execution as the job's last one, and as its last successful one if it was that.

    An older execution that ends late replaces nothing newer, and frees no lock but its own. Repeatable.
    Answers the job as it is then; None if there is none.
    """
    names = ["last_execution"]
    if finished["status"] == "success":
        names.append("last_successful_execution")
    summary = {name: value for name, value in finished.items() if name != "state"}
    values = {
        ":last_execution": summary,
        ":last_successful_execution": finished,
        ":me": finished["execution_id"],
    }
    newest = {name: f"(attribute_not_exists({name}) OR {name}.scheduled_time_ms <= :time)" for name in names}
    sets = {name: f"{name} = :{name}" for name in names}

    def update(chosen: list[str], frees: bool) -> Job | None:
        freeing = " REMOVE lock_execution, lock_expires_at" if frees else ""
        conditions = ["attribute_exists(job_key)", *(newest[name] for name in chosen)]
        used: dict[str, Any] = {f":{name}": values[f":{name}"] for name in chosen}
        if chosen:
            used[":time"] = finished["scheduled_time_ms"]
        if frees:
            conditions.append("lock_execution = :me")
            used[":me"] = values[":me"]
        setting_part = f"SET {', '.join(sets[name] for name in chosen)}" if chosen else ""
        return tables.update_if(
            setting("JOBS_TABLE"),
            key(service_name, job_name),
            f"{setting_part}{freeing}".strip(),
            " AND ".join(conditions),
            used,
        )

    if job := update(names, frees_lock):
        return job
    # Something newer is there, or the lock has passed on: do each part that still applies.
    for name in names:
        update([name], False)
    if frees_lock:
        update([], True)
    return find(service_name, job_name)
