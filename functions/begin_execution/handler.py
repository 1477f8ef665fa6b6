"""Begins an execution: takes the lock if the job is exclusive, and inserts the execution's record.

Safe to repeat: the record is inserted once, in one transaction with the lock; a repetition answers from it.
"""

import random
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager import executions, jobs, tables
from jobmanager.aws import dynamodb
from jobmanager.clock import now_ms
from jobmanager.errors import Contended
from jobmanager.items import to_item
from jobmanager.logs import logger
from jobmanager.settings import setting
from jobmanager.steps import step
from jobmanager.subscribers import publish_event

_ATTEMPTS = 10

# What a skipped execution passes on where Step Functions wants limits: it waits for nothing.
_NO_WAIT = {"ttl_seconds": 60, "heartbeat_seconds": 60, "max_duration_seconds": 120}


def begin(due: dict[str, Any], at_ms: int) -> executions.Execution:
    """Answers the record of the execution, ``running`` or ``skipped``.

    ``due``: ``{service_name, job_name, job_guid, execution_id, schedule, scheduled_time}``. Raises Contended
    if others took turns on the lock ten times over.
    """
    for attempt in range(_ATTEMPTS):
        time.sleep(random.uniform(0, 0.02 * attempt))
        job = jobs.find(due["service_name"], due["job_name"])
        reason = _reason_to_skip(job, due, at_ms)
        if job is None or reason:
            record = executions.skipped_record(due, job, reason or "", at_ms)
            begun = executions.insert(record)
        elif job["exclusive"]:
            record = executions.running_record(due, job, at_ms)
            record["fencing_token"] = job.get("fencing_token", 0) + 1
            begun = _take_lock_and_insert(record, at_ms)
        else:
            record = executions.running_record(due, job, at_ms)
            begun = executions.insert(record)
        if begun:
            return record
        if earlier := executions.find(due["execution_id"]):
            return earlier
    raise Contended(f"others keep taking the lock of {due['service_name']}/{due['job_name']}")


def _reason_to_skip(job: jobs.Job | None, due: dict[str, Any], at_ms: int) -> str | None:
    if job is None or jobs.is_deleted(job):
        return "the job was deleted"
    if not job["enabled"]:
        return "the job is disabled"
    if job["schedule"] != due["schedule"]:
        return f"the job has moved to the schedule {job['schedule']}"
    holder = job.get("lock_execution")
    if (
        job["exclusive"]
        and holder not in (None, due["execution_id"])
        and job["lock_expires_at"] > at_ms // 1000
    ):
        return f"the lock is held by {holder}"
    return None


def _take_lock_and_insert(record: executions.Execution, at_ms: int) -> bool:
    """One transaction; False if the job or the record changed since they were looked at."""
    try:
        dynamodb().transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": setting("JOBS_TABLE"),
                        "Key": to_item(jobs.key(record["service_name"], record["job_name"])),
                        "UpdateExpression": "SET lock_execution = :me, lock_expires_at = :until,"
                        " fencing_token = :token",
                        "ConditionExpression": "enabled = :yes AND attribute_not_exists(deleted_at)"
                        " AND (attribute_not_exists(lock_execution) OR lock_expires_at <= :now)"
                        " AND (attribute_not_exists(fencing_token) OR fencing_token = :last)",
                        "ExpressionAttributeValues": to_item(
                            {
                                ":me": record["execution_id"],
                                ":until": record["lock_expires_at"],
                                ":token": record["fencing_token"],
                                ":last": record["fencing_token"] - 1,
                                ":now": at_ms // 1000,
                                ":yes": True,
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
    except ClientError as error:
        if tables.transaction_lost(error):
            return False
        raise
    return True


def for_the_state_machine(record: executions.Execution) -> dict[str, Any]:
    """Ids and numbers only: Step Functions' history keeps what passes through it."""
    passed = (
        "service_name",
        "job_name",
        "job_guid",
        "execution_id",
        "scheduled_time",
        "status",
        "fencing_token",
    )
    limits = (
        {
            "ttl_seconds": record["ttl_seconds"],
            "heartbeat_seconds": record.get("heartbeat_interval_seconds", record["ttl_seconds"]),
            "max_duration_seconds": record["max_duration_seconds"],
        }
        if record["status"] == executions.RUNNING
        else _NO_WAIT
    )
    return {name: record[name] for name in passed if name in record} | limits


def _tell_subscribers(record: executions.Execution, at_ms: int) -> None:
    """That an execution started is news, but no reason to stop it."""
    try:
        publish_event(record, at_ms)
    except (ClientError, BotoCoreError) as error:
        logger.error("the start was not published", extra={"error": str(error)})


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Input as :func:`begin` has it; answers what :func:`for_the_state_machine` lets through."""
    at_ms = now_ms()
    record = begin(event, at_ms)
    if record["status"] == executions.RUNNING:
        _tell_subscribers(record, at_ms)
    return for_the_state_machine(record)
