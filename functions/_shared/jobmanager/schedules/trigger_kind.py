"""What both kinds of trigger have in common. A trigger is what fires for a schedule.

A trigger is an EventBridge rule (jobmanager.schedules.rules), or a schedule of EventBridge Scheduler
(jobmanager.schedules.scheduler). Here, ``schedule`` is the key of a schedule (jobmanager.schedules.keys).
"""

import hashlib
import re
from typing import Any, Literal, Protocol

from botocore.exceptions import ClientError

from jobmanager.core.settings import setting

type TriggerType = Literal["rule", "scheduler"]
type TriggerState = Literal["in step", "missing", "disabled", "different"]

NOT_FOUND = "ResourceNotFoundException"
_DIGEST = re.compile(r"[0-9a-f]{16}")
# A concurrent change of the same trigger, or of the same count. The SDK retries none. PutTargets and
# UpdateSchedule find nothing if somebody has removed the trigger since it was looked for.
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html#API_PutTargets_Errors
# https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html#API_UpdateSchedule_Errors
_CONCURRENT_CHANGE_CODES = (
    "ConcurrentModificationException",
    "ConflictException",
    "TransactionConflictException",
    NOT_FOUND,
)


class TriggerKind(Protocol):
    """One kind of trigger: how AWS is asked to list, compare, put and remove such triggers.

    ``found`` is what AWS answers about one trigger in a list.
    """

    def listed(self) -> dict[str, Any]:
        """Returns the stage's triggers of this kind by name; skips names that trigger_name cannot give."""

    def state_in_list(self, found: Any | None, schedule: str) -> TriggerState:
        """Compares a trigger with its schedule, as far as the list tells."""

    def is_complete(self, schedule: str) -> bool:
        """Whether a trigger that is in step in the list is as wanted in everything else; asks AWS."""

    def schedule_of(self, found: Any) -> str:
        """Returns the schedule that a trigger fires for; may ask AWS. It is no key if somebody changed it."""

    def put(self, schedule: str, known_state: TriggerState | None = None) -> bool:
        """Ensures that the trigger exists, is enabled, and as wanted; returns whether that took a change."""

    def remove(self, name: str) -> bool:
        """Removes a trigger; False if it is already gone, or not ours alone."""


def trigger_name(schedule: str) -> str:
    """Returns the name of a schedule's trigger, of either kind; at most 64 characters."""
    return f"{trigger_prefix()}{hashlib.sha256(schedule.encode()).hexdigest()[:16]}"


def trigger_prefix() -> str:
    """Returns how the names of all triggers of the stage begin."""
    return f"{setting('PREFIX')}-schedule-"


def is_trigger_name(name: str) -> bool:
    """Whether :func:`trigger_name` could have given this name."""
    return name.startswith(trigger_prefix()) and bool(_DIGEST.fullmatch(name.removeprefix(trigger_prefix())))


def is_concurrent_change(error: ClientError) -> bool:
    """Whether AWS refused a call because somebody else changed the same trigger or count."""
    return code_of(error) in _CONCURRENT_CHANGE_CODES


def code_of(error: ClientError) -> str:
    """Returns AWS's code of an error."""
    return error.response["Error"]["Code"]
