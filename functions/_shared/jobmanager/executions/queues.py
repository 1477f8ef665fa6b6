"""The queues of waiting executions: one for the lock of each job, and one for the slots of each limit.

An entry of a queue is an item beside the records, in the executions table. Its partition is the queue, so
that a consistent read finds who is next; a job's queue is in the partition of the job. Its sort key has the
``time_key`` of the record, so those that were due earlier come first. An entry is put and deleted in the
transaction in which its execution starts or stops waiting.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobmanager.executions import store
from jobmanager.executions.order import execution_of
from jobmanager.executions.record import Execution

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

ENTRY_PREFIX = "waiting#"
"""Begins the sort key of an entry."""


def queue_of_lock(job_guid: str) -> str:
    """Returns the queue for the lock of a job."""
    return job_guid


def queue_of_slots(service_name: str, limit_name: str) -> str:
    """Returns the queue for the slots of a limit. Names have no slash, so no two limits share a queue."""
    return f"limit#{service_name}/{limit_name}"


def enter_change(record: Execution) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that puts an execution into the queue that it waits in."""
    return store.put_beside_change(*_entry(record))


def leave_change(record: Execution) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that takes an execution out of its queue.

    The transaction fails if the execution is not in it.
    """
    return store.delete_beside_change(*_entry(record))


def waiting_in(queue: str) -> Iterator[str]:
    """Yields the execution_ids in a queue, the next first. Consistent."""
    return map(execution_of, store.keys_beside(queue, ENTRY_PREFIX))


def _entry(record: Execution) -> tuple[str, str]:
    is_for_lock = record["waits_for"] == "lock"
    of_slots = "" if is_for_lock else queue_of_slots(record["service_name"], record["limit"])
    return of_slots or queue_of_lock(record["job_guid"]), f"{ENTRY_PREFIX}{record['time_key']}"
