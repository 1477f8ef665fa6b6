"""The schedules table: how many active jobs share each schedule.

The count changes in the transaction that changes the job, so it is exact and read consistently. The index
``by_schedule`` is neither, and a rule must not go because an index is late.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager import tables
from jobmanager.aws import dynamodb
from jobmanager.items import from_item, to_item
from jobmanager.settings import setting

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


def count_changes(left: str | None, entered: str | None) -> "list[TransactWriteItemTypeDef]":
    """The part of a job's transaction that keeps the counts; empty if the job stays where it is."""
    if left == entered:
        return []
    return [
        {
            "Update": {
                "TableName": setting("SCHEDULES_TABLE"),
                "Key": to_item(_key(schedule)),
                "UpdateExpression": "ADD job_count :change",
                "ExpressionAttributeValues": to_item({":change": change}),
            }
        }
        for schedule, change in ((left, -1), (entered, 1))
        if schedule
    ]


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
