"""Reads and writes the jobs table.

A deleted job stays as a tombstone, so that its history, fencing tokens and version continue if it is created
again. Large values stand in items of their own (:mod:`jobmanager.jobs.large_values`). :func:`find` and what
uses it return jobs with them. :func:`find_without_large_values`, :func:`read_many` and :func:`update_if`
return jobs that may lack them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, cast

from jobmanager.aws import tables
from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.errors import ManagerError, NotFound
from jobmanager.core.names import job_key, name_errors, split_job_key
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.jobs import large_values
from jobmanager.jobs.definition import Async, Job, WorkflowType, is_deleted
from jobmanager.schedules import counts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

CATALOG = "jobs"
"""The only partition key of the indexes ``catalog`` and ``untold``."""

_MAX_TRIES = 8
_REMOVED_ONCE_PUBLISHED = ("untold_events", "untold_since", "catalog")


def key(service_name: str, job_name: str) -> dict[str, str]:
    """Returns the primary key of a job."""
    return {"service_name": service_name, "job_name": job_name}


def find(service_name: str, job_name: str, is_saving: bool = False) -> Job | None:
    """Reads a job, or its tombstone, consistently; None if there never was one.

    A table that was restored from a backup may hold a payload of another version than the job. Then this
    raises ManagerError, except to a caller that ``is_saving`` another definition.
    """
    if name_errors(service_name, job_name):
        return None
    for number in tries(_MAX_TRIES):
        job = cast(Job | None, _get(service_name, job_name))
        if job is None or not large_values.lacks_payload(job):
            return job and _with_state(job)
        payload = _get(service_name, large_values.payload_name(job_name))
        if whole := large_values.with_payload(job, payload):
            return _with_state(whole)
        # Another version has been saved between the two reads.
        if is_saving and number + 1 == _MAX_TRIES:
            return large_values.without_payload(job)
    raise ManagerError(
        f"The payload of {job_key(service_name, job_name)} is not that of the job. PUT it again."
    )


def find_without_large_values(service_name: str, job_name: str) -> Job | None:
    """Reads a job, or its tombstone, consistently, whatever is the matter with its payload; None if none."""
    return cast(Job | None, _get(service_name, job_name))


def _with_state(job: Job) -> Job:
    if not large_values.lacks_state(job):
        return job
    return large_values.with_state(job, _get(job["service_name"], large_values.state_name(job["job_name"])))


def _get(service_name: str, job_name: str) -> dict[str, Any] | None:
    return tables.get(setting("JOBS_TABLE"), key(service_name, job_name))


def read(service_name: str, job_name: str) -> Job:
    """Reads a job consistently; raises NotFound if there is none, or if it was deleted."""
    return existing(find(service_name, job_name), service_name, job_name)


def saved(service_name: str, job_name: str) -> Job:
    """Reads a job that was saved before, consistently; its tombstone if it has been deleted since."""
    job = find(service_name, job_name)
    if job is None:
        raise ManagerError(f"The item of {job_key(service_name, job_name)} does not exist any more.")
    return job


def existing(job: Job | None, service_name: str, job_name: str) -> Job:
    """Returns the job; raises NotFound if it is None, or if it was deleted."""
    if job is None or is_deleted(job):
        raise NotFound(f"There is no job {job_key(service_name, job_name)}. PUT it to create it.")
    return job


def read_many(keys: Iterable[str]) -> list[Job]:
    """Reads the jobs with these job_keys (at most 100) in that order; skips those that do not exist."""
    wanted = list(keys)
    items = tables.get_many(setting("JOBS_TABLE"), [key(*split_job_key(job)) for job in wanted])
    jobs = cast(list[Job], items)
    found = {job["job_key"]: job for job in jobs if not is_deleted(job)}
    return [found[job] for job in wanted if job in found]


def update_if(
    service_name: str, job_name: str, update: str, condition: str, values: Mapping[str, Any]
) -> Job | None:
    """Updates the job and returns it as updated; None if the condition does not hold."""
    updated = tables.update_if(setting("JOBS_TABLE"), key(service_name, job_name), update, condition, values)
    return cast(Job | None, updated)


def replace(
    old: Job | None,
    new: Job,
    unless_changed: Iterable[str] = (),
    others: "Iterable[TransactWriteItemTypeDef]" = (),
) -> bool:
    """Replaces ``old`` by ``new``, and updates the counts of their schedules; False if ``old`` is stale.

    It is also stale if one of the attributes ``unless_changed`` is another by now, is new, or is gone.
    ``others`` are changes of other jobs in the same transaction. False also if the condition of one fails.

    It writes only the attributes that differ, so it keeps locks and results that executions write meanwhile;
    and those that may have been removed since ``old`` was read, because that does not raise the version.
    """
    before, after, payload = large_values.split(old, new)
    changed: dict[str, Any] = {
        name: value
        for name, value in after.items()
        if before.get(name) != value or name in _REMOVED_ONCE_PUBLISHED
    }
    removed = [name for name in before if name not in after]
    for part in ("service_name", "job_name"):
        changed.pop(part, None)
    sets = ", ".join(f"#{name} = :{name}" for name in changed)
    removes = f" REMOVE {', '.join(f'#{name}' for name in removed)}" if removed else ""
    values = {f":{name}": value for name, value in changed.items()} | {":read": before.get("version", 0)}
    condition = "#version = :read"
    unchanged = tuple(unless_changed)
    seen = {name: before[name] for name in unchanged if name in before}
    condition += "".join(
        f" AND #{name} = :seen_{name}" if name in seen else f" AND attribute_not_exists(#{name})"
        for name in unchanged
    )
    values |= {f":seen_{name}": value for name, value in seen.items()}
    return tables.transact(
        [
            {
                "Update": {
                    "TableName": setting("JOBS_TABLE"),
                    "Key": to_item(key(new["service_name"], new["job_name"])),
                    "UpdateExpression": f"SET {sets}{removes}",
                    "ConditionExpression": condition
                    if old
                    else f"attribute_not_exists(#version) OR {condition}",
                    "ExpressionAttributeNames": {
                        f"#{name}": name for name in {*changed, *removed, *unchanged, "version"}
                    },
                    "ExpressionAttributeValues": to_item(values),
                }
            },
            *([] if payload is None else [_payload_change(new, payload)]),
            *counts.count_changes(
                before.get("active_schedule"), new.get("active_schedule"), new.get("active_since_ms")
            ),
            *others,
        ]
    )


def change_if_same(
    seen: Job, update: str, condition: str, values: Mapping[str, Any]
) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that updates a job, if its version is still that of ``seen``."""
    return _change(seen, update, f"#version = :seen{condition}", {":seen": seen["version"], **values})


