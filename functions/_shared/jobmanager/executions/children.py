"""Has the jobs started that run after a job, once an execution of that job has ended.

Only start_children needs the rights to start them. The functions that settle executions see from the job
whether it has children, which costs nothing, and then invoke start_children asynchronously. It decides which
children start, and starts none twice (:mod:`jobmanager.executions.start_children`).
"""

from jobmanager.aws.invocations import invoke_later
from jobmanager.core.settings import setting
from jobmanager.executions.record import Execution
from jobmanager.jobs.definition import Job, is_deleted


def have_children_started(job: Job | None, record: Execution) -> None:
    """Invokes start_children for an ended execution of a job that has children. Safe to repeat.

    ``job`` is the item as it was just read or written. Nothing follows an execution whose job was deleted,
    even if it was created again since.
    """
    if job is None or not job.get("children") or is_deleted(job):
        return
    if record.get("job_created_at", job["created_at"]) != job["created_at"]:
        return
    ended = {name: record[name] for name in ("service_name", "job_name", "execution_id")}
    invoke_later(setting("START_CHILDREN_ARN"), ended)
