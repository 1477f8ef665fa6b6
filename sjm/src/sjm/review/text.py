"""Reviews as lines for a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sjm.review.cost import Cost, in_dollars
from sjm.review.fire_times import FireTime, FireTimes, in_words
from sjm.review.neighbours import Neighbours
from sjm.review.review import Action, Review
from sjm.review.shown import printable

Kind = Literal["create", "change", "delete", "detail", "warning", "summary"]
_MARKS: dict[str, str] = {"create": "+", "change": "~", "delete": "-"}
_COUNTED: dict[Action, str] = {
    "create": "to create",
    "change": "to change",
    "delete": "to delete",
    "none": "as wanted",
}
_WORDS = {"create": "is new", "change": "changes", "delete": "is deleted"}


@dataclass(frozen=True)
class Line:
    """One line, and what it is, for colours."""

    kind: Kind
    text: str


def lines_of(review: Review) -> Iterator[Line]:
    """The review of one job that changes."""
    if review.action == "none":
        return
    yield Line(review.action, f"{_MARKS[review.action]} {printable(review.key)} {_WORDS[review.action]}")
    for change in review.changes:
        for line in change.lines():
            yield Line("detail", f"    {line}")
    if review.fires is not None:
        yield from _fire_lines(review.fires)
    if review.neighbours is not None:
        yield Line("detail", f"    beside: {_neighbours(review.neighbours)}")
    cost = _cost(review.before, review.after)
    if cost:
        yield Line("detail", f"    costs: {cost}")
    for note in review.notes:
        yield Line("warning", f"    note: {printable(note)}")


def summary(reviews: Sequence[Review]) -> Line:
    """How many jobs change, and what that costs."""
    counts = Counter(review.action for review in reviews)
    parts = [f"{counts[action]} {words}" for action, words in _COUNTED.items() if counts[action]]
    known = [(review.before, review.after) for review in reviews if review.action != "none"]
    total = sum(
        (after.dollars or 0) - (before.dollars or 0)
        for before, after in known
        if before is not None and after is not None
    )
    jobs = f"Jobs: {', '.join(parts) or 'none'}."
    if not known:
        return Line("summary", jobs)
    sign = "-" if total < 0 else "+"
    return Line("summary", f"{jobs} In all about {sign}{in_dollars(abs(total))} a month.")


def _fire_lines(fires: FireTimes) -> Iterator[Line]:
    if fires.never_fires:
        yield Line("warning", f"    fires: never again, by {printable(fires.schedule)}")
        return
    if not fires.times:
        return
    counted = ", if its trigger were made now" if fires.is_counted_from_now else ""
    end = "; then never again" if fires.is_complete else ""
    is_odd = any(each.gap for each in fires.times) or fires.is_complete or fires.skipped
    kind: Kind = "warning" if is_odd else "detail"
    yield Line(kind, f"    fires ({printable(fires.time_zone)}{counted}): {_times(fires.times)}{end}")
    if fires.skipped:
        skipped = ", ".join(f"{each:%a} {each:%Y-%m-%d %H:%M}" for each in fires.skipped)
        yield Line(kind, f"    skips {skipped}: the clocks go forward over it")


def _times(times: Sequence[FireTime]) -> str:
    texts = []
    before: datetime | None = None
    for each in times:
        at = each.at
        is_same_day = before is not None and before.date() == at.date()
        text = f"{at:%H:%M}" if is_same_day else f"{at:%a} {at:%Y-%m-%d %H:%M}"
        if each.gap is not None:
            days = each.days_without()
            text = f"[{'none on ' + ', '.join(days) if days else in_words(each.gap) + ' later'}] {text}"
        texts.append(text)
        before = at
    return ", ".join(texts)


def _neighbours(found: Neighbours) -> str:
    at_least = "at least " if found.is_at_least else ""
    jobs = f"{found.jobs:,} other job{'' if found.jobs == 1 else 's'}"
    maybe = f", and perhaps {found.maybe:,} more" if found.maybe else ""
    return f"{at_least}{jobs} in the minute of {found.minute.astimezone(UTC):%Y-%m-%d %H:%M} UTC{maybe}"


def _cost(before: Cost | None, after: Cost | None) -> str:
    if before is None or after is None:
        return ""
    if after.dollars is None or after.executions is None:
        return "not known for this schedule"
    executions = f"about {after.executions:,.1f}".removesuffix(".0")
    now = f"about {in_dollars(after.dollars)} a month, {executions} executions"
    if not before.dollars or before == after:
        return now
    return (
        f"about {in_dollars(before.dollars)} → {in_dollars(after.dollars)} a month, {executions} executions"
    )
