"""Times by the clock of a time zone, and the moments that they are.

Where the clocks go forward, they skip the times of a gap: no moment has them. Where they go back, they show
the times of an overlap twice. Such a time is here the first of its two moments.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import NamedTuple

from jobmanager.core.clock import iso

_DAY_MS = 86_400_000
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalTime(NamedTuple):
    """A time by a clock: its moment in ms since 1970, and the clock's offset from UTC in ms.

    ``is_skipped``: it falls in a gap, so no moment has it. Its offset is then the one before the gap, and its
    moment is as if the clocks had not gone forward.
    """

    utc_ms: int
    offset_ms: int
    is_skipped: bool = False

    def iso(self) -> str:
        """Formats it as ``2026-11-23T03:00:00+01:00``.

        An offset has seconds only where the clock had: in Africa/Monrovia, until January 1972.
        """
        minutes, seconds = divmod(abs(self.offset_ms) // 1000, 60)
        offset = f"{'-' if self.offset_ms < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
        offset += f":{seconds:02}" if seconds else ""
        return f"{iso(self.utc_ms + self.offset_ms).removesuffix('Z')}{offset}"


def local_time_at(utc_ms: int, zone: tzinfo) -> LocalTime:
    """Returns what the clock shows at a moment."""
    offset = (_EPOCH + utc_ms * _MS).astimezone(zone).utcoffset()
    return LocalTime(utc_ms, _in_ms(offset))


def local_times_of(
    day: date, times_of_day: Sequence[int], zone: tzinfo, after_ms: int | None = None
) -> Iterator[LocalTime]:
    """Yields the times of a day by the clock, each in ms since midnight by the clock, in this order.

    ``times_of_day`` is sorted. With ``after_ms``, only what comes after that moment; it is found at once
    unless the clock changes on that day.
    """
    midnight_ms = _midnight_ms(day)
    offset_ms = offset_of_whole_day(day, zone)
    if offset_ms is None:
        for ms in times_of_day:
            found = _local_time(midnight_ms, day, ms, zone)
            if after_ms is None or found.utc_ms > after_ms:
                yield found
        return
    begin_ms = first_moment_ms(day, offset_ms)
    first = 0 if after_ms is None else bisect_right(times_of_day, after_ms - begin_ms)
    for ms in islice(times_of_day, first, None):
        yield LocalTime(begin_ms + ms, offset_ms)


def offset_of_whole_day(day: date, zone: tzinfo) -> int | None:
    """Returns the clock's offset from UTC in ms on a day; None if it changes on that day.

    The offset at the end is the one after a change at or around midnight. A zone whose clock changed twice on
    one day, forth and back, would go unseen. There is none since 1970, which a test finds in tzdata.
    """
    start = datetime.combine(day, time(), zone).utcoffset()
    end = datetime.combine(day + _DAY, time(fold=1), zone).utcoffset()
    return _in_ms(start) if start == end else None


def first_moment_ms(day: date, offset_ms: int) -> int:
    """Returns the moment of a day's midnight by a clock with this offset."""
    return _midnight_ms(day) - offset_ms


def _local_time(midnight_ms: int, day: date, ms: int, zone: tzinfo) -> LocalTime:
    local = datetime.combine(day, time(), zone) + ms * _MS
    first, second = _in_ms(local.utcoffset()), _in_ms(local.replace(fold=1).utcoffset())
    # In a gap, fold=0 has the offset before it, which is smaller. In an overlap, it has the larger one.
    return LocalTime(midnight_ms + ms - first, first, is_skipped=first < second)


def _midnight_ms(day: date) -> int:
    return (day.toordinal() - _EPOCH.toordinal()) * _DAY_MS


def _in_ms(offset: timedelta | None) -> int:
    assert offset is not None, "a time zone tells its offset"
    return offset // _MS
