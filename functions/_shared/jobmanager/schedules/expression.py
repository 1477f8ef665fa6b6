"""Validates schedule expressions and brings them into canonical form.

The syntax of ``rate`` and ``cron`` is that of EventBridge rules:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html
That page leaves some forms open. Accepted are ``FRIL``, ``FRI-MON`` and steps of days-of-week. Refused is
Quartz's ``L-3``: the page knows ``L`` only as the last day, and an expression that is previewed but cannot be
saved helps nobody.

``at(yyyy-mm-ddThh:mm:ss)``, once, is known to EventBridge Scheduler only. Its time is that of a clock in the
schedule's time zone, so it has no offset:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#one-time
"""

import re
from dataclasses import dataclass
from datetime import datetime

_RATE = re.compile(r"rate\(\s*(\S+)\s+(\S+)\s*\)", re.IGNORECASE)
_CRON = re.compile(r"cron\((.*)\)", re.IGNORECASE)
_AT = re.compile(r"at\((.*)\)", re.IGNORECASE)
_AT_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_WITH_OFFSET = re.compile(r".*T.*(Z|[+-][0-9:]+)")
_MAX_CHARACTERS = 256  # PutRule's limit for ScheduleExpression
_LONGER_UNITS = (("minute", 60, "hour"), ("hour", 24, "day"))
_UNITS = ("minute", "hour", "day")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST_YEAR, LAST_YEAR = 1970, 2199


