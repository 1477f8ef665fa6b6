"""The triggers of the stage: one for each unique schedule, shared by all jobs that are on it.

A ``cron`` or ``rate`` in UTC without bounds has an EventBridge rule, if the stage's trigger_type is ``rule``.
Everything else has a schedule of EventBridge Scheduler. Here, ``schedule`` is the key of a schedule
(jobmanager.schedules.keys).

Two changes may meet at one trigger: the last job leaves the schedule while another enters it. No lock is
needed, because each change reads the count of jobs again after it has changed the trigger:

- A job that enters: put the trigger, save the job (which changes the count), settle the trigger.
- A job that leaves: save the job, settle the trigger.
- Settle: read the count, put or remove the trigger accordingly, and read the count again, until both counts
  agree. So whichever change acts last on the trigger has seen the last count.

Each of these steps is safe to repeat.

A stage may move from one trigger_type to the other. From then on, each step puts the trigger of the new type.
The reconciler puts the missing ones, and removes those of the old type. Until then both fire at the same
time, and the names of the executions are the same, so nothing runs twice.
"""

from collections.abc import Iterable
from typing import Literal

from botocore.exceptions import ClientError

from jobmanager.core.errors import Contended
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.schedules import counts, rules, scheduler
from jobmanager.schedules.keys import is_plain, timing_of
from jobmanager.schedules.trigger_kind import TriggerState, TriggerType, is_concurrent_change, trigger_name

type Done = Literal["put", "removed"]

_MAX_TRIES = 10
_MAX_PUTS = 3


def type_of(schedule: str) -> TriggerType:
    """Returns which kind of trigger a schedule has in this stage. Raises InvalidSchedule if it is no key."""
    if setting("TRIGGER_TYPE") == "rule" and is_plain(timing_of(schedule)):
        return "rule"
    return "scheduler"


def state(schedule: str) -> TriggerState:
    """Reads the state of the trigger of a schedule; ignores its target."""
    return rules.state(schedule) if type_of(schedule) == "rule" else scheduler.state(schedule)


def put(schedule: str, known_state: TriggerState | None = None) -> bool:
    """Ensures that the trigger exists, is enabled, and has our target; returns whether that took a change.

    ``known_state`` is the state that the caller has just read; it saves a call. A correct trigger is not put
    again, because that would move the ticks of a rate.

    If somebody else changes or removes the trigger at the same time, it is put again, three times at most.

    Raises InvalidSchedule if AWS does not accept the schedule, and ScheduleLimitReached if the account has no
    room for another trigger.
    """
    for number in tries(_MAX_PUTS):
        try:
            if type_of(schedule) == "rule":
                return rules.put(schedule, known_state)
            return scheduler.put(schedule, known_state)
        except ClientError as error:
            if not is_concurrent_change(error) or number + 1 == _MAX_PUTS:
                raise
        known_state = None
    raise AssertionError("the last try returns or raises")


def settle(schedule: str, known_state: TriggerState | None = None) -> Done | None:
    """Puts the trigger if any active job is on its schedule, and removes it if none is.

    Returns what was done last; None if nothing had to be done. ``known_state``: see :func:`put`.
    """
    done: Done | None = None
    for _ in tries(_MAX_TRIES):
        is_used = counts.job_count(schedule) > 0
        try:
            if is_used:
                done = "put" if put(schedule, known_state) else done
            else:
                done = "removed" if _remove(schedule) else done
                counts.delete_if_unused(schedule)
            if (counts.job_count(schedule) > 0) == is_used:
                return done
        except ClientError as error:
            if not is_concurrent_change(error):
                raise
        known_state = None
    raise Contended(f"Jobs keep entering and leaving {schedule}.")


def settle_all(schedules: Iterable[str]) -> None:
    """Settles the triggers of these schedules."""
    for schedule in schedules:
        settle(schedule)


def _remove(schedule: str) -> bool:
    name = trigger_name(schedule)
    return rules.remove(name) if type_of(schedule) == "rule" else scheduler.remove(name)
