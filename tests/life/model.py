"""The states in which a job may be at a time, derived from the requests to the API and their answers.

Between a request and its answer, a job has its old state or the requested one. Requests that change one job
are sent one after the other. If two are sent at once, either may win, until the job is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.life.journal import Json

_FAR = 2**62


@dataclass(frozen=True)
class State:
    """A state of a job. ``definition``: the last PUT as (name, value) pairs, or None if there is no job."""

    definition: tuple[tuple[str, Any], ...] | None
    paused_until_ms: int | None = None
    """None if the job is not paused; far in the future if it is paused without end."""

    @property
    def fields(self) -> Json:
        """The definition, by field."""
        return dict(self.definition or ())

    @property
    def overlap(self) -> str:
        """What happens if the job is due while it runs."""
        return self.fields.get("overlap") or ("skip" if self.fields.get("exclusive") else "allow")

    def is_due_on(self, schedule: str) -> bool:
        """Whether a tick of the schedule starts an execution, even if that is skipped then."""
        return self._is_on(schedule) and self.paused_until_ms != _FAR

    def runs_on(self, schedule: str, at_ms: int) -> bool:
        """Whether the job's state is no reason to skip such an execution."""
        return self._is_on(schedule) and (self.paused_until_ms or 0) <= at_ms

    def _is_on(self, schedule: str) -> bool:
        is_enabled = self.definition is not None and self.fields["enabled"]
        return is_enabled and self.fields.get("schedule") == schedule

    def is_stopped_at(self, at_ms: int) -> bool:
        """Whether an execution of the job that begins then is skipped, whatever started it but a caller."""
        return self.definition is None or not self.fields["enabled"] or (self.paused_until_ms or 0) > at_ms

    def paused(self, until_ms: int | None) -> State:
        """The same job, paused; without end if ``until_ms`` is None."""
        return State(self.definition, _FAR if until_ms is None else until_ms)


NO_JOB = State(None)


def put(body: Json) -> Callable[[State], State]:
    """A PUT replaces the definition. A paused job stays paused."""
    kept = tuple(sorted((name, _frozen(value)) for name, value in body.items() if name != "test_invocation"))

    def change(before: State) -> State:
        return State(kept, None if before.definition is None else before.paused_until_ms)

    return change


class Timeline:
    """The states in which one job may have been, over time."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, frozenset[State]]] = [(0, frozenset({NO_JOB}))]

    @property
    def now(self) -> frozenset[State]:
        """The states in which it may be now."""
        return self._spans[-1][1]

    def changes(self, sent_ms: int, *possible: Callable[[State], State]) -> None:
        """Notes a request that leads to one of the ``possible`` changes, or to none."""
        before = self.now
        self._spans.append((sent_ms, before | _made_of(before, possible)))
        self._asked = _made_of(before, possible)
        self._before = before

    def answered(self, answered_ms: int, is_done: bool | None) -> None:
        """Notes whether the request was carried out; None if the answer leaves that open."""
        after = {True: self._asked, False: self._before, None: self._asked | self._before}[is_done]
        self._spans.append((answered_ms, frozenset(after)))

    def seen(self, sent_ms: int, is_so: Callable[[State], bool]) -> bool:
        """Keeps only the states that agree with a read of the job; returns False if none does."""
        left = frozenset(filter(is_so, self.now))
        if left:
            self._spans.append((max(sent_ms, self._spans[-1][0]), left))
        return bool(left)

    def possible(self, from_ms: int, until_ms: int) -> set[State]:
        """All states in which it may have been within that time."""
        spans = list(self._spans)  # other threads read it while its lane adds to it
        ends = [begins for begins, _ in spans[1:]] + [_FAR]
        found: set[State] = set()
        for (begins, states), ends_ms in zip(spans, ends, strict=True):
            if begins <= until_ms and ends_ms >= from_ms:
                found |= states
        return found


class LimitTimeline:
    """The definitions that one limit may have had, over time. Its changes are requested one by one."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, tuple[Json, ...]]] = []

    def changes(self, sent_ms: int, body: Json) -> None:
        """Notes a request for another definition."""
        before = self._spans[-1][1] if self._spans else ()
        self._spans.append((sent_ms, (*before, body)))

    def answered(self, answered_ms: int, is_done: bool | None) -> None:
        """Notes whether the limit has that definition now; None if the answer leaves that open."""
        *before, body = self._spans[-1][1]
        after = {True: (body,), False: tuple(before), None: (*before, body)}[is_done]
        self._spans.append((answered_ms, after))

    def possible(self, from_ms: int, until_ms: int) -> list[Json]:
        """All definitions that it may have had within that time."""
        ends = [begins for begins, _ in self._spans[1:]] + [_FAR]
        return [
            body
            for (begins, bodies), ends_ms in zip(self._spans, ends, strict=True)
            if begins <= until_ms and ends_ms >= from_ms
            for body in bodies
        ]


def _made_of(before: Iterable[State], possible: Iterable[Callable[[State], State]]) -> frozenset[State]:
    return frozenset(change(state) for change in possible for state in before)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(each)) for name, each in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def is_shown_as(state: State, status: int, body: Any, sent_ms: int, answered_ms: int) -> bool:
    """Whether a GET of the job in that state, made within that time, answers so."""
    if state.definition is None:
        return status == 404
    if status != 200:
        return False
    same = all(_frozen(body.get(name)) == value for name, value in state.definition)
    until_ms = state.paused_until_ms or 0
    is_paused = {until_ms > sent_ms, until_ms > answered_ms}
    return same and ("paused" in body) in is_paused
