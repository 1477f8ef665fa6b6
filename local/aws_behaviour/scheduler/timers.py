"""Which schedules are due."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.aws_behaviour.scheduler.expressions import InvalidExpression
from local.aws_behaviour.scheduler.fire_times import fire_times

_LOG = logging.getLogger("scheduler")

# The account, the region, and the group and name of a schedule.
type Key = tuple[str, str, str]
type Schedule = dict[str, Any]


@dataclass(frozen=True)
class Due:
    """A schedule that fires. ``is_last``: it does not fire again."""

    key: Key
    schedule: Schedule
    at: datetime
    is_last: bool


@dataclass
class _Timer:
    schedule: Schedule
    rest: Iterator[datetime]
    next: datetime | None


def _timer_of(schedule: Schedule) -> _Timer:
    rest = fire_times(schedule, schedule["LastModificationDate"])
    try:
        return _Timer(schedule, rest, next(rest, None))
    except (InvalidExpression, KeyError, OSError):  # a stack of CloudFormation creates schedules unchecked
        _LOG.exception("%s cannot be fired", schedule["Arn"])
        return _Timer(schedule, rest, None)


class Timers:
    """Remembers the next time of each schedule.

    The record of a schedule is replaced when the schedule is updated, or deleted and created again. Its timer
    then starts anew, so an ``at`` that fired fires again.
    """

    def __init__(self) -> None:
        self._timers: dict[Key, _Timer] = {}

    def due(self, schedules: Mapping[Key, Schedule], now: float) -> Iterator[Due]:
        """Yields each time of each schedule once, even if late. ``now`` is in seconds since 1970."""
        for gone in self._timers.keys() - schedules.keys():
            del self._timers[gone]
        for key, schedule in schedules.items():
            timer = self._timers.get(key)
            if timer is None or timer.schedule is not schedule:
                timer = self._timers[key] = _timer_of(schedule)
            if schedule.get("State") != "ENABLED":
                continue
            while timer.next and timer.next.timestamp() <= now:
                at, timer.next = timer.next, next(timer.rest, None)
                yield Due(key, schedule, at, is_last=timer.next is None)
