"""Reads the three kinds of schedule expressions.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.aws_behaviour.scheduler.cron import FIRST_YEAR, LAST_YEAR, Cron, InvalidField

_RATE = re.compile(r"rate\(([1-9][0-9]{0,7}) (minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((.*)\)")
_AT = re.compile(r"at\(([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\)")


class InvalidExpression(ValueError):
    """AWS does not accept the expression."""


@dataclass(frozen=True)
class At:
    """Once, at a local time without a zone."""

    local: datetime


@dataclass(frozen=True)
class Rate:
    """Again and again after the same time."""

    period: timedelta


def parse(expression: str) -> At | Rate | Cron:
    """Reads an expression. Raises InvalidExpression.

    AWS refuses spaces around an expression or within ``rate( 5 minutes )``, seconds with a fraction, and
    ``at`` with a zone. The User Guide calls the year optional, but the API's page requires six fields, so
    five are refused here.
    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
    """
    try:
        if rate := _RATE.fullmatch(expression):
            return Rate(timedelta(**{f"{rate[2]}s": int(rate[1])}))
        if at := _AT.fullmatch(expression):
            return At(_time(at[1]))
        if cron := _CRON.fullmatch(expression):
            return Cron.of(cron[1])
    except (ValueError, InvalidField) as error:
        raise InvalidExpression(str(error)) from None
    raise InvalidExpression(f"{expression!r} is neither at(…), rate(…) nor cron(…)")


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError(f"{text}: expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    return found
