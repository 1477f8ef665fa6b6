"""Has a job paused that has failed ``pause_after_failures`` times in a row.

To pause a job takes rights that the functions which settle executions do not need otherwise: they would have
to remove triggers. So these only count, and invoke pause_failing_job asynchronously. It looks at the streak
again, so that neither a repeated invocation nor a late one pauses a job that was resumed or has succeeded.

Failures count since the job was last activated (``active_since_ms``): after a resume it may fail as often
again. Those of runs by hand count too, but none count while the job is paused or disabled.
"""

from typing import cast

from jobmanager.aws.invocations import invoke_later
from jobmanager.core.settings import setting
from jobmanager.jobs.definition import Job, Streak, ToPause, is_active


def next_to_pause(old: Streak, counted: Streak, job: Job, execution_id: str, at_ms: int) -> Streak:
    """Returns the streak ``counted`` with what counts for ``pause_after_failures``.

    ``counted`` is ``old`` after the outcome of the execution.
    """
    limit = job.get("pause_after_failures")
    if limit is None or not counted["failures"]:
        kept = {name: value for name, value in counted.items() if name != "to_pause"}
        return cast(Streak, kept)
    if counted["failures"] <= old["failures"] or not is_active(job, at_ms):
        return counted
    since_ms = job.get("active_since_ms", 0)
    before = counted.get("to_pause", ToPause(since_ms=since_ms, failures=0))
    failures = 1 + (before["failures"] if before["since_ms"] == since_ms else 0)
    to_pause = ToPause(since_ms=since_ms, failures=failures)
    if failures >= limit:
        to_pause["execution_id"] = execution_id
    return {**counted, "to_pause": to_pause}


def is_reached_by(streak: Streak, execution_id: str) -> bool:
    """Whether the execution is the failure after which the job is to be paused."""
    return "to_pause" in streak and streak["to_pause"].get("execution_id") == execution_id


def ask_for_pause(job: Job, execution_id: str) -> None:
    """Invokes pause_failing_job for the failure of an execution. Safe to repeat."""
    asked = {"service_name": job["service_name"], "job_name": job["job_name"], "execution_id": execution_id}
    invoke_later(setting("PAUSE_FAILING_JOB_ARN"), asked)
