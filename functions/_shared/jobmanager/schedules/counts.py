"""The schedules table: how many active jobs are on each schedule, and which of its ticks are accounted for.

``job_count`` changes in the transaction that changes the job, so it is exact, and it is read consistently.
The index ``by_schedule`` is eventually consistent, so it must not decide whether a trigger is removed.

Its ``schedule`` is a key (jobmanager.schedules.keys). ``needs_scheduler`` is true if no rule can fire for it,
so that it does not count towards the limit on rules; else it is absent. An item also has up to four times in
ms since 1970:

- ``since_ms``: ticks are due from then on. It is when the first job entered; for a rate, when the trigger
  was last put.
- ``last_tick_ms``: the newest scheduled_time of a tick that was started.
- ``missed_until_ms``: the last missed time that was published.
- ``ended_ms``: when the reconciler first saw that it never fires again (jobmanager.executions.completion).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws import tables
from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.settings import setting
from jobmanager.schedules.keys import is_plain, timing_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


_PAGE = 200


def find(schedule: str) -> dict[str, Any] | None:
    """Reads the item of a schedule, consistently; None if no active job is on it."""
    item = tables.get(setting("SCHEDULES_TABLE"), _key(schedule))
    return item if item and item["job_count"] > 0 else None


def job_count(schedule: str) -> int:
    """Counts the active jobs on a schedule; consistent."""
    item = find(schedule)
    return item["job_count"] if item else 0


def last_tick_ms(schedule: str) -> int | None:
    """Returns the newest scheduled_time of a tick of the schedule (ms since 1970); None if none is known."""
    item = tables.get(setting("SCHEDULES_TABLE"), _key(schedule))
    return item.get("last_tick_ms") if item else None


def accounted_until_ms(item: dict[str, Any]) -> int | None:
    """Returns until when the ticks of a schedule were delivered, or published as missed; None if unknown."""
    known = [item[name] for name in ("since_ms", "last_tick_ms", "missed_until_ms") if name in item]
    return max(known, default=None)


def count() -> int:
    """Counts the unique schedules of the stage's active jobs; consistent."""
    return _counted("job_count > :none")


def count_for_rules() -> int:
    """Counts those of them for which a rule can fire; consistent."""
    return _counted("job_count > :none AND attribute_not_exists(needs_scheduler)")


def in_use(after: str = "") -> Iterator[tuple[str, int]]:
    """Yields the schedules of active jobs with their job_count, sorted, starting after ``after``."""
    for page in _pages(after or "!", Limit=_PAGE):
        for item in map(from_item, page["Items"]):
            yield item["schedule"], item["job_count"]


def all_items() -> Iterator[dict[str, Any]]:
    """Yields all items of the stage (consistent reads), including those of schedules without a job."""
    pages = tables.query_pages(
        TableName=setting("SCHEDULES_TABLE"),
        KeyConditionExpression="#stage = :stage",
        ExpressionAttributeNames={"#stage": "stage"},
        ExpressionAttributeValues=to_item({":stage": setting("STAGE")}),
        ConsistentRead=True,
    )
    for page in pages:
        yield from map(from_item, page["Items"])


def record_if_later(schedule: str, name: str, at_ms: int) -> bool:
    """Sets one of the times of a schedule in use; False if a later one is set. Safe to repeat."""
    updated = tables.update_if(
        setting("SCHEDULES_TABLE"),
        _key(schedule),
        f"SET {name} = :at",
        # An update must not recreate the item of a schedule that all jobs have left.
        f"attribute_exists(job_count) AND (attribute_not_exists({name}) OR {name} < :at)",
        {":at": at_ms},
    )
    return updated is not None


def delete_if_unused(schedule: str) -> None:
    """Deletes the item of a schedule, if no active job is on it."""
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
    """Builds the part of a job's transaction that updates the counts of the schedules it leaves and enters.

    Empty if the schedule stays the same. ``at_ms`` is when the job enters.
    """
    if left == entered:
        return []
    changes: list[TransactWriteItemTypeDef] = []
    if left:
        changes.append(_update(left, "ADD job_count :change", {":change": -1}))
    if entered:
        update = "SET since_ms = if_not_exists(since_ms, :now)"
        values: dict[str, Any] = {":change": 1, ":now": at_ms}
        if not is_plain(timing_of(entered)):
            update += ", needs_scheduler = :true"
            values[":true"] = True
        changes.append(_update(entered, f"{update} ADD job_count :change", values))
    return changes


def _update(schedule: str, update: str, values: dict[str, Any]) -> "TransactWriteItemTypeDef":
    return tables.update_change(setting("SCHEDULES_TABLE"), _key(schedule), update, "", values)


def _counted(condition: str) -> int:
    pages = _pages("!", Select="COUNT", ConsistentRead=True, FilterExpression=condition)
    return sum(page["Count"] for page in pages)


def _pages(after: str, **options: Any) -> Iterator[Any]:
    return tables.query_pages(
        TableName=setting("SCHEDULES_TABLE"),
        KeyConditionExpression="#stage = :stage AND #schedule > :after",
        ExpressionAttributeNames={"#stage": "stage", "#schedule": "schedule"},
        ExpressionAttributeValues=to_item({":stage": setting("STAGE"), ":after": after, ":none": 0}),
        # An item with a count of 0 is about to be deleted.
        **{"FilterExpression": "job_count > :none", **options},
    )


def _key(schedule: str) -> dict[str, str]:
    return {"stage": setting("STAGE"), "schedule": schedule}
