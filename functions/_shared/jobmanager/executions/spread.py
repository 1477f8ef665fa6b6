"""When a spread job starts after a tick, if the stage has spread."""

from jobmanager.core.settings import is_on
from jobmanager.jobs.spread import offset_seconds
from jobmanager.jobs.store import DueJob


def starts_at_ms(job: DueJob, scheduled_ms: int) -> int:
    """Returns when a job starts by the tick of a time; both in ms since 1970.

    A stage without spread starts all jobs at once, also those that were saved when it had it.
    """
    if "spread_seconds" not in job or not is_on("SPREAD"):
        return scheduled_ms
    return scheduled_ms + offset_seconds(job["job_key"], job["spread_seconds"]) * 1000
