"""Decides whether a cron schedule fires in a given minute, field by field, according to AWS's table.

It shares nothing with the code under test but the names of months and days.
"""

import calendar
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from jobmanager.schedules.expression import DAYS, MONTHS, canonical

MONTH_VALUES = {name: number for number, name in enumerate(MONTHS, 1)}
DAY_VALUES = {name: number for number, name in enumerate(DAYS, 1)}


def value_of(text: str) -> int:
    return int(MONTH_VALUES.get(text) or DAY_VALUES.get(text) or text)


def in_list(text: str, value: int, low: int, high: int) -> bool:
    return any(in_part(part, value, low, high) for part in text.split(","))


def in_part(part: str, value: int, low: int, high: int) -> bool:
    span, _, step = part.partition("/")
    if span == "*":
        first, last = low, high
    elif "-" in span:
        first, last = (value_of(end) for end in span.split("-"))
    else:
        first = value_of(span)
        last = high if step else first
    while True:
        if first == value:
            return True
        for _ in range(int(step or 1)):
            if first == last:
                return False
            first = low if first == high else first + 1


def is_weekday(moment: datetime) -> bool:
    return moment.weekday() < calendar.SATURDAY


def fits_day_of_month(text: str, moment: datetime) -> bool:
    length = calendar.monthrange(moment.year, moment.month)[1]
    if text == "L":
        return moment.day == length
    if text.endswith("W"):
        wanted = length if text == "LW" else int(text[:-1])
        weekdays = [day for day in range(1, length + 1) if is_weekday(moment.replace(day=day))]
        return wanted <= length and moment.day == min(weekdays, key=lambda day: abs(day - wanted))
    return in_list(text, moment.day, 1, 31)


def fits_day_of_week(text: str, moment: datetime) -> bool:
    weekday = moment.isoweekday() % 7 + 1
    if text == "L":
        return weekday == 7
    if text.endswith("L"):
        return weekday == value_of(text[:-1]) and (moment + timedelta(days=7)).month != moment.month
    if "#" in text:
        wanted, nth = text.split("#")
        return weekday == value_of(wanted) and (moment.day + 6) // 7 == int(nth)
    return in_list(text, weekday, 1, 7)


def fires_at(schedule: str, at_ms: int) -> bool:
    minutes, hours, day_of_month, months, day_of_week, years = schedule[5:-1].split()
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return (
        in_list(minutes, moment.minute, 0, 59)
        and in_list(hours, moment.hour, 0, 23)
        and (day_of_month == "?" or fits_day_of_month(day_of_month, moment))
        and in_list(months, moment.month, 1, 12)
        and (day_of_week == "?" or fits_day_of_week(day_of_week, moment))
        and in_list(years, moment.year, 1970, 2199)
    )


def fields(
    low: int, high: int, names: dict[str, int] | None = None, wraps: bool = True
) -> st.SearchStrategy[str]:
    """Texts of a field in all forms: lists, ranges and steps."""
    one = st.integers(low, high).map(str)
    if names:
        one |= st.sampled_from(sorted(names)).flatmap(lambda name: st.sampled_from([name, name.lower()]))
    span = (
        st.tuples(one, one)
        .filter(lambda ends: wraps or value_of(ends[0].upper()) <= value_of(ends[1].upper()))
        .map("-".join)
    )
    part = (
        st.just("*")
        | one
        | span
        | st.builds("{}/{}".format, st.just("*") | one | span, st.integers(1, min(high, 40)))
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


days_of_month = (fields(1, 31) | st.sampled_from(["L", "LW"]) | st.integers(1, 31).map("{}W".format)).map(
    lambda text: (text, "?")
)
a_day = st.integers(1, 7).map(str) | st.sampled_from(DAYS)
days_of_week = (
    fields(1, 7, DAY_VALUES)
    | st.just("L")
    | a_day.map("{}L".format)
    | st.builds("{}#{}".format, a_day, st.integers(1, 5))
).map(lambda text: ("?", text))
years = fields(1970, 2199, wraps=False) | st.just("*")


@st.composite
def schedules(draw: st.DrawFn) -> str:
    day_of_month, day_of_week = draw(days_of_month | days_of_week)
    minutes, hours, months = draw(fields(0, 59)), draw(fields(0, 23)), draw(fields(1, 12, MONTH_VALUES))
    return canonical(f"cron({minutes} {hours} {day_of_month} {months} {day_of_week} {draw(years)})")


moments = st.datetimes(datetime(1999, 1, 1), datetime(2199, 10, 1)).map(
    lambda moment: int(moment.replace(tzinfo=UTC).timestamp()) * 1000
)
