"""The executions table: one record for each run of a job, from its start until its retention is over."""

import json
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from jobmanager.aws import tables
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import day, iso, ms_of_iso
from jobmanager.core.errors import NotFound
from jobmanager.core.names import guid_of_execution, job_guid, time_key
from jobmanager.core.settings import number_setting, setting
from jobmanager.executions import attempts

type Execution = dict[str, Any]

RUNNING = "running"
FINAL_STATUSES = ("success", "fail", "timeout", "skipped", "cancelled")
SHARDS_OF_A_DAY = 4
_OVERDUE_A_READ = 100

# Snapshot of the job, as it was when the execution began.
_OF_THE_JOB = (
    "schedule",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "exclusive",
    "ttl_seconds",
    "heartbeat_interval_seconds",
    "max_duration_seconds",
    "retry",
    "last_successful_execution",
)


def key(execution_id: str) -> dict[str, str | None]:
    """The primary key: the execution_id names its own partition."""
    return {"job_guid": guid_of_execution(execution_id), "execution_id": execution_id}


def find(execution_id: str) -> Execution | None:
    """The record as it is now; None if there is none (any more), or if the text is no execution_id."""
    if guid_of_execution(execution_id) is None:
        return None
    return tables.get(setting("EXECUTIONS_TABLE"), key(execution_id))


def read(service_name: str, job_name: str, execution_id: str) -> Execution:
    """The record, if it is one of this job; raises NotFound."""
    is_of_the_job = guid_of_execution(execution_id) == job_guid(service_name, job_name)
    record = find(execution_id) if is_of_the_job else None
    if record is None:
        raise NotFound(f"{service_name}/{job_name} has no execution {execution_id}, or no more.")
    return record


def many(time_keys: Iterable[str]) -> list[Execution]:
    """The records with these time_keys (100 at most) in that order, without those that have expired."""
    wanted = [time_key.partition("#")[2] for time_key in time_keys]
    items = tables.get_many(setting("EXECUTIONS_TABLE"), [key(execution_id) for execution_id in wanted])
    found = {record["execution_id"]: record for record in items}
    return [found[execution_id] for execution_id in wanted if execution_id in found]


def new_record(due: dict[str, Any], job: dict[str, Any] | None, now_ms: int) -> Execution:
    """The record of an execution that begins now: who, when, and the job as it is."""
    scheduled_ms = ms_of_iso(due["scheduled_time"])
    identifier = due["execution_id"]
    snapshot = {name: job[name] for name in _OF_THE_JOB if name in job} if job else {}
    longest_seconds = snapshot.get("max_duration_seconds", 0)
    return {
        "job_guid": due["job_guid"],
        "execution_id": identifier,
        "service_name": due["service_name"],
        "job_name": due["job_name"],
        "scheduled_time": due["scheduled_time"],
        "scheduled_time_ms": scheduled_ms,
        "started_at_ms": now_ms,
        "time_key": time_key(identifier),
        "day_shard": day_shard(scheduled_ms, shard(identifier)),
        "expires_at": expires_at(now_ms) + longest_seconds,
        **snapshot,
    }


def expires_at(ended_at_ms: int) -> int:
    """When DynamoDB may remove the record of an execution that ended then; seconds since 1970."""
    return ended_at_ms // 1000 + number_setting("RETENTION_DAYS") * 86_400


def running_record(due: dict[str, Any], job: dict[str, Any], now_ms: int) -> Execution:
    """The record of an execution that will notify its service."""
    return new_record(due, job, now_ms) | {
        "status": RUNNING,
        "open_shard": open_shard(shard(due["execution_id"])),
        "lock_expires_at": now_ms // 1000 + job["ttl_seconds"],
    }


def skipped_record(due: dict[str, Any], job: dict[str, Any] | None, reason: str, now_ms: int) -> Execution:
    """The record of an execution that notifies nobody, and why; open, until that has been told."""
    skipped = {"status": "skipped", "reason": reason, "finished_at_ms": now_ms}
    return new_record(due, job, now_ms) | skipped | _open_since(due, now_ms)


def unbegun_record(due: dict[str, Any], status: str, stored: dict[str, Any], now_ms: int) -> Execution:
    """The record of an execution that ended before it had one; open, until all about its end is done."""
    return new_record(due, None, now_ms) | {
        "status": status,
        **stored,
        "finished_at_ms": now_ms,
        **_open_since(due, now_ms),
    }


