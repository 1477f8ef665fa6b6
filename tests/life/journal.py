"""Everything that is known of a life from outside: requests, ticks, notifications and callbacks.

Times are in ms since 1970. A fact takes effect at some time between its beginning and its end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jobmanager.core.clock import iso, stamp

type Json = dict[str, Any]

NO_ANSWER = 0


def now_ms() -> int:
    """The clock that the stage has too."""
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class Fact:
    """Something that happened, to a job if it names one."""

    job: str | None = None
    execution_id: str | None = None
    sent_ms: int = field(default_factory=now_ms)
    answered_ms: int | None = None

    def described(self) -> str:
        """Describes it in one line, without its time."""
        raise NotImplementedError

    def ended(self) -> int:
        """When it ended; in the far future if it has not ended."""
        return self.answered_ms if self.answered_ms is not None else 2**62


@dataclass(kw_only=True)
class Asked(Fact):
    """A request to the API, or to AWS directly, and its answer."""

    what: str
    asked: Any = None
    status: int = NO_ANSWER
    answer: Any = None

    def described(self) -> str:
        answer = self.answer if self.status not in (200, 201) or self.what in ("run", "rerun") else ""
        return f"{self.what} {_short(self.asked)} -> {self.status} {_short(answer)}"


@dataclass(kw_only=True)
class Ticked(Fact):
    """A tick that was delivered; ``error`` if the function failed."""

    schedule: str
    scheduled_ms: int
    is_missed: bool = False
    error: str = ""

    def described(self) -> str:
        missed = " (missed, to be caught up)" if self.is_missed else ""
        return f"tick of {iso(self.scheduled_ms)} {self.schedule}{missed} {self.error}"


@dataclass(kw_only=True)
class Delivered(Fact):
    """A notification, how it was answered, and the ``result`` of a sync job that can be read."""

    attempt: int
    channel: str
    notification: Json
    answer: str
    result: Json | None = None

    def described(self) -> str:
        token = self.notification.get("fencing_token", "-")
        return f"notified by {self.channel}, attempt {self.attempt}, token {token}: {self.answer}"


@dataclass(kw_only=True)
class CalledBack(Fact):
    """A callback, and its answer. It is not genuine if its token or its body is wrong."""

    attempt: int
    body: Any
    is_genuine: bool = True
    status: int = NO_ANSWER
    answer: Any = None

    @property
    def is_final(self) -> bool:
        """Whether it reports a result."""
        return self.is_genuine and self.body["status"] in ("success", "fail")

    def described(self) -> str:
        wrong = "" if self.is_genuine else "not genuine: "
        answer = _short(self.answer, 160)
        return f"called back, attempt {self.attempt}: {wrong}{_short(self.body)} -> {self.status} {answer}"


class Journal:
    """All facts, in the order in which they began."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._lock = threading.Lock()

    def begin[Known: Fact](self, fact: Known) -> Known:
        """Adds a fact that has not ended yet."""
        with self._lock:
            self._facts.append(fact)
        return fact

    def all[Known: Fact](self, kind: type[Known]) -> Iterator[Known]:
        """The facts of a kind."""
        with self._lock:
            facts = list(self._facts)
        return (fact for fact in facts if isinstance(fact, kind))

    def lines(self) -> list[str]:
        """All facts in order, one a line."""
        return _lines(self.all(Fact))

    def lines_about(self, job: str, execution_ids: Collection[str]) -> list[str]:
        """The requests about a job, and every fact and tick of these executions of it."""
        return _lines(
            fact
            for fact in self.all(Fact)
            if (fact.job == job and (fact.execution_id in execution_ids or not fact.execution_id))
            or (isinstance(fact, Ticked) and _is_of(fact, execution_ids))
        )


def _is_of(tick: Ticked, execution_ids: Collection[str]) -> bool:
    return any(stamp(tick.scheduled_ms) == execution_id[37:53] for execution_id in execution_ids)


def _lines(facts: Iterable[Fact]) -> list[str]:
    return [_line(fact) for fact in sorted(facts, key=lambda fact: fact.sent_ms)]


def _line(fact: Fact) -> str:
    began = f"{iso(fact.sent_ms)[11:19]}.{fact.sent_ms % 1000:03}"
    took = f"+{fact.answered_ms - fact.sent_ms:<6}" if fact.answered_ms is not None else "no end "
    about = f"{fact.job or '-'} {(fact.execution_id or '')[37:]}"
    return f"{began} {took} {about}: {fact.described()}"


def _short(value: Any, most: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if isinstance(value, dict) and len(str(value.get("payload", ""))) > 40:
        text = json.dumps({**value, "payload": "…"}, default=str)
    return "" if value in (None, "", {}) else text[:most]
