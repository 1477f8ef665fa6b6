"""The queues of waiting executions: one for the lock of each job, and one for the slots of each limit.

An entry of a queue is an item beside the records, in the executions table. Its partition is the queue, so
that a consistent read finds who is next; a job's queue is in the partition of the job. Its sort key has the
``time_key`` of the record, so those that were due earlier come first. An entry is put and deleted in the
transaction in which its execution begins or ends to wait.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobmanager.aws import tables
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.settings import setting
from jobmanager.executions.order import execution_of
from jobmanager.executions.record import Execution

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_PREFIX = "waiting#"
_PER_READ = 25


def queue_of_lock(job_guid: str) -> str:
    """Returns the queue for the lock of a job."""
    return job_guid


def queue_of_slots(service_name: str, limit_name: str) -> str:
    """Returns the queue for the slots of a limit. A name has no slash."""
    return f"limit#{service_name}/{limit_name}"


def queue_of(record: Execution) -> str | None:
    """Returns the queue in which a waiting execution is; None if it only waits for its time."""
    if record["waits_for"] == "lock":
        return queue_of_lock(record["job_guid"])
    return queue_of_slots(record["service_name"], record["limit"]) if record["waits_for"] == "slot" else None


def enter_change(record: Execution) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that puts an execution into the queue that it waits in."""
    return {
        "Put": {
            "TableName": setting("EXECUTIONS_TABLE"),
            "Item": to_item(_key(record)),
            "ConditionExpression": "attribute_not_exists(execution_id)",
        }
    }


def leave_change(record: Execution) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that takes an execution out of its queue.

    The transaction fails if the execution is not in it.
    """
    return {
        "Delete": {
            "TableName": setting("EXECUTIONS_TABLE"),
            "Key": to_item(_key(record)),
            "ConditionExpression": "attribute_exists(execution_id)",
        }
    }


def waiting_in(queue: str) -> Iterator[str]:
    """Yields the execution_ids in a queue, the next first. Consistent."""
    pages = tables.query_pages(
        TableName=setting("EXECUTIONS_TABLE"),
        KeyConditionExpression="job_guid = :queue AND begins_with(execution_id, :prefix)",
        ExpressionAttributeValues=to_item({":queue": queue, ":prefix": _PREFIX}),
        ConsistentRead=True,
        Limit=_PER_READ,
    )
    for page in pages:
        yield from (execution_of(from_item(item)["execution_id"]) for item in page["Items"])


def _key(record: Execution) -> dict[str, Any]:
    return {"job_guid": queue_of(record), "execution_id": f"{_PREFIX}{record['time_key']}"}
