"""What the codes and names of the API mean, and what to do: the words of docs/api.md, shorter."""

from sjm.client import Execution
from sjm.console.outcomes import WAITING

_WAITS = {
    "limit_reached": "The job's limit has no room. It starts when there is room for it.",
    "lock_held": "Another execution of the job runs. It starts when its turn comes.",
}
_SKIPS = {
    "chain_too_deep": "More executions in a line have run before it than a chain may have.",
    "job_deleted": "The job was deleted after the tick.",
    "job_disabled": "The job is not enabled.",
    "job_paused": "The job is paused.",
    "limit_reached": "The job's limit had no room until it was too late to start.",
    "lock_held": "Another execution had the lock of the job.",
    "lock_lost": "The lock expired before the service could be notified.",
    "not_active_then": "The tick came late, and the job was not active at its time.",
    "parents_changed": "The job does not run any more after the jobs after which it was started.",
    "queue_full": "As many executions of the job waited already as may wait.",
    "schedule_changed": "The job moved to another schedule after the tick.",
    "started_too_late": "The execution would have started later than the job allows.",
    "superseded": "One of a newer time waits in its place.",
}
_ERRORS = {
    "Job.NotificationRejected": (
        "The target refused the notification, is not allowed, or the service has no valid webhook secret."
        " Test the job to see the target's answer."
    ),
    "Job.AnswerInvalid": (
        "The service answered with success, but its answer could not be read. It has done its work, so it is"
        " not called again."
    ),
    "Job.HeartbeatTimeout": (
        "After the notification came neither a heartbeat nor a result in time. Look into the service's log"
        " at that time."
    ),
    "Job.Timeout": "No result came within the longest duration of the job.",
    "NotificationUndelivered": (
        "Every delivery of the notification failed, and no heartbeat came. Is the target up?"
    ),
    "AnswerNotRecorded": (
        "The service answered, but the manager could not store the answer. The service is not called again."
    ),
    "Manager.LockLost": "The lock expired while a notification was being delivered again.",
    "Manager.NotNotified": "The manager never notified the service. Rerun it.",
    "Manager.ExecutionNotBegun": "The manager could not start the execution. Rerun it.",
    "Manager.NoOutcome": "Somebody ended the task in Step Functions without a result.",
}
_OF_THE_MANAGER = (
    "The manager failed, not the service. Rerun it. If it fails again, ask who operates the stage."
)


def of_execution(execution: Execution) -> str:
    """Why an execution waits or did not succeed, in a sentence; empty if only the service knows."""
    if reason := execution.get("reason"):
        codes = _WAITS if execution["status"] == WAITING else _SKIPS
        return codes.get(reason["code"], "")
    explained = of_error(execution.get("error"))
    if not explained and execution.get("fault") == "manager":
        return _OF_THE_MANAGER
    return explained


def of_error(error: object) -> str:
    """What a name that the manager gave an error means; empty if it is the service's own."""
    return _ERRORS.get(error, "") if isinstance(error, str) else ""
