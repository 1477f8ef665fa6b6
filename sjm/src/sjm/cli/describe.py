"""Jobs and executions in words: cells of tables, and the lines of ``show``."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from sjm.cli import times
from sjm.cli.command import Session
from sjm.cli.names import JobName, short_id
from sjm.cli.output import Column
from sjm.review.after import parents_in_words

if TYPE_CHECKING:
    from sjm.client import Attempt, Execution, PastExecution, PreviewTime, SavedJob

STYLES = {
    "success": "green",
    "fail": "bold red",
    "timeout": "bold red",
    "waiting": "blue",
    "running": "cyan",
    "skipped": "yellow",
    "cancelled": "yellow",
    "paused": "yellow",
    "disabled": "bright_black",
    "completed": "bright_black",
}


def job_of(document: "Execution | SavedJob") -> JobName:
    """The job that a document of the API is about."""
    return JobName(document["service_name"], document["job_name"])


def counted(count: int) -> str:
    """How many executions, in words."""
    return "1 execution" if count == 1 else f"{count} executions"


def why(execution: "Execution | Attempt") -> str:
    """Why an execution ended as it did, or waits, or how far it is."""
    parts = []
    if reason := execution.get("reason"):
        assert isinstance(reason, dict)
        parts = [f"{reason['code']}: {reason['detail']}"]
    else:
        parts = [error_name(execution["error"])] if "error" in execution else []
        parts += [execution.get("cause", ""), execution.get("summary", "")]
    return ": ".join(part for part in parts if part)


def error_name(error: Any) -> str:
    """The error of an execution, which is whatever the service has sent."""
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping) and isinstance(error.get("name"), str):
        return str(error["name"])
    return json.dumps(error)


def took(execution: "Execution | Attempt | PastExecution") -> str:
    """How long the service had it, from the notification to the end."""
    begin, end = execution.get("service_invoked_at_ms"), execution.get("finished_at_ms")
    return times.span((end - begin) / 1000) if begin is not None and end is not None else ""


def waits_since(session: Session, execution: "Execution") -> str:
    """Since when an execution waits; empty if it does not, or no longer."""
    since = execution.get("waiting_since_ms")
    if execution["status"] != "waiting" or since is None:
        return ""
    return f"since {session.shown(times.of_ms(since))}"


def percent(progress: float | None) -> str:
    """How far an execution is."""
    return "" if progress is None else f"{progress:g}%"


def state_of(job: "SavedJob") -> str:
    """Whether a job fires."""
    if not job["enabled"]:
        return "disabled"
    if "completed_at" in job:
        return "completed"
    return "paused" if "paused" in job else "running" if "lock_execution" in job else "enabled"


def schedule_of(job: "SavedJob") -> str:
    """The schedule of a job, with its time zone if that is not UTC; or the jobs after which it runs."""
    if "after" in job:
        return "after " + ", ".join(parents_in_words(job["after"]))
    zone = job.get("time_zone", "UTC")
    return job["schedule"] if zone == "UTC" else f"{job['schedule']} {zone}"


def columns_of_executions(session: Session) -> list[Column]:
    """The table of executions. What waits has not started."""

    def started(execution: "Execution") -> str:
        is_waiting = execution["status"] == "waiting"
        return "" if is_waiting else session.shown(times.of_ms(execution["started_at_ms"]))

    def reason(execution: "Execution") -> str:
        parts = (_progress_of(execution), waits_since(session, execution), why(execution))
        return " ".join(filter(None, parts))

    return [
        Column("job", lambda each: str(job_of(each)), whole=True),
        Column("execution", lambda each: short_id(each["execution_id"]), whole=True),
        Column("status", lambda each: each["status"], True, lambda each: STYLES.get(each["status"], "")),
        Column("started", started, whole=True),
        Column("took", took, whole=True),
        Column("why", reason),
    ]


def _progress_of(execution: "Execution") -> str:
    return percent(execution.get("progress")) if execution["status"] == "running" else ""


def columns_of_jobs(session: Session) -> list[Column]:
    """The table of jobs."""

    def last(job: "SavedJob") -> str:
        past = job.get("last_execution")
        return f"{past['status']} {session.shown(times.of_ms(past['finished_at_ms']))}" if past else ""

    def style_of_last(job: "SavedJob") -> str:
        return STYLES.get(job["last_execution"]["status"], "") if "last_execution" in job else ""

    return [
        Column("job", lambda job: str(job_of(job)), whole=True),
        Column("schedule", schedule_of, whole=True),
        Column("state", state_of, True, lambda job: STYLES.get(state_of(job), "")),
        Column("last", last, style=style_of_last),
        Column("owner", lambda job: job.get("owner", "")),
    ]


def columns_of_attempts(session: Session) -> list[Column]:
    """The table of the attempts of an execution."""

    def notified(attempt: "Attempt") -> str:
        at = attempt.get("service_invoked_at_ms")
        return session.shown(times.of_ms(at)) if at is not None else ""

    return [
        Column("attempt", lambda each: str(each["attempt"]), whole=True),
        Column("status", lambda each: each["status"], True, lambda each: STYLES.get(each["status"], "")),
        Column("notified", notified, whole=True),
        Column("took", took, whole=True),
        Column("why", why),
    ]


def lines_of_job(session: Session, job: "SavedJob") -> list[tuple[str, str]]:
    """What ``sjm jobs show`` writes, as names and values."""
    lines = [("job", str(job_of(job))), ("state", _long_state(session, job)), ("schedule", schedule_of(job))]
    lines += [
        (name, _iso(session, at))
        for name, at in (("start_at", job.get("start_at")), ("end_at", job.get("end_at")))
        if at is not None
    ]
    lines += _fire_times(session, job)
    lines.append(("target", f"{job['invocation_type']} {job['invocation_target']}"))
    if holder := job.get("lock_execution"):
        until = job.get("lock_expires_at")
        lines.append(("running", short_id(holder) + (f" (until {_iso(session, until)})" if until else "")))
    for title, past in (
        ("last execution", job.get("last_execution")),
        ("last success", job["last_successful_execution"]),
    ):
        if past:
            lines.append((title, _past(session, cast("PastExecution", past))))
    shown_above = {
        "service_name",
        "job_name",
        "enabled",
        "paused",
        "completed_at",
        "schedule",
        "time_zone",
        "start_at",
        "end_at",
        "next_fire_times",
        "next_times",
        "invocation_type",
        "invocation_target",
        "lock_execution",
        "lock_expires_at",
        "last_execution",
        "last_successful_execution",
        "warnings",
        *(["exclusive"] if "overlap" in job else []),
    }
    for name, value in job.items():
        if name in ("created_at", "updated_at"):
            lines.append((name, _iso(session, str(value))))
        elif name not in shown_above:
            lines.append((name, _value(value)))
    return lines


def _long_state(session: Session, job: "SavedJob") -> str:
    if paused := job.get("paused"):
        until = f" until {_iso(session, paused['until'])}" if "until" in paused else ""
        disabled = "" if job["enabled"] else "disabled, and "
        return f"{disabled}paused{until}: {paused['reason']} (by {paused['paused_by']})"
    if "completed_at" in job and job["enabled"]:
        return f"completed since {_iso(session, job['completed_at'])}: its schedule never fires again"
    return "enabled" if job["enabled"] else "disabled"


def _fire_times(session: Session, job: "SavedJob") -> list[tuple[str, str]]:
    fire_times, times_of_clock = job.get("next_fire_times", []), job.get("next_times")
    if fire_times is None:
        return [("next", "EventBridge counts a rate from when its trigger was made, and does not say when")]
    if job.get("time_zone", "UTC") != "UTC" and times_of_clock:
        found = [in_its_zone(each) for each in times_of_clock]
    else:
        found = [both(session, each) for each in fire_times]
    return [("next" if at == 0 else "", each) for at, each in enumerate(found)]


def in_its_zone(time: "PreviewTime") -> str:
    """A time by the clock of the schedule's time zone, and in UTC."""
    local = times.of_iso(time["local"])
    if time["skipped"]:
        return f"{local:%Y-%m-%d %H:%M:%S} is skipped: the clocks go forward over it"
    return f"{local} ({times.shown(times.of_iso(time['utc']), True)})"


