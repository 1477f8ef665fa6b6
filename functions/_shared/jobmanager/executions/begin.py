"""How an execution begins: with its record, and with the lock if its job is exclusive, or not at all.

Both are written in one transaction, and the record only once; so beginning again answers from the record.
"""

import random
import time
from typing import Any

from jobmanager.aws import tables
from jobmanager.aws.items import to_item
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import Conflict, Contended
from jobmanager.core.settings import setting
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.jobs import store as jobs

_ATTEMPTS = 10


def begin(due: dict[str, Any], at_ms: int) -> executions.Execution:
    """Answers the record of a tick's execution, ``running`` or ``skipped``.

    ``due``: ``{service_name, job_name, job_guid, execution_id, schedule, scheduled_time}``. Raises Contended
    if others took turns on the lock ten times over.
    """
    for attempt in range(_ATTEMPTS):
        _let_others_go_first(attempt)
        job = jobs.find(due["service_name"], due["job_name"])
        reason = _reason_to_skip(job, due, at_ms)
        if job is None or reason:
            record = executions.skipped_record(due, job, reason or "", at_ms)
            begun = executions.insert(record)
        else:
            record = executions.running_record(due, job, at_ms)
            begun = _insert_running(record, job, at_ms)
        if begun:
            return record
        if earlier := executions.find(due["execution_id"]):
            return earlier
    raise Contended(f"Others keep taking the lock of {due['service_name']}/{due['job_name']}.")


def begin_by_hand(due: dict[str, Any], by_hand: dict[str, Any], at_ms: int) -> executions.Execution:
    """Answers the record of an execution that somebody asked for; a job that is disabled or paused runs too.

    ``by_hand`` holds what the record shall say beside the job: ``payload``, ``started_by``, ``rerun_of``.
    Raises NotFound if there is no such job, and Conflict with ``lock_execution`` while its lock is held.
    """
    for attempt in range(_ATTEMPTS):
        _let_others_go_first(attempt)
        if earlier := executions.find(due["execution_id"]):
            return earlier
        job = jobs.read(due["service_name"], due["job_name"])
        if holder := _holder_of_the_lock(job, due["execution_id"], at_ms):
            raise Conflict(
                f"The job is exclusive, and {holder} is running. Wait for its end, or cancel it.",
                lock_execution=holder,
            )
        record = executions.running_record({**due, "schedule": job["schedule"]}, job, at_ms) | by_hand
        if _insert_running(record, job, at_ms):
            return record
    raise Contended(f"Others keep taking the lock of {due['service_name']}/{due['job_name']}.")


def _let_others_go_first(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.02 * attempt))


def _reason_to_skip(job: jobs.Job | None, due: dict[str, Any], at_ms: int) -> str | None:
    if job is None or jobs.is_deleted(job):
        return "the job was deleted"
    if not job["enabled"]:
        return "the job is disabled"
    if jobs.is_paused(job, at_ms):
        return f"the job is paused: {job['paused']['reason']}"
    if job["schedule"] != due["schedule"]:
        return f"the job has moved to the schedule {job['schedule']}"
    deadline = job.get("starting_deadline_seconds")
    late_ms = at_ms - ms_of_iso(due["scheduled_time"])
    if deadline is not None and late_ms > deadline * 1000:
        return f"the start was {late_ms // 1000} s late, and starting_deadline_seconds is {deadline}"
    holder = _holder_of_the_lock(job, due["execution_id"], at_ms)
    return f"the lock is held by {holder}" if holder else None


def _holder_of_the_lock(job: jobs.Job, execution_id: str, at_ms: int) -> str | None:
    """Another execution, if one holds the lock of an exclusive job and the lock has not expired."""
    holder: str | None = job.get("lock_execution")
    is_free = not job["exclusive"] or holder in (None, execution_id)
    return None if is_free or job["lock_expires_at"] <= at_ms // 1000 else holder


def _insert_running(record: executions.Execution, job: jobs.Job, at_ms: int) -> bool:
    if not job["exclusive"]:
        return executions.insert(record)
    record["fencing_token"] = job.get("fencing_token", 0) + 1
    return _take_lock_and_insert(record, job["version"], at_ms)


def _take_lock_and_insert(record: executions.Execution, version: int, at_ms: int) -> bool:
    """One transaction; False if the job or the record changed since they were looked at."""
    return tables.transact(
        [
            {
                "Update": {
                    "TableName": setting("JOBS_TABLE"),
                    "Key": to_item(jobs.key(record["service_name"], record["job_name"])),
                    "UpdateExpression": "SET lock_execution = :me, lock_expires_at = :until,"
                    " fencing_token = :token",
                    "ConditionExpression": "#version = :version"
                    " AND (attribute_not_exists(lock_execution) OR lock_expires_at <= :now)"
                    " AND (attribute_not_exists(fencing_token) OR fencing_token = :last)",
                    "ExpressionAttributeNames": {"#version": "version"},
                    "ExpressionAttributeValues": to_item(
                        {
                            ":version": version,
                            ":me": record["execution_id"],
                            ":until": attempts.holds_lock_until(record, record["lock_expires_at"]),
                            ":token": record["fencing_token"],
                            ":last": record["fencing_token"] - 1,
                            ":now": at_ms // 1000,
                        }
                    ),
                }
            },
            {
                "Put": {
                    "TableName": setting("EXECUTIONS_TABLE"),
                    "Item": to_item(record),
                    "ConditionExpression": "attribute_not_exists(execution_id)",
                }
            },
        ]
    )