def _payload_change(job: Job, payload: str) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that overwrites the item of a large payload."""
    name = large_values.payload_name(job["job_name"])
    update = "SET payload = :payload, payload_version = :version"
    values = {":payload": payload, ":version": job["version"]}
    return tables.update_change(setting("JOBS_TABLE"), key(job["service_name"], name), update, "", values)


def lock_change(
    job: Job, execution_id: str, until: int, now_seconds: int, waited: bool = False
) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that takes the lock for an execution and raises the fencing token.

    The transaction fails if the job has changed since it was read, or if another execution holds the lock.
    ``waited``: the execution no longer waits for the lock.
    """
    last_token = job.get("fencing_token", 0)
    update = "SET lock_execution = :me, lock_expires_at = :until, fencing_token = :token"
    condition = (
        "#version = :version AND (attribute_not_exists(lock_execution) OR lock_expires_at <= :now)"
        " AND (attribute_not_exists(fencing_token) OR fencing_token = :last)"
    )
    values = {
        ":version": job["version"],
        ":me": execution_id,
        ":until": until,
        ":token": last_token + 1,
        ":last": last_token,
        ":now": now_seconds,
    }
    # The execution that takes the lock has checked that no execution runs without it.
    if "exclusive_since_ms" in job:
        update += " REMOVE exclusive_since_ms"
    if waited:
        update, values[":less"] = f"{update} ADD waiting_count :less", -1
    return _change(job, update, condition, values)


