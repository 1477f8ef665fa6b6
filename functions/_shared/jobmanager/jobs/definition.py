"""A job: its fields, and how the API shows it."""

from typing import Any, NotRequired, TypedDict

from jobmanager.core.clock import iso

MOST_PAYLOAD_BYTES = 32 * 1024
MOST_SYNC_SECONDS = 60


class Retry(TypedDict):
    """After which ends another attempt follows, how many there are with the first, and the waits between."""

    max_attempts: int
    interval_seconds: int
    backoff_rate: float
    on: list[str]


class JobDefinition(TypedDict):
    """What a PUT sets: the body with its defaults, the schedule in canonical form."""

    schedule: str
    invocation_type: str
    invocation_target: str
    payload: str
    enabled: bool
    exclusive: bool
    ttl_seconds: int
    max_duration_seconds: int
    heartbeat_interval_seconds: NotRequired[int]
    alert_after_failures: NotRequired[int]
    description: NotRequired[str]
    owner: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    catch_up: str
    starting_deadline_seconds: NotRequired[int]
    retry: NotRequired[Retry]


DEFINITION_FIELDS = (
    "schedule",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "enabled",
    "exclusive",
    "ttl_seconds",
    "max_duration_seconds",
    "heartbeat_interval_seconds",
    "alert_after_failures",
    "description",
    "owner",
    "tags",
    "catch_up",
    "starting_deadline_seconds",
    "retry",
)


def job_view(job: dict[str, Any], whole: bool = True) -> dict[str, Any]:
    """A job as the API shows it; in a list without its ``payload`` and last ``state``, which may be large."""
    shown = (
        "service_name",
        "job_name",
        "job_guid",
        *DEFINITION_FIELDS,
        "managed_by",
        "version",
        "created_at",
        "updated_at",
        "updated_by",
        "fencing_token",
        "lock_execution",
        "last_execution",
    )
    view = {name: job[name] for name in shown if name in job and (whole or name != "payload")}
    if "paused" in job:
        paused = dict(job["paused"])
        if "until" in paused:
            paused["until"] = iso(paused["until"])
        view["paused"] = paused
    if "lock_expires_at" in job:
        view["lock_expires_at"] = iso(job["lock_expires_at"] * 1000)
    last_successful = job.get("last_successful_execution", {})
    view["last_successful_execution"] = {
        name: value for name, value in last_successful.items() if whole or name != "state"
    }
    return view
