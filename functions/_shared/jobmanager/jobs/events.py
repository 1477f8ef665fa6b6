"""The events about changes of jobs: each is published at least once, also if a function dies in between.

A change of a job writes the event into ``untold_events`` on the job, in its own transaction. Publishing
clears that attribute, on the condition that nobody changed the job meanwhile. Whoever repeats a change, or
makes the next one, first publishes what is pending.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import impatient_sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.jobs import store
from jobmanager.jobs.definition import DEFINITION_FIELDS, Job, JobEvent, is_deleted, job_view
from jobmanager.runtime.logs import logger

# Reached only if so many changes of one job in a row could not be published.
_MOST_PENDING = 20
_COMPARED = (*DEFINITION_FIELDS, "managed_by", "paused")
_ALWAYS_PUBLISHED = ("service_name", "job_name", "job_guid")
# Never the payload or a state.
_PUBLISHED = ("schedule", "enabled", "description", "owner", "tags", "managed_by", "paused")


def publish_pending(job: Job) -> bool:
    """Publishes the pending events of a job that was just read or written; True if none is left then.

    A failure is only logged: the change itself is made, and its event stays on the job.
    """
    pending = job.get("untold_events", [])
    return not pending or (_published(job, pending) and _cleared(job))


def pending_after_publishing(job: Job | None) -> list[JobEvent]:
    """Publishes the pending events of a job that is about to change; returns those that could not be.

    Nothing is cleared here: the change itself does that.
    """
    pending = job.get("untold_events", []) if job else []
    return [] if not job or not pending or _published(job, pending) else pending


def with_change(pending: list[JobEvent], old: Job | None, new: Job, now_ms: int) -> list[JobEvent]:
    """``pending`` and the event of the change from ``old`` to ``new``, which holds only names and numbers."""
    before = None if old is None or is_deleted(old) else old
    fields: Mapping[str, Any] = before or {}
    changed = [name for name in _COMPARED if fields.get(name) != new.get(name)]
    event = JobEvent(
        event=f"job.{_what_happened(before, new)}",
        occurred_at=iso(now_ms),
        version=new["version"],
        updated_by=new["updated_by"],
        changed=[] if is_deleted(new) else changed,
    )
    if len(pending) >= _MOST_PENDING:
        logger.error("an event of a job was never published", extra={"untold": pending[0]})
    return [*pending, event][-_MOST_PENDING:]


def _what_happened(before: Job | None, new: Job) -> str:
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
            publish(impatient_sns(), _message(job, event))
    except (ClientError, BotoCoreError) as error:
        logger.error("changes of a job were not published yet", extra={"error": str(error)})
        return False
    return True


def _message(job: Job, event: JobEvent) -> dict[str, Any]:
    """The event, with the job as that change left it; without, if the job has changed since."""
    message = {**event, **picked(job, _ALWAYS_PUBLISHED)}
    if event["version"] == job["version"]:
        message |= picked(job_view(job), _PUBLISHED)
    return message


def _cleared(job: Job) -> bool:
    """Clears the pending events. A deleted job stays in the catalog until then, where a sweep finds it."""
    also = ", #catalog" if is_deleted(job) else ""
    try:
        store.update_if(
            job["service_name"],
            job["job_name"],
            f"REMOVE untold_events{also}",
            "#version = :told",
            {":told": job["version"]},
        )
    except (ClientError, BotoCoreError) as error:
        logger.error("events of a job may be published again", extra={"error": str(error)})
        return False
    return True
