"""The schedules table: how many active jobs share each schedule, and up to when its ticks are known.

The count changes in the transaction that changes the job, so it is exact and read consistently. The index
``by_schedule`` is neither, and a rule must not go because an index is late.

Beside ``job_count`` an item has up to three times, in ms since 1970: ``since_ms``, from when on ticks are due
(the first job entered then; of a rate, its rule was last put then), ``last_tick_ms``, the newest
scheduled_time of a tick that was begun, and ``missed_until_ms``, the last missed time that was told.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws import tables
from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


_PAGE = 200


def job_count(schedule: str) -> int:
    """How many active jobs have this schedule; read consistently."""
    counted = tables.get(setting("SCHEDULES_TABLE"), _key(schedule))
    return counted["job_count"] if counted else 0


def count() -> int:
    """How many unique schedules active jobs of the stage have; read consistently."""
    return sum(page["Count"] for page in _pages("!", Select="COUNT", ConsistentRead=True))


def in_use(after: str = "") -> Iterator[tuple[str, int]]:
    """The schedules that active jobs of the stage have, sorted, after that one, each with its job_count."""
    for page in _pages(after or "!", Limit=_PAGE):
        for item in map(from_item, page["Items"]):
            yield item["schedule"], item["job_count"]


def known() -> Iterator[dict[str, Any]]:
    """All items of the stage as they are now (consistent reads), also those that nobody uses any more."""
    pages = tables.query_pages(
        TableName=setting("SCHEDULES_TABLE"),
        KeyConditionExpression="#stage = :stage",
        ExpressionAttributeNames={"#stage": "stage"},
        ExpressionAttributeValues=to_item({":stage": setting("STAGE")}),
        ConsistentRead=True,
    )
    for page in pages:
        yield from map(from_item, page["Items"])


def note_later(schedule: str, name: str, at_ms: int) -> bool:
    """Notes one of the times of a schedule in use; False if a later one is noted already. Repeatable."""
    noted = tables.update_if(
        setting("SCHEDULES_TABLE"),
        _key(schedule),
        f"SET {name} = :at",
        # A schedule that was left is not to come back as an item without a count.
        f"attribute_exists(job_count) AND (attribute_not_exists({name}) OR {name} < :at)",
        {":at": at_ms},
    )
    return noted is not None


def forget(schedule: str) -> None:
    """Removes the count of a schedule, if nobody uses it."""
    try:
        dynamodb().delete_item(
            TableName=setting("SCHEDULES_TABLE"),
            Key=to_item(_key(schedule)),
            ConditionExpression="attribute_not_exists(job_count) OR job_count <= :none",
            ExpressionAttributeValues=to_item({":none": 0}),
        )
    except ClientError as error:
        if not tables.condition_failed(error):
            raise


def count_changes(
    left: str | None, entered: str | None, at_ms: int | None
) -> "list[TransactWriteItemTypeDef]":
    """The part of a job's transaction that keeps the counts; empty if the job stays where it is.

    ``at_ms``: when the job entered.
    """
    if left == entered:
        return []
    changes: list[TransactWriteItemTypeDef] = []
    if left:
        changes.append(_update(left, "ADD job_count :change", {":change": -1}))
    if entered:
        update = "SET since_ms = if_not_exists(since_ms, :now) ADD job_count :change"
        changes.append(_update(entered, update, {":change": 1, ":now": at_ms}))
    return changes


def _update(schedule: str, update: str, values: dict[str, Any]) -> "TransactWriteItemTypeDef":
    return {
        "Update": {
            "TableName": setting("SCHEDULES_TABLE"),
            "Key": to_item(_key(schedule)),
            "UpdateExpression": update,
            "ExpressionAttributeValues": to_item(values),
        }
    }


def _pages(after: str, **how: Any) -> Iterator[Any]:
    return tables.query_pages(
        TableName=setting("SCHEDULES_TABLE"),
        KeyConditionExpression="#stage = :stage AND #schedule > :after",
        # A count of 0 is one that is about to be forgotten.
        FilterExpression="job_count > :none",
        ExpressionAttributeNames={"#stage": "stage", "#schedule": "schedule"},
        ExpressionAttributeValues=to_item({":stage": setting("STAGE"), ":after": after, ":none": 0}),
        **how,
    )


def _key(schedule: str) -> dict[str, str]:
    return {"stage": setting("STAGE"), "schedule": schedule}