def both(session: Session, iso: str) -> str:
    """A time where you are, and in UTC."""
    moment = times.of_iso(iso)
    local, utc = session.shown(moment), times.shown(moment, True)
    return utc if local == utc else f"{local} ({utc})"


def _iso(session: Session, iso: str) -> str:
    return session.shown(times.of_iso(iso))


def _past(session: Session, past: "PastExecution") -> str:
    parts = [
        short_id(past["execution_id"]),
        past["status"],
        session.shown(times.of_ms(past["finished_at_ms"])),
        f"took {took(past)}" if took(past) else "",
        past.get("summary", ""),
    ]
    return "  ".join(part for part in parts if part)


def lines_of_execution(session: Session, execution: "Execution") -> list[tuple[str, str]]:
    """What ``sjm executions show`` writes, as names and values."""
    lines = [
        ("job", str(job_of(execution))),
        ("execution", execution["execution_id"]),
        ("status", execution["status"]),
    ]
    if text := why(execution):
        lines.append(("why", text))
    shown_above = {
        "service_name",
        "job_name",
        "execution_id",
        "status",
        "attempts",
        "reason",
        "cause",
        "summary",
        *(["started_at_ms"] if execution["status"] == "waiting" else []),
    }
    for name, value in execution.items():
        if name in shown_above or (name == "error" and isinstance(value, str)):
            continue
        if name.endswith(("_at_ms", "_since_ms")) and isinstance(value, int):
            lines.append((name.removesuffix("_ms"), session.shown(times.of_ms(value))))
        elif name in ("scheduled_time", "lock_expires_at", "next_attempt_at"):
            lines.append((name, _iso(session, str(value))))
        elif name.endswith("_ms") and name != "scheduled_time_ms" and isinstance(value, int):
            lines.append((name.removesuffix("_ms"), times.span(value / 1000)))
        elif name != "scheduled_time_ms":
            lines.append((name, _value(value)))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_value(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value)
    return json.dumps(value)
