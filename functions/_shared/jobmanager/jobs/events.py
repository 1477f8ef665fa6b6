"""What subscribers are told of the changes of jobs, at least once each, also if a function dies in between.

A change of a job writes, in its own transaction, what there is to tell into ``untold_events`` on the job.
Publishing clears that, on the condition that nobody changed the job meanwhile. Whoever repeats a change, or
makes the next one, tells first what is still untold; so can a sweep, by :func:`tell`.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws import tables
from jobmanager.aws.clients import impatient_sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.core.settings import setting
from jobmanager.jobs.definition import DEFINITION_FIELDS, job_view
from jobmanager.runtime.logs import logger

# Reached only if so many changes of one job in a row could not be published.
_MOST_UNTOLD = 20
_COMPARED = (*DEFINITION_FIELDS, "managed_by", "paused")
_ALWAYS_TOLD = ("service_name", "job_name", "job_guid")
# Never the payload or a state.
_TOLD = ("schedule", "enabled", "description", "owner", "tags", "managed_by", "paused")


def tell(job: dict[str, Any]) -> bool:
    """Publishes what is untold of a job, as it was just read or written; True if nothing is untold then.

    A failure is logged and no more: the change itself is made, and the news of it stay on the job.
    """
    untold = job.get("untold_events", [])
    return not untold or (_published(job, untold) and _cleared(job))


def untold_after_telling(job: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Publishes what is untold of a job that is about to be changed; answers what could not be.

    Nothing is cleared: the change does that.
    """
    untold: list[dict[str, Any]] = (job or {}).get("untold_events", [])
    return [] if not untold or _published(job or {}, untold) else untold


def with_change(
    untold: list[dict[str, Any]], old: dict[str, Any] | None, new: dict[str, Any], now_ms: int
) -> list[dict[str, Any]]:
    """``untold`` and the change from ``old`` to ``new``, of which nothing but names and numbers is kept."""
    before = {} if old is None or "deleted_at" in old else old
    changed = [name for name in _COMPARED if before.get(name) != new.get(name)]
    event = {
        "event": f"job.{_what_happened(before, new)}",
        "occurred_at": iso(now_ms),
        "version": new["version"],
        "updated_by": new["updated_by"],
        "changed": [] if "deleted_at" in new else changed,
    }
    if len(untold) >= _MOST_UNTOLD:
        logger.error("an event of a job was never published", extra={"untold": untold[0]})
    return [*untold, event][-_MOST_UNTOLD:]


def _what_happened(before: dict[str, Any], new: dict[str, Any]) -> str:
    if not before:
        return "created"
    if "deleted_at" in new:
        return "deleted"
    if before.get("paused") != new.get("paused"):
        return "paused" if "paused" in new else "resumed"
    return "updated"


def _published(job: dict[str, Any], untold: list[dict[str, Any]]) -> bool:
    try:
        for event in untold:
            publish(impatient_sns(), _message(job, event))
    except (ClientError, BotoCoreError) as error:
        logger.error("changes of a job were not published yet", extra={"error": str(error)})
        return False
    return True


def _message(job: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """The event with what the job is by it; without, if the job has changed since."""
    message = event | {name: job[name] for name in _ALWAYS_TOLD}
    if event["version"] == job["version"]:
        view = job_view(job)
        message |= {name: view[name] for name in _TOLD if name in view}
    return message


def _cleared(job: dict[str, Any]) -> bool:
    """Clears what was told; a deleted job leaves the catalog with it, where a sweep finds what is untold."""
    also = ", #catalog" if "deleted_at" in job else ""
    try:
        tables.update_if(
            setting("JOBS_TABLE"),
            {"service_name": job["service_name"], "job_name": job["job_name"]},
            f"REMOVE untold_events{also}",
            "#version = :told",
            {":told": job["version"]},
        )
    except (ClientError, BotoCoreError) as error:
        logger.error("what was published may be published again", extra={"error": str(error)})
        return False
    return True
