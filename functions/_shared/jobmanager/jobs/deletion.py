"""Deletes a job, for the API and for Terraform."""

from jobmanager.api.preconditions import Expected
from jobmanager.jobs import changes
from jobmanager.schedules.triggers import settle_all


def delete_job(
    service_name: str,
    job_name: str,
    updated_by: str,
    at_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> None:
    """Deletes the job, then removes its trigger if no other job is on it.

    Safe to repeat: if the function dies between the two, the next call settles the trigger. Raises what
    :func:`jobmanager.jobs.changes.delete` raises.
    """
    tombstone = changes.delete(service_name, job_name, updated_by, at_ms, expected, managed_by)
    settle_all(tombstone["left_schedules"])
