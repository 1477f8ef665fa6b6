"""Publishes ``execution.late`` once of an execution that runs longer than ``warn_after_seconds``. It goes on.

The sweep finds such an execution by its ``sweep_at``, which is no later than the warning. It first moves
``sweep_at`` a little, on a condition, so that of two sweeps one publishes. Then it publishes, and notes
``warned_at_ms`` on the record. If it dies in between, a later sweep publishes the event again, with the same
``event`` and ``execution_id``.
"""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.mappings import picked
from jobmanager.executions import store
from jobmanager.executions.events import event_message
from jobmanager.executions.metrics import count_late
from jobmanager.executions.record import Execution, warn_at
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.runtime.logs import logger

_PUBLISHED = ("progress", "warn_after_seconds")
"""What this event has more than the others about an execution."""


def is_warning_due(record: Execution, now_seconds: int) -> bool:
    """Whether ``execution.late`` is to be published of a running execution by now (seconds since 1970)."""
    due_at = warn_at(record)
    return due_at is not None and due_at <= now_seconds


def warn(record: Execution, at_ms: int) -> Execution:
    """Publishes the warning, and notes it on the record. Returns the record as updated."""
    job = jobs.find_without_large_values(record["service_name"], record["job_name"])
    publish(sns(), _message(record, job, at_ms))
    noted = store.update_if(
        record["execution_id"],
        "SET warned_at_ms = :now",
        "attribute_exists(execution_id) AND attribute_not_exists(warned_at_ms)",
        {":now": at_ms},
    )
    if noted is None:  # another sweep was faster, or the record has expired
        return {**record, "warned_at_ms": at_ms}
    count_late(noted)
    logger.info("execution is late", extra={"warn_after_seconds": record["warn_after_seconds"]})
    return noted


def _message(record: Execution, job: Job | None, at_ms: int) -> dict[str, Any]:
    return {**event_message("execution.late", record, at_ms, job), **picked(record, _PUBLISHED)}