def _open_since(due: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """What an execution that has ended needs, to be found if nobody closes it."""
    return {"open_shard": open_shard(shard(due["execution_id"])), "lock_expires_at": now_ms // 1000}


def shard(execution_id: str) -> int:
    """Which of a day's partitions a record lies in: executions that start together lie apart."""
    return crc32(execution_id.encode()) % SHARDS_OF_A_DAY


def day_shard(scheduled_time_ms: int, number: int) -> str:
    """The partition of the index ``by_day``."""
    return f"{day(scheduled_time_ms)}#{number}"


def open_shard(number: int) -> str:
    """The partition of the index ``open``, in which a record lies until all about its end is done."""
    return f"open#{number}"


def open_and_overdue(before: int) -> Iterator[str]:
    """The open executions whose ``lock_expires_at`` (seconds since 1970) lies before that.

    The index is eventually consistent: read the record before you do something about it.
    """
    for number in range(SHARDS_OF_A_DAY):
        pages = tables.query_pages(
            TableName=setting("EXECUTIONS_TABLE"),
            IndexName="open",
            KeyConditionExpression="open_shard = :shard AND lock_expires_at < :before",
            ExpressionAttributeValues=to_item({":shard": open_shard(number), ":before": before}),
            Limit=_OVERDUE_A_READ,
        )
        for page in pages:
            yield from (from_item(item)["execution_id"] for item in page["Items"])


def lock_until(started_at_ms: int, at_ms: int, seconds: int, longest_seconds: int) -> int:
    """``lock_expires_at``, seconds since 1970, of an execution that may be silent for ``seconds`` from now.

    Never beyond its longest duration, so that whatever runs too long is overdue too.
    """
    return min(at_ms // 1000 + seconds, started_at_ms // 1000 + longest_seconds)


def insert(record: Execution) -> bool:
    """Inserts a record; False if there is one of this execution already."""
    return tables.insert(setting("EXECUTIONS_TABLE"), record, "execution_id")


def update_if(execution_id: str, update: str, condition: str, values: dict[str, Any]) -> Execution | None:
    """Updates the record and answers it as it is then; None if the condition does not hold."""
    return tables.update_if(setting("EXECUTIONS_TABLE"), key(execution_id), update, condition, values)


def is_at_attempt(number: int) -> tuple[str, dict[str, Any]]:
    """The condition, with its values, that an execution is running, and at that attempt."""
    if number == 1:
        return "#status = :running AND attribute_not_exists(attempts)", {":running": RUNNING}
    condition = "#status = :running AND size(attempts) = :earlier_attempts"
    return condition, {":running": RUNNING, ":earlier_attempts": number - 1}


def execution_view(record: Execution, whole: bool = True) -> dict[str, Any]:
    """An execution as the API shows it; in a list without or with the beginning of what may be large."""
    shown = [
        "service_name",
        "job_name",
        "job_guid",
        "execution_id",
        "status",
        "reason",
        "schedule",
        "invocation_type",
        "invocation_target",
        "scheduled_time",
        "scheduled_time_ms",
        "started_at_ms",
        "service_invoked_at_ms",
        "finished_at_ms",
        "progress",
        "summary",
        "cause",
        "correlation_id",
        "exclusive",
        "fencing_token",
        "started_by",
        "rerun_of",
        "reruns",
        *(["payload", "state"] if whole else []),
    ]
    view = {name: record[name] for name in shown if name in record}
    if "error" in record:
        view["error"] = json.loads(record["error"])
    if not whole:
        view |= {name: attempts.shortened_text(view[name]) for name in ("error", "cause") if name in view}
    if record["status"] == RUNNING:
        view["lock_expires_at"] = iso(record["lock_expires_at"] * 1000)
    if attempts.first_invoked_at_ms(record) is not None:
        view["invocation_latency_ms"] = invocation_latency_ms(record)
    if "service_invoked_at_ms" in record and "finished_at_ms" in record:
        view["duration_ms"] = record["finished_at_ms"] - record["service_invoked_at_ms"]
    return view | _attempts_view(record, whole)


def _attempts_view(record: Execution, whole: bool) -> dict[str, Any]:
    if record["status"] == "skipped":
        return {}
    view: dict[str, Any] = {"attempt": attempts.latest(record)}
    if "retry" in record and whole:
        view["attempts"] = attempts.views(record)
    if record["status"] == RUNNING and attempts.is_waited_for(record):
        view["next_attempt_at"] = attempts.next_attempt_at(record)
    return view


def invocation_latency_ms(record: Execution) -> int:
    """From the nominal time of the tick until the service was notified, of the first attempt."""
    return (attempts.first_invoked_at_ms(record) or 0) - int(record["scheduled_time_ms"])


def invocation_latency_pct(record: Execution) -> float:
    """The same in percent of ``ttl_seconds``, with one decimal."""
    ttl_ms = int(record["ttl_seconds"]) * 1000
    return round(invocation_latency_ms(record) / ttl_ms * 100, 1)