def wait_change(job: Job, most: int, now_seconds: int) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction by which one more execution waits for the lock, ``most`` at a time.

    The transaction fails if the lock is free and nobody waits for it. So whoever frees it sees who waits.
    """
    condition = "(lock_expires_at > :now OR waiting_count > :none)"
    condition += " AND (attribute_not_exists(waiting_count) OR waiting_count < :most)"
    values = {":one": 1, ":now": now_seconds, ":none": 0, ":most": most}
    return _change(job, "ADD waiting_count :one", condition, values)


def leave_change(job: Job) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction by which one execution no longer waits for the lock."""
    return _change(job, "ADD waiting_count :less", "attribute_exists(job_key)", {":less": -1})


def keep_lock_change(job: Job, execution_id: str, until: int) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that moves the end of a lock; it fails if another holds the lock."""
    values = {":until": until, ":me": execution_id}
    return _change(job, "SET lock_expires_at = :until", "lock_execution = :me", values)


def _change(job: Job, update: str, condition: str, values: Mapping[str, Any]) -> "TransactWriteItemTypeDef":
    of_job = key(job["service_name"], job["job_name"])
    return tables.update_change(setting("JOBS_TABLE"), of_job, update, condition, values)


def names_with_limit(service_name: str, limit_name: str) -> Iterator[str]:
    """Yields the names of the jobs of a service that name a limit, sorted; consistent. Not deleted ones."""
    pages = tables.query_pages(
        TableName=setting("JOBS_TABLE"),
        KeyConditionExpression="service_name = :service",
        FilterExpression="#limit = :limit AND attribute_not_exists(deleted_at)",
        ProjectionExpression="job_name",
        ExpressionAttributeNames={"#limit": "limit"},
        ExpressionAttributeValues=to_item({":service": service_name, ":limit": limit_name}),
        ConsistentRead=True,
    )
    for page in pages:
        for item in page["Items"]:
            yield from_item(item)["job_name"]


# --- the indexes, which are eventually consistent -----------------------------------------------------------


def pages_of_schedule(schedule: str, after: str | None, page_size: int) -> Iterator[list[str]]:
    """Yields the job_keys of the active jobs on a schedule in pages, sorted, after the job_key ``after``."""
    for page in _pages_of_schedule("by_schedule", schedule, after, page_size):
        yield [item["job_key"] for item in page]


class DueJob(Async):
    """What the index ``due`` has of an active job: its key, its machine, its limits, and its spread."""

    job_key: str
    ttl_seconds: int
    max_duration_seconds: int
    heartbeat_interval_seconds: NotRequired[int]
    workflow_type: NotRequired[WorkflowType]
    spread_seconds: NotRequired[int]


def pages_of_due(
    schedule: str, after: str | None, page_size: int, until: str | None = None
) -> Iterator[list[DueJob]]:
    """Yields the active jobs on a schedule in pages, sorted: after one job_key, and until another."""
    return cast(Iterator[list[DueJob]], _pages_of_schedule("due", schedule, after, page_size, until))


class DueCounts(NamedTuple):
    """How many jobs of each type a page of the index has, and where the page ends."""

    last_job_key: str
    standard: int
    express: int


def counts_of_due(schedule: str, page_size: int) -> Iterator[DueCounts]:
    """Counts the active jobs on a schedule, page by page. Leaves out the last page, because it has no end.

    DynamoDB counts, and returns no jobs. The filter does not change what a page has:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Other.html
    """
    for page in tables.query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="due",
        Select="COUNT",
        KeyConditionExpression="active_schedule = :schedule",
        FilterExpression="workflow_type = :express",
        ExpressionAttributeValues=to_item({":schedule": schedule, ":express": "express"}),
        Limit=page_size,
    ):
        if "LastEvaluatedKey" in page:
            last = from_item(page["LastEvaluatedKey"])["job_key"]
            yield DueCounts(last, page["ScannedCount"] - page["Count"], page["Count"])


def _pages_of_schedule(
    index: str, schedule: str, after: str | None, page_size: int, until: str | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yields the items of a schedule in one of the indexes that have its active jobs, sorted by job_key."""
    start: dict[str, Any] = {"ExclusiveStartKey": _key_of_active_job(schedule, after)} if after else {}
    end = {":until": until} if until else {}
    pages = tables.query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName=index,
        KeyConditionExpression="active_schedule = :schedule" + (" AND job_key <= :until" if until else ""),
        ExpressionAttributeValues=to_item({":schedule": schedule, **end}),
        Limit=page_size,
        **start,
    )
    for page in pages:
        yield [from_item(item) for item in page["Items"]]