class InvalidSchedule(ValueError):
    """EventBridge does not accept the expression; the message says what was expected."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = ""

    def canonical(self, text: str) -> str:
        parts = [self._canonical_part(part, text) for part in text.upper().split(",")]
        if len(parts) > 1 and self.special and any(re.search(r"[LW]$|^L|#", part) for part in parts):
            raise InvalidSchedule(
                f"{text!r} in {self.name}: expected L, W and # to stand alone, not in a list"
            )
        return ",".join(parts)

    def _canonical_part(self, part: str, text: str) -> str:
        if part == "*":
            return part
        if "L" in self.special and part == "L":
            return part
        if "L" in self.special and part.startswith("L-"):
            raise InvalidSchedule(
                f"{text!r} in {self.name}: expected L alone, because EventBridge does not count back from it"
            )
        if "W" in self.special and (nearest := re.fullmatch(r"(\d+)W", part)):
            return f"{self._value(nearest[1], text)}W"
        if "W" in self.special and part == "LW":
            return part
        if "#" in self.special and (nth := re.fullmatch(r"(\w+)#([1-5])", part)):
            return f"{self._value(nth[1], text)}#{nth[2]}"
        if "#" in self.special and (last := re.fullmatch(r"(\w+)L", part)):
            return f"{self._value(last[1], text)}L"
        span, slash, step = part.partition("/")
        start, dash, end = span.partition("-")
        result = start if start == "*" and not dash else self._value(start, text)
        if dash:
            result = f"{result}-{self._value(end, text)}"
            if self.name == "year" and int(end) < int(start):
                raise self._refusal(text)
        if slash:
            if not step.isdecimal() or not 1 <= int(step) <= self.high:
                raise self._refusal(text)
            result = f"{result}/{int(step)}"
        return result

    def _value(self, text: str, whole: str) -> str:
        if text in self.names:
            return text
        if text.isdecimal() and self.low <= int(text) <= self.high:
            return str(int(text))
        raise self._refusal(whole)

    def _refusal(self, text: str) -> InvalidSchedule:
        named = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        special = f", or {' '.join(self.special)}" if self.special else ""
        return InvalidSchedule(
            f"{text!r} is not a {self.name} field: expected {self.low}-{self.high}{named}, lists, ranges and "
            f"steps of them, or *{special}"
        )


_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day-of-month", 1, 31, special="?LW"),
    _Field("month", 1, 12, names=MONTHS),
    _Field("day-of-week", 1, 7, names=DAYS, special="?L#"),
    _Field("year", FIRST_YEAR, LAST_YEAR),
)


def canonical(expression: str, *, allows_at: bool = False) -> str:
    """Returns the canonical form of an expression; equivalent ones such as ``rate(60 minutes)`` share one.

    The canonical form has single spaces, names in capitals, no leading zeros, and the largest unit of a rate.
    ``allows_at``: whether ``at(2026-12-24T18:00:00)`` is accepted, too. Raises InvalidSchedule.
    """
    if len(expression) > _MAX_CHARACTERS or not expression.isascii():
        raise InvalidSchedule(f"expected at most {_MAX_CHARACTERS} ASCII characters, such as rate(5 minutes)")
    text = expression.strip()
    if rate := _RATE.fullmatch(text):
        return _canonical_rate(rate[1], rate[2].lower())
    if cron := _CRON.fullmatch(text):
        return _canonical_cron(cron[1].split())
    if allows_at and (at := _AT.fullmatch(text)):
        return _canonical_at(at[1].strip().upper())
    examples = "rate(5 minutes) or cron(0 2 * * ? *)"
    if allows_at:
        examples = "rate(5 minutes), cron(0 2 * * ? *) or at(2026-12-24T18:00:00)"
    raise InvalidSchedule(
        f"{expression!r} is not a schedule: expected an EventBridge expression, such as {examples}"
    )


def is_rate(schedule: str) -> bool:
    """Whether a schedule is a rate, which counts from when its trigger was put."""
    return schedule.startswith("rate(")


def is_at(schedule: str) -> bool:
    """Whether a schedule names one time, at which it fires once."""
    return schedule.startswith("at(")


def _canonical_rate(value: str, unit: str) -> str:
    singular = unit.removesuffix("s")
    if not (value.isascii() and value.isdecimal() and int(value) > 0) or singular not in _UNITS:
        raise InvalidSchedule(
            f"rate({value} {unit}): expected a whole number above 0 and minute(s), hour(s) or day(s)"
        )
    count = int(value)
    if (count == 1) != (unit == singular):
        expected = singular if count == 1 else f"{singular}s"
        raise InvalidSchedule(f"rate({value} {unit}): expected rate({count} {expected})")
    for shorter, factor, longer in _LONGER_UNITS:
        if singular == shorter and count % factor == 0:
            singular, count = longer, count // factor
    return f"rate({count} {singular}{'' if count == 1 else 's'})"


def _canonical_cron(parts: list[str]) -> str:
    whole = " ".join(parts)
    commas = sum(part.startswith(",") or part.endswith(",") for part in parts)
    is_of_commas = len(parts) == 1 and whole.count(",") == len(_FIELDS) - 1
    if is_of_commas or commas > 1 or (commas and len(parts) != len(_FIELDS)):
        raise InvalidSchedule(
            f"cron({whole}): expected spaces between the fields and no comma, as in cron(0 2 * * ? *)"
        )
    if len(parts) != len(_FIELDS):
        raise InvalidSchedule(
            f"cron({' '.join(parts)}): expected 6 fields (minutes hours day-of-month month day-of-week "
            f"year), not {len(parts)}"
        )
    if (parts[2] == "?") == (parts[4] == "?"):
        raise InvalidSchedule(
            f"cron({' '.join(parts)}): expected exactly one of day-of-month and day-of-week to be ?"
        )
    fields = [
        "?" if text == "?" and field.special else field.canonical(text)
        for field, text in zip(_FIELDS, parts, strict=True)
    ]
    return f"cron({' '.join(fields)})"


def _canonical_at(text: str) -> str:
    if not _AT_TIME.fullmatch(text):
        hint = " without an offset, because it is in the time zone" if _WITH_OFFSET.fullmatch(text) else ""
        raise InvalidSchedule(f"at({text}): expected a time such as at(2026-12-24T18:00:00){hint}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSchedule(f"at({text}): expected a day and a time that exist") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidSchedule(f"at({text}): expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    return f"at({text})"
