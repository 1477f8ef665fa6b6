"""Times, durations and schedules in words."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sjm.review.after import parents_in_words
from sjm.review.timing import timing_of_key

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_AT = re.compile(r"at\((\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::(?!00)\d{2})?)(?::00)?\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_NUMBERS = re.compile(r"\d+(,\d+)*")
_STEP = re.compile(r"(?:0|\*)/(\d+)")
_SPAN = re.compile(r"(\d+)-(\d+)")
_MAX_LISTED = 6


def plural(count: int, one: str, several: str | None = None) -> str:
    """A count with its noun, such as ``1 job`` or ``12,000 jobs``."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(parts: list[str]) -> str:
    """Several things, such as ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def first_of(parts: list[str], most: int = 5) -> str:
    """The first of several things, and that there are others."""
    return listed(parts[:most]) + (" and others" if len(parts) > most else "")


def sentence(text: str) -> str:
    """The text as a sentence. Its names stay as they are."""
    return f"{text[:1].upper()}{text[1:]}."


def counted(kinds: Mapping[str, int]) -> str:
    """Counts of executions and ticks by kind, such as ``3 succeeded, 1 failed, 2 due``."""
    named = {"success": "succeeded", "fail": "failed", "timeout": "timed out", "tick": "due"}
    return ", ".join(f"{count:,} {named.get(kind, kind)}" for kind, count in kinds.items())


def duration(ms: float) -> str:
    """A duration in at most two units, such as ``640 ms``, ``3.2 s``, ``4 min 5 s`` or ``2 d 3 h``."""
    ms = max(0, round(ms))
    if ms < _SECOND:
        return f"{ms} ms"
    if ms < 10 * _SECOND:
        return f"{ms / _SECOND:.1f} s"
    if ms < _MINUTE:
        return f"{ms // _SECOND} s"
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", _SECOND, "s"),
    ):
        if ms >= unit:
            rest = ms % unit // smaller
            return f"{ms // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{ms} ms"


def distance(ms: float) -> str:
    """How far away a time is, in one unit, such as ``in 5 min``, ``3 h ago`` or ``now``.

    ``ms`` is the time less the present.
    """
    size = abs(ms)
    if size < _SECOND:
        return "now"
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (_SECOND, "s")):
        if size >= unit:
            text = f"{int(size // unit)} {name}"
            return f"in {text}" if ms > 0 else f"{text} ago"
    return "now"


def ms_of(time: str | None) -> int | None:
    """Milliseconds since 1970 of a time of the API; None if it is none."""
    if not time:
        return None
    try:
        read = datetime.fromisoformat(time)
    except ValueError:
        return None
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    return round(read.timestamp() * 1000)


def iso(ms: float) -> str:
    """A time as the API takes it, in UTC."""
    return local(ms, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone of that IANA name; None for this machine's, also if the name is not known here."""
    if not name or len(name) > 64:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


@cache
def zone_names() -> list[str]:
    """The time zones that this machine knows, by their names."""
    return sorted(name for name in available_timezones() if name not in ("Factory", "localtime"))


def local(ms: float, zone: tzinfo | None) -> datetime:
    """A time in a zone; None is this machine's. Times that cannot be are the nearest that can."""
    bounded = min(max(ms, 0), 7_258_118_400_000)  # 2200-01-01
    return datetime.fromtimestamp(bounded / 1000, UTC).astimezone(zone)


def clock(ms: float, zone: tzinfo | None, now_ms: float, *, seconds: bool = False) -> str:
    """A time as people say it: ``14:05``, ``yesterday 02:00``, ``Mon 7 Dec 02:00``, ``7 Dec 2025 02:00``.

    With ``seconds``: ``14:05:09`` and so on.
    """
    at, now = local(ms, zone), local(now_ms, zone)
    time = f"{at:%H:%M:%S}" if seconds else f"{at:%H:%M}"
    days = (at.date() - now.date()).days
    if days == 0:
        return time
    if days in (-1, 1):
        return f"{'tomorrow' if days == 1 else 'yesterday'} {time}"
    if abs(at - now) < timedelta(days=180):
        return f"{at:%a} {at.day} {at:%b} {time}"
    return f"{at.day} {at:%b %Y} {time}"


def exact(ms: float, zone: tzinfo | None) -> str:
    """A time to the second, with its zone: ``2026-11-23 03:00:00 CET``."""
    at = local(ms, zone)
    name = at.tzname() or ""
    offset = at.strftime("%z")
    named = name if name and not name.startswith(("+", "-")) else f"UTC{offset[:3]}:{offset[3:]}"
    return f"{at:%Y-%m-%d %H:%M:%S} {named}"


def zone_name(zone: tzinfo | None, now_ms: float) -> str:
    """A zone's name for people, such as ``Europe/Berlin`` or ``UTC+01:00``."""
    if isinstance(zone, ZoneInfo):
        return str(zone)
    return exact(now_ms, zone).split(" ", 2)[2]


def schedule(expression: str, time_zone: str = "UTC") -> str:
    """A schedule in words, such as ``every 5 minutes`` or ``at 02:00 UTC on Monday``.

    For an expression that has no short words, this is the expression itself.
    """
    if once := _AT.fullmatch(expression):
        return f"once, on {once[1]} at {once[2]} {time_zone}"
    found = _in_utc(expression)
    if time_zone == "UTC" or expression.startswith("rate("):
        return found
    return found.replace(" UTC", f" {time_zone}") if " UTC" in found else f"{found} {time_zone}"