def keys_of_guids(guids: Iterable[str]) -> Iterator[str]:
    """Yields the job_keys of the jobs with these guids."""
    for guid in guids:
        answer = dynamodb().query(
            TableName=setting("JOBS_TABLE"),
            IndexName="by_guid",
            KeyConditionExpression="job_guid = :guid",
            ExpressionAttributeValues=to_item({":guid": guid}),
        )
        for item in map(from_item, answer["Items"]):
            yield job_key(item["service_name"], item["job_name"])


def keys_with_untold_events(before: str) -> Iterator[str]:
    """Yields the job_keys of jobs, deleted ones too, whose events are pending since before a time."""
    pages = tables.query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="untold",
        KeyConditionExpression="#catalog = :jobs AND untold_since < :before",
        ExpressionAttributeNames={"#catalog": "catalog"},
        ExpressionAttributeValues=to_item({":jobs": CATALOG, ":before": before}),
    )
    for page in pages:
        for item in map(from_item, page["Items"]):
            yield job_key(item["service_name"], item["job_name"])


def catalog_pages(
    prefix: str, after: str, owners: Iterable[str], tags: Mapping[str, str], page_size: int
) -> Iterator[Any]:
    """Yields the pages of a Query for the job_keys that begin with ``prefix``, sorted, from ``after`` on.

    A job must have one of ``owners``, if any, and all of ``tags``.
    """
    condition, names, values = _catalog_filter(owners, tags)
    return tables.query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="catalog",
        # "~" sorts after every character of a name, so this range holds all keys that begin with the prefix.
        KeyConditionExpression="#catalog = :jobs AND job_key BETWEEN :low AND :high",
        ProjectionExpression="job_key",
        ExpressionAttributeNames={"#catalog": "catalog", **names},
        ExpressionAttributeValues=to_item(
            {":jobs": CATALOG, ":low": max(after, prefix) or "!", ":high": f"{prefix}~", **values}
        ),
        Limit=page_size,
        **condition,
    )


def _catalog_filter(
    owners: Iterable[str], tags: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Builds the FilterExpression of a Query, with its names and values."""
    of_owners = {f":owner{number}": owner for number, owner in enumerate(owners)}
    names = {f"#tag{number}": name for number, name in enumerate(tags)}
    values = {f":tag{number}": value for number, value in enumerate(tags.values())}
    conditions = [f"#tags.#tag{number} = :tag{number}" for number in range(len(tags))]
    if of_owners:
        conditions.append(f"#owner IN ({', '.join(of_owners)})")
    used = ({"#tags": "tags"} if tags else {}) | ({"#owner": "owner"} if of_owners else {})
    return (
        {"FilterExpression": " AND ".join(conditions)} if conditions else {},
        names | used,
        of_owners | values,
    )


def _key_of_active_job(schedule: str, job_key: str) -> dict[str, dict[str, str]]:
    service_name, job_name = split_job_key(job_key)
    return to_item(
        {
            "active_schedule": schedule,
            "job_key": job_key,
            "service_name": service_name,
            "job_name": job_name,
        }
    )
