"""Stores on a job how its last execution ended, and frees the job's lock."""

from typing import Any

from jobmanager.aws.large_values import is_large
from jobmanager.jobs import large_values, store
from jobmanager.jobs.definition import Job, LastExecution


def record_last_execution(
    service_name: str, job_name: str, finished: LastExecution, frees_lock: bool
) -> Job | None:
    """Stores an execution as the job's last one, and a success also as its last successful one.

    Of two executions that held the lock, the one with the higher fencing_token is the last. Of any other two,
    the one that ended later is; if both ended in one millisecond, the one whose execution_id sorts later. An
    earlier execution replaces nothing later, and frees only its own lock. Safe to repeat.

    Returns the updated job, which may lack its large values; None if there is none.
    """
    names = ["last_execution"]
    if finished["status"] == "success":
        names.append("last_successful_execution")
    apart = is_large(finished.get("state"))
    summary = {name: value for name, value in finished.items() if name != "state"}
    values = {
        ":last_execution": summary,
        ":last_successful_execution": large_values.without_state(finished) if apart else finished,
        ":me": finished["execution_id"],
    }
    order, order_values = _is_not_later(finished)
    newest = {name: f"(attribute_not_exists({name}) OR {order.format(name=name)})" for name in names}
    sets = {name: f"{name} = :{name}" for name in names}
    if apart and "last_successful_execution" in names:
        store.update_if(
            service_name,
            large_values.state_name(job_name),
            f"SET {sets['last_successful_execution']}",
            newest["last_successful_execution"],
            {":last_successful_execution": finished, **order_values},
        )

    def update(chosen: list[str], frees: bool) -> Job | None:
        freeing = " REMOVE lock_execution, lock_expires_at" if frees else ""
        conditions = ["attribute_exists(job_key)", *(newest[name] for name in chosen)]
        used: dict[str, Any] = {f":{name}": values[f":{name}"] for name in chosen}
        if chosen:
            used |= order_values
        if frees:
            conditions.append("lock_execution = :me")
            used[":me"] = values[":me"]
        setting_part = f"SET {', '.join(sets[name] for name in chosen)}" if chosen else ""
        return store.update_if(
            service_name, job_name, f"{setting_part}{freeing}".strip(), " AND ".join(conditions), used
        )

    if job := update(names, frees_lock):
        return job
    # The job has a later execution, or the lock is no longer ours. Do each part that still applies.
    for name in names:
        update([name], False)
    if frees_lock:
        update([], True)
    return store.find_without_large_values(service_name, job_name)


def _is_not_later(finished: LastExecution) -> tuple[str, dict[str, Any]]:
    """Builds a condition, with its values: the execution under ``{name}`` is not later than ``finished``."""
    values: dict[str, Any] = {":ended": finished["finished_at_ms"], ":me": finished["execution_id"]}
    ended_before = (
        "({name}.finished_at_ms < :ended OR ({name}.finished_at_ms = :ended AND {name}.execution_id <= :me))"
    )
    if "fencing_token" not in finished:
        return ended_before, values
    condition = (
        "{name}.fencing_token <= :token"
        f" OR (attribute_not_exists({{name}}.fencing_token) AND {ended_before})"
    )
    return condition, {**values, ":token": finished["fencing_token"]}
