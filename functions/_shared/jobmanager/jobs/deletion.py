"""Deletes a job, for the API and for Terraform."""

from jobmanager.api.preconditions import Expected
from jobmanager.jobs import changes
from jobmanager.schedules.rules import settle_rule


def delete_job(
    service_name: str,
    job_name: str,
    updated_by: str,
    at_ms: int,
    expected: Expected | None = None,
    managed_by: str | None = None,
) -> None:
    """Deletes the job, then removes its rule if no other job is on it.

    Safe to repeat: if the function dies between the two, the next call settles the rule. Raises what
    :func:`jobmanager.jobs.changes.delete` raises.
    """
    tombstone = changes.delete(service_name, job_name, updated_by, at_ms, expected, managed_by)
    for schedule in tombstone["left_schedules"]:
        settle_rule(schedule)