def schedule_of(timed: Mapping[str, Any]) -> str:
    """When a job, or a schedule in use, fires: its schedule in its time zone, and its bounds.

    Of a job without a schedule, the jobs after which it runs.
    """
    if "after" in timed:
        return "after " + " and ".join(parents_in_words(timed["after"]))
    text = schedule(str(timed["schedule"]), str(timed.get("time_zone", "UTC")))
    bounds = (("from", timed.get("start_at")), ("until", timed.get("end_at")))
    return ", ".join([text, *(f"{word} {at}" for word, at in bounds if at)])


def schedule_of_key(key: str) -> str:
    """The schedule that a ``schedule_key`` names, in words."""
    return schedule_of(vars(timing_of_key(key)))


def _in_utc(expression: str) -> str:
    if rate := _RATE.fullmatch(expression):
        count, unit = int(rate[1]), rate[2]
        return f"every {unit}" if count == 1 else f"every {count:,} {unit}s"
    if cron := _CRON.fullmatch(expression):
        return _cron(*cron.groups()) or expression
    return expression


def period_ms(expression: str) -> int | None:
    """The period of a rate; None for another schedule."""
    rate = _RATE.fullmatch(expression)
    return None if rate is None else int(rate[1]) * {"minute": _MINUTE, "hour": _HOUR, "day": _DAY}[rate[2]]


def _cron(minutes: str, hours: str, days: str, months: str, weekdays: str, years: str) -> str | None:
    when, on, during = _time_of_day(minutes, hours), _days(days, weekdays), _months(months)
    if when is None or on is None or during is None:
        return None
    of_years = "" if years in ("*", "?") else f" in {years}"
    return f"{when}{on}{during}{of_years}"


def _time_of_day(minutes: str, hours: str) -> str | None:
    if not _NUMBERS.fullmatch(minutes):
        every = _every_minutes(minutes)
        during = _during(hours)
        return None if every is None or during is None else f"{every}{during}"
    if _NUMBERS.fullmatch(hours):
        times = [
            f"{int(hour):02}:{int(minute):02}" for hour in hours.split(",") for minute in minutes.split(",")
        ]
        return f"at {listed(times)} UTC" if len(times) <= _MAX_LISTED else None
    past = listed([f":{int(minute):02}" for minute in minutes.split(",")])
    if hours == "*":
        return (
            "every hour"
            if int(minutes.partition(",")[0]) == 0 and "," not in minutes
            else f"hourly at {past}"
        )
    if step := _STEP.fullmatch(hours):
        return f"every {step[1]} hours at {past} UTC"
    if span := _SPAN.fullmatch(hours):
        return f"hourly at {past} from {int(span[1]):02} to {int(span[2]):02} UTC"
    return None


def _every_minutes(minutes: str) -> str | None:
    if minutes in ("*", "*/1", "0/1"):
        return "every minute"
    step = _STEP.fullmatch(minutes)
    return f"every {step[1]} minutes" if step else None


def _during(hours: str) -> str | None:
    if hours == "*":
        return ""
    span = _SPAN.fullmatch(hours if "-" in hours else f"{hours}-{hours}")
    return f" from {int(span[1]):02}:00 to {int(span[2]):02}:59 UTC" if span else None


def _days(days: str, weekdays: str) -> str | None:
    if days in ("*", "?") and weekdays in ("*", "?"):
        return ""
    if days in ("*", "?"):
        return _weekdays(weekdays)
    if weekdays not in ("*", "?"):
        return None
    if _NUMBERS.fullmatch(days) and len(days.split(",")) <= _MAX_LISTED:
        return f" on day {listed([str(int(day)) for day in days.split(',')])} of the month"
    if days == "L":
        return " on the last day of the month"
    return " on the last weekday of the month" if days == "LW" else None


def _weekdays(weekdays: str) -> str | None:
    if span := re.fullmatch(r"(\w+)-(\w+)", weekdays):
        first, last = _weekday(span[1]), _weekday(span[2])
        return None if first is None or last is None else f" from {first} to {last}"
    if nth := re.fullmatch(r"(\w+)#([1-5])", weekdays):
        day, order = _weekday(nth[1]), ("first", "second", "third", "fourth", "fifth")[int(nth[2]) - 1]
        return None if day is None else f" on the {order} {day} of the month"
    if last_one := re.fullmatch(r"(\w+)L", weekdays):
        day = _weekday(last_one[1])
        return None if day is None else f" on the last {day} of the month"
    named = [_weekday(each) for each in weekdays.split(",")]
    known = [each for each in named if each is not None]
    return f" on {listed(known)}" if len(known) == len(named) else None


def _weekday(text: str) -> str | None:
    if text.upper() in _DAY_NAMES:
        return _DAYS[_DAY_NAMES.index(text.upper())]
    return _DAYS[int(text) - 1] if re.fullmatch(r"[1-7]", text) else None


def _months(months: str) -> str | None:
    if months in ("*", "?"):
        return ""
    names = {name[:3].upper(): name for name in _MONTHS}
    named = []
    for each in months.split(","):
        if each.upper() in names:
            named.append(names[each.upper()])
        elif re.fullmatch(r"0?[1-9]|1[0-2]", each):
            named.append(_MONTHS[int(each) - 1])
        else:
            return None
    return f" in {listed(named)}"
