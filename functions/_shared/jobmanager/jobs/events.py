"""The events about changes of jobs. Each is published at least once, even if a function dies half way.

A change writes its event into ``untold_events`` of the job, in the transaction that changes the job. Once the
event is published, the attribute is cleared, unless somebody has changed the job meanwhile. The next change,
or the same one repeated, first publishes the pending events. If there is none, the upkeep publishes them
(:mod:`jobmanager.jobs.untold`), which finds them by ``untold_since``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import fast_failing_sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.mappings import picked
from jobmanager.jobs import store
from jobmanager.jobs.after import parents_of
from jobmanager.jobs.definition import DEFINITION_FIELDS, Job, JobEvent, is_deleted, job_view
from jobmanager.runtime.logs import logger

# Reached only if the events of so many changes in a row could not be published.
_MAX_PENDING = 20
_COMPARED = (*DEFINITION_FIELDS, "managed_by", "paused", "completed_at")
_ALWAYS_PUBLISHED = ("service_name", "job_name", "job_guid")
# Never the payload, and never a state.
_PUBLISHED = (
    "schedule",
    "time_zone",
    "start_at",
    "end_at",
    "after",
    "enabled",
    "description",
    "owner",
    "tags",
    "managed_by",
    "paused",
    "completed_at",
)


def publish_pending(job: Job) -> bool:
    """Publishes the pending events of a job that was just read or written; True if none is left.

    A failure is only logged, because the change itself has been made. The events stay on the job.
    """
    pending = job.get("untold_events", [])
    return not pending or (_published(job, pending) and _cleared(job))


def pending_after_publishing(job: Job | None) -> list[JobEvent]:
    """Publishes the pending events of a job that is about to change; returns those that are still pending.

    It clears nothing, because the change itself does.
    """
    pending = job.get("untold_events", []) if job else []
    return [] if not job or not pending or _published(job, pending) else pending


def with_change(pending: list[JobEvent], old: Job | None, new: Job, now_ms: int) -> list[JobEvent]:
    """Adds the event of a change to ``pending``. It names the changed fields, without their values.

    A change that also completes the job has two events, so that ``job.completed`` tells of every completion.
    So has the deletion of a job with children.
    """
    before = None if old is None or is_deleted(old) else old
    fields: Mapping[str, Any] = before or {}
    changed = [name for name in _COMPARED if fields.get(name) != new.get(name)]
    events = [
        JobEvent(
            event=f"job.{kind}",
            occurred_at=iso(now_ms),
            version=new["version"],
            updated_by=new["updated_by"],
            changed=[] if is_deleted(new) else changed,
        )
        for kind in _kinds_of_change(before, new, changed)
    ]
    if is_deleted(new) and new.get("children"):
        events.append({**events[0], "event": "job.orphaned", "orphans": new["children"]})
    kept = [*pending, *events][-_MAX_PENDING:]
    for dropped in [*pending, *events][: -len(kept)]:
        logger.error("job event was dropped, because too many are pending", extra={"untold": dropped})
    return kept


def _kinds_of_change(before: Job | None, new: Job, changed: list[str]) -> list[str]:
    is_completed = "completed_at" in new and "completed_at" in changed and not is_deleted(new)
    if is_completed and changed == ["completed_at"]:
        return ["completed"]
    return [_kind_of_change(before, new), *(["completed"] if is_completed else [])]


def _kind_of_change(before: Job | None, new: Job) -> str:
    if before is None:
        return "created"
    if is_deleted(new):
        return "deleted"
    if before.get("paused") != new.get("paused"):
        return "paused" if "paused" in new else "resumed"
    return "updated"


def _published(job: Job, pending: list[JobEvent]) -> bool:
    try:
        for event in pending:
            for message in _orphaned(job, event) if "orphans" in event else [_message(job, event)]:
                publish(fast_failing_sns(), message)
    except (ClientError, BotoCoreError) as error:
        logger.error("job events were not published, and stay pending", extra={"error": str(error)})
        return False
    return True


def _message(job: Job, event: JobEvent) -> dict[str, Any]:
    """Builds the message: the event, and the fields of the job unless the job has changed since."""
    message = {**event, **picked(job, _ALWAYS_PUBLISHED)}
    if event["version"] == job["version"]:
        message |= picked(job_view(job, ms_of_iso(event["occurred_at"])), _PUBLISHED)
    return message


def _orphaned(job: Job, event: JobEvent) -> Iterator[dict[str, Any]]:
    """Builds a message for each job that still waits for the deleted one. Reads these jobs."""
    for name in event["orphans"]:
        child = store.find_without_large_values(job["service_name"], name)
        if child is None or is_deleted(child) or job["job_name"] not in parents_of(child):
            continue
        yield {
            **picked(event, ("event", "occurred_at", "updated_by")),
            **picked(child, (*_ALWAYS_PUBLISHED, "owner")),
            "parent": job["job_name"],
        }


def _cleared(job: Job) -> bool:
    """Clears the pending events. A deleted job leaves the catalog only once its events are published."""
    also = ", #catalog" if is_deleted(job) else ""
    try:
        store.update_if(
            job["service_name"],
            job["job_name"],
            f"REMOVE untold_events, untold_since{also}",
            "#version = :published",
            {":published": job["version"]},
        )
    except (ClientError, BotoCoreError) as error:
        logger.error(
            "published job events were not cleared, and will be published again", extra={"error": str(error)}
        )
        return False
    return True
