"""Stores on a job how its last execution ended, and frees the job's lock."""

from typing import Any

from jobmanager.jobs import store
from jobmanager.jobs.definition import Job, LastExecution


def record_last_execution(
    service_name: str, job_name: str, finished: LastExecution, frees_lock: bool
) -> Job | None:
    """Stores an execution as the job's last one, and a success also as its last successful one.

    An older execution that ends late replaces nothing newer, and frees only its own lock. Safe to repeat.
    Returns the updated job; None if there is none.
    """
    names = ["last_execution"]
    if finished["status"] == "success":
        names.append("last_successful_execution")
    summary = {name: value for name, value in finished.items() if name != "state"}
    values = {
        ":last_execution": summary,
        ":last_successful_execution": finished,
        ":me": finished["execution_id"],
    }
    newest = {name: f"(attribute_not_exists({name}) OR {name}.scheduled_time_ms <= :time)" for name in names}
    sets = {name: f"{name} = :{name}" for name in names}

    def update(chosen: list[str], frees: bool) -> Job | None:
        freeing = " REMOVE lock_execution, lock_expires_at" if frees else ""
        conditions = ["attribute_exists(job_key)", *(newest[name] for name in chosen)]
        used: dict[str, Any] = {f":{name}": values[f":{name}"] for name in chosen}
        if chosen:
            used[":time"] = finished["scheduled_time_ms"]
        if frees:
            conditions.append("lock_execution = :me")
            used[":me"] = values[":me"]
        setting_part = f"SET {', '.join(sets[name] for name in chosen)}" if chosen else ""
        return store.update_if(
            service_name, job_name, f"{setting_part}{freeing}".strip(), " AND ".join(conditions), used
        )

    if job := update(names, frees_lock):
        return job
    # The job has a newer execution, or the lock is no longer ours. Do each part that still applies.
    for name in names:
        update([name], False)
    if frees_lock:
        update([], True)
    return store.find(service_name, job_name)
