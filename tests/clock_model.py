"""When a schedule fires: a second implementation, slower and simpler than the one it is held against.

It looks at the clock of the time zone minute by minute. It knows what random plans have: ``rate``, ``at``,
and a ``cron`` of numbers, ranges, steps and ``*`` in its minutes and hours. A moment is in ms since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
_UNITS_MS = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": 1440 * MINUTE_MS}
_KEY = re.compile(r"(\w+\(.*?\))(?: (\S+)(?: from (\S+))?(?: until (\S+))?)?")
_SOON_MS = 3 * 1440 * MINUTE_MS
_EACH_DAY = ["*", "*", "?", "*"]


class UnknownExpression(ValueError):
    """An expression that no random plan has."""


@dataclass(frozen=True)
class Fires:
    """When something fires: an expression, the time zone of its clock, and the moments between which."""

    expression: str
    time_zone: str = "UTC"
    start_ms: int | None = None
    end_ms: int | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Fires:
        """Of the fields of a job, as a caller puts them or as a table holds them."""
        start, end = (_ms(fields.get(name)) for name in ("start_at", "end_at"))
        return cls(fields["schedule"], fields.get("time_zone", "UTC"), start, end)

    @classmethod
    def of_key(cls, key: str) -> Fires:
        """Of the key under which jobs share a trigger."""
        found = _KEY.fullmatch(key)
        if not found:
            raise UnknownExpression(key)
        return cls(found[1], found[2] or "UTC", _ms(found[3]), _ms(found[4]))

    @classmethod
    def of_trigger(cls, made: Mapping[str, Any]) -> Fires:
        """Of a schedule of EventBridge Scheduler, as GetSchedule answers.

        AWS ignores the bounds of one that fires once.
        https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
        """
        expression, zone = made["ScheduleExpression"], made.get("ScheduleExpressionTimezone", "UTC")
        dates = (made.get(name) for name in ("StartDate", "EndDate"))
        start, end = (date and int(date.timestamp() * 1000) for date in dates)
        fires = cls(expression, zone, start, end)
        return cls(expression, zone) if fires.is_once else fires

    @property
    def is_rate(self) -> bool:
        """Whether it fires after equal times."""
        return self.expression.startswith("rate(")

    @property
    def is_once(self) -> bool:
        """Whether it fires once."""
        return self.expression.startswith("at(")

    @property
    def is_modelled(self) -> bool:
        """Whether its expression is one that is known here."""
        return self.is_rate or self.is_once or _fields_of(self.expression) is not None

    @property
    def is_known(self) -> bool:
        """Whether its times follow from itself. Nobody knows from when a rate without a start is counted."""
        return not self.is_rate or self.start_ms is not None

    def fires_at(self, at_ms: int) -> bool:
        """Whether it fires at a moment, if that is known."""
        return self._is_within(at_ms) and self._clock_fires_at(at_ms)

    def between(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """The moments at which it fires after one and until another, if they are known."""
        times: Iterable[int | None]
        if self.is_once:
            times = [_once_ms(self.expression, self.time_zone)]
        elif self.is_rate:
            times = range(self._next_of_rate_ms(after_ms), until_ms + 1, _period_ms(self.expression))
        else:
            times = range((after_ms // MINUTE_MS + 1) * MINUTE_MS, until_ms + 1, MINUTE_MS)
        for at_ms in times:
            if at_ms is not None and after_ms < at_ms <= until_ms and self.fires_at(at_ms):
                yield at_ms

    def fires_after(self, after_ms: int) -> bool:
        """Whether it ever fires after a moment. A rate without a start is counted from that moment."""
        if self.is_once:
            return any(self.between(after_ms, 10**15))
        if self.end_ms is None:
            return True
        if self.is_rate:
            return self._next_of_rate_ms(after_ms) <= self.end_ms
        first_ms = max(after_ms, (self.start_ms or 0) - 1)
        return any(self.between(first_ms, min(self.end_ms, first_ms + _SOON_MS)))

    def _next_of_rate_ms(self, after_ms: int) -> int:
        period_ms = _period_ms(self.expression)
        if self.start_ms is None:
            return after_ms + period_ms
        return self.start_ms + max(0, (after_ms - self.start_ms) // period_ms + 1) * period_ms

    def _is_within(self, at_ms: int) -> bool:
        return (self.start_ms is None or self.start_ms <= at_ms) and (
            self.end_ms is None or at_ms <= self.end_ms
        )

    def _clock_fires_at(self, at_ms: int) -> bool:
        if self.is_rate:
            return self.start_ms is None or (at_ms - self.start_ms) % _period_ms(self.expression) == 0
        if self.is_once:
            return _once_ms(self.expression, self.time_zone) == at_ms
        return at_ms % MINUTE_MS == 0 and _cron_fires_at(self.expression, self.time_zone, at_ms)


def clock(time_zone: str, at_ms: int) -> datetime:
    """What a clock shows at a moment."""
    return datetime.fromtimestamp(at_ms / 1000, _zone(time_zone))


def _ms(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp() * 1000)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def _period_ms(expression: str) -> int:
    number, unit = expression.removeprefix("rate(").removesuffix(")").split()
    return int(number) * _UNITS_MS[unit.removesuffix("s")]


@lru_cache(10_000)
def _once_ms(expression: str, time_zone: str) -> int | None:
    """When the clock first shows the time of an ``at``; None if it never does."""
    shown = datetime.fromisoformat(expression.removeprefix("at(").removesuffix(")"))
    moment = shown.replace(tzinfo=_zone(time_zone)).astimezone(UTC)
    if moment.astimezone(_zone(time_zone)).replace(tzinfo=None) != shown:
        return None
    return int(moment.timestamp() * 1000)


@lru_cache(100_000)
def _cron_fires_at(expression: str, time_zone: str, at_ms: int) -> bool:
    """Whether the clock shows a time of a ``cron`` at a whole minute, and not for the second time."""
    shown = clock(time_zone, at_ms)
    fields = _fields_of(expression)
    if fields is None:
        raise UnknownExpression(expression)
    minutes, hours = fields
    return shown.second == 0 and shown.fold == 0 and shown.minute in minutes and shown.hour in hours


@cache
def _fields_of(expression: str) -> tuple[frozenset[int], frozenset[int]] | None:
    minutes, hours, *rest = expression.removeprefix("cron(").removesuffix(")").split()
    if rest != _EACH_DAY or "," in minutes + hours:
        return None
    return _values(minutes, 60), _values(hours, 24)


def _values(field: str, number: int) -> frozenset[int]:
    span, _, step = field.partition("/")
    low, _, high = ("0", "", str(number - 1)) if span == "*" else span.partition("-")
    last = int(high) if high else number - 1 if step else int(low)
    return frozenset(range(int(low), last + 1, int(step or 1)))
