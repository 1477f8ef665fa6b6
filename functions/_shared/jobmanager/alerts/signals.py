"""Reads what the topics of events and alarms publish: a problem begins, continues or ends.

An alarm's message: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict
from urllib.parse import quote

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.strict_json import parse
from jobmanager.jobs.definition import MANAGER

type GroupBy = Literal["route", "service", "job"]

MAX_WHY_CHARACTERS = 300
_MAX_OWNER_CHARACTERS = 100
_MAX_NAME_CHARACTERS = 255  # of an alarm; a job's key has 129

_WHAT = {
    "execution.failed": "failed",
    "execution.timed_out": "timed out",
    "execution.skipped": "was skipped",
    "execution.cancelled": "was cancelled",
    "execution.late": "runs longer than expected",
    "job.failing": "keeps failing",
    "job.paused": "was paused",
}
_SUCCEEDED = "succeeded"
_ENDS = {
    "execution.succeeded": _SUCCEEDED,
    "job.recovered": _SUCCEEDED,
    "job.completed": "will not run again",
    "job.deleted": "was deleted",
    "job.paused": "was paused",
}
_DISABLED = "was disabled"
_HAS_OTHER_PARENTS = "was given another start"
# Their times have no fraction of a second, while those of executions have.
_WITHIN_THE_SECOND_MS = 999

_CONSOLES = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}


class Facts(TypedDict):
    """What a person wants to know of a problem. A field is absent if it is not known."""

    what: str
    why: NotRequired[str]
    owner: NotRequired[str]
    last_success_ms: NotRequired[int]
    link: NotRequired[str]


@dataclass(frozen=True)
class Signal:
    """One message: ``subject``, a job's key or an alarm's name, has a problem, or has it no longer.

    ``identity`` tells duplicates. ``ended`` says how a problem ended; empty if there is one. An end with
    ``is_rare`` is remembered although no problem is known, in case it overtook its problem.
    """

    group: str
    subject: str
    at_ms: int
    identity: str = ""
    facts: Facts = field(default_factory=lambda: Facts(what=""))
    ended: str = ""
    is_rare: bool = False


def signal_in(body: str, problems: Collection[str], group_by: GroupBy, link: str | None) -> Signal | None:
    """Returns the signal in a message of one of the topics; None if the message is about no problem.

    ``problems`` names the events that are problems. ``link`` is the address of the console's page, with
    ``{service_name}``, ``{job_name}`` and ``{execution_id}`` in it.
    """
    try:
        message = parse(body)
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    try:
        if "AlarmName" in message:
            return _of_alarm(message, group_by)
        return _of_event(message, problems, group_by, link)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # somebody else's message, which has the same names


def _of_event(
    event: dict[str, Any], problems: Collection[str], group_by: GroupBy, link: str | None
) -> Signal | None:
    name, service_name, job_name = event["event"], str(event["service_name"]), str(event["job_name"])
    subject = f"{service_name}/{job_name}"
    groups = {"route": "all", "service": f"service {service_name}", "job": f"job {subject}"}
    at_ms = event.get("finished_at_ms") or ms_of_iso(event["occurred_at"])
    if name in problems:
        identity = str(event.get("execution_id") or f"{name} {event['occurred_at']}")
        return Signal(groups[group_by], subject, int(at_ms), identity, _facts(event, link))
    how = _how_updated(event) if name == "job.updated" else _ENDS.get(name)
    if how is None or _is_paused_by_manager(event):
        return None
    if "finished_at_ms" not in event:
        at_ms += _WITHIN_THE_SECOND_MS
    return Signal(groups[group_by], subject, int(at_ms), ended=how, is_rare=name == "job.recovered")


def _how_updated(event: dict[str, Any]) -> str | None:
    """How a change of a job ends its problem; None if it does not."""
    if event.get("enabled") is False:
        return _DISABLED
    return _HAS_OTHER_PARENTS if "after" in event["changed"] else None


def _is_paused_by_manager(event: dict[str, Any]) -> bool:
    """Whether the manager has paused a job that keeps failing. Nobody has seen to it, so nothing is over."""
    return bool(event["event"] == "job.paused" and event.get("updated_by") == MANAGER)


def _facts(event: dict[str, Any], link: str | None) -> Facts:
    facts = Facts(what=_WHAT.get(event["event"], f"has the event {event['event']}"))
    if event["event"] == "job.failing":
        facts["what"] = f"failed {int(event['consecutive_failures'])} times in a row"
    if event["event"] == "job.orphaned":
        facts["what"] = f"does not run any more, because {event['parent']}, after which it runs, was deleted"
    reason = event.get("reason", {}).get("detail")
    told = [event.get("error"), event.get("cause") or event.get("summary") or reason]
    if event["event"] == "execution.late":
        told = [_how_late(event)]
    if event["event"] == "job.paused":
        facts["what"] += " by the manager" if _is_paused_by_manager(event) else ""
        told = [event.get("paused", {}).get("reason")]
    if why := ": ".join(str(text) for text in told if text):
        facts["why"] = shortened(why, MAX_WHY_CHARACTERS)
    if owner := event.get("owner"):
        facts["owner"] = shortened(str(owner), _MAX_OWNER_CHARACTERS)
    if succeeded := event.get("last_succeeded_at_ms"):
        facts["last_success_ms"] = int(succeeded)
    if link:
        for name in ("service_name", "job_name", "execution_id"):
            link = link.replace(f"{{{name}}}", quote(str(event.get(name, "")), safe=""))
        facts["link"] = link
    return facts


def _how_late(event: dict[str, Any]) -> str:
    if "warn_after_seconds" not in event:
        return ""
    reported = f", and has reported {float(event['progress']):g}%" if "progress" in event else ""
    return f"It has run for more than {int(event['warn_after_seconds'])} seconds{reported}."


def _of_alarm(alarm: dict[str, Any], group_by: GroupBy) -> Signal | None:
    name = str(alarm["AlarmName"])[:_MAX_NAME_CHARACTERS]
    changed_at = datetime.strptime(alarm["StateChangeTime"], "%Y-%m-%dT%H:%M:%S.%f%z")
    at_ms = round(changed_at.timestamp() * 1000)
    group = {"route": "all", "service": "alarms", "job": f"alarm {name}"}[group_by]
    if alarm["NewStateValue"] == "OK":
        return Signal(group, name, at_ms, ended="is OK", is_rare=True)
    if alarm["NewStateValue"] != "ALARM":
        return None
    facts = Facts(what="is in alarm")
    if why := alarm.get("AlarmDescription") or alarm.get("NewStateReason"):
        facts["why"] = shortened(str(why), MAX_WHY_CHARACTERS)
    _, partition, _, region, *_ = alarm["AlarmArn"].split(":")
    host = _CONSOLES.get(partition, "console.aws.amazon.com")
    facts["link"] = (
        f"https://{region}.{host}/cloudwatch/home?region={region}#alarmsV2:alarm/{quote(name, safe='')}"
    )
    return Signal(group, name, at_ms, f"{name} {alarm['StateChangeTime']}", facts)


def shortened(text: str, most: int) -> str:
    """Returns a text on one line, without control characters, cut to ``most`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
