"""Everything that is known of a life, and what several checks ask of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.integration.turn_invariants import decided_ms
from tests.life.conduct import LOST
from tests.life.journal import NO_ANSWER, Asked, CalledBack, Delivered, Json
from tests.life.living import Job, Life
from tests.life.model import State

type Faults = Iterator[tuple[str, str | None]]

CLOCK_MS = 1500
"""How far apart the notes of one event may be, because a function notes the time at which it began.

On a slow machine they may be further apart: see ``Known.apart_ms``.
"""

READ_MS = 500
"""How long after its start run_execution may read the job."""

INDEX_MS = 1000
"""How old the content of the index may be that a tick reads. It is eventually consistent."""

SWEEP_MS = 75_000
"""How late the sweep may be: it comes each minute, waits for a grace of 5 s, and takes a while."""

PACED_MS = 20_000
"""How long a notification at most waits for its time under a limit."""

_ANSWER_WITHIN_MS = 9000
"""The manager waits 10 s for the answer to a webhook, and starts to wait before the webhook arrives."""


@dataclass
class Known:
    """Everything that is known of a life, by execution; ``limits`` and ``queued`` are what is left of it."""

    life: Life
    records: dict[str, Json]
    items: dict[str, Json]
    machines: dict[str, str]
    deliveries: dict[str, list[Delivered]]
    callbacks: dict[str, list[CalledBack]]
    asked: dict[str, list[Asked]]
    limits: dict[str, Json]
    queued: list[str]

    @classmethod
    def of(cls, life: Life) -> Known:
        """Reads the stage."""
        known = cls(
            life=life,
            records=life.records(),
            items=life.job_items(),
            machines=life.machines(),
            deliveries={},
            callbacks={},
            asked={},
            limits=life.limit_items(),
            queued=life.queued(),
        )
        for kind, into in ((Delivered, "deliveries"), (CalledBack, "callbacks"), (Asked, "asked")):
            sorted_: defaultdict[str, list[Any]] = defaultdict(list)
            for fact in life.journal.all(kind):
                if fact.execution_id:
                    sorted_[fact.execution_id].append(fact)
            setattr(known, into, sorted_)
        return known

    def late_ms(self, from_ms: int, until_ms: int | None = None) -> int:
        """The most by which a fact of that time may be noted late; 0 if the machine kept up."""
        return self.life.stalls.lateness_ms(from_ms, from_ms if until_ms is None else until_ms)

    def apart_ms(self, from_ms: int, until_ms: int | None = None) -> int:
        """How far apart the notes of one event of that time may be."""
        return CLOCK_MS + self.late_ms(from_ms, until_ms)

    def of_job(self, job: Job) -> list[Json]:
        """The records of a job, in the order in which it was decided about them."""
        return sorted((self.records[name] for name in self._by_guid[job.guid]), key=decided_ms)

    @cached_property
    def _by_guid(self) -> dict[str, list[str]]:
        names: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.records:
            names[name[:36]].append(name)
        return names

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.guid: job for job in self.life.all_jobs}

    def states(self, record: Json, from_ms: int, until_ms: int | None = None) -> set[State]:
        """All states in which the job of an execution may have been as a function read it in that time."""
        last_ms = from_ms if until_ms is None else until_ms
        timeline = self._jobs[record["job_guid"]].timeline
        return timeline.possible(from_ms, last_ms + READ_MS + self.late_ms(from_ms, last_ms))


def has_waited(record: Json) -> bool:
    """Whether an execution could not run at once."""
    return "waiting_since_ms" in record


def has_begun(record: Json) -> bool:
    """Whether an execution ran, perhaps after it had waited."""
    return "lock_expires_at" in record


def attempt_of(record: Json, attempt: int) -> Json:
    earlier = record.get("attempts", [])
    found: Json = earlier[attempt - 1] if attempt <= len(earlier) else record
    return found


def deletes_of(known: Known, record: Json) -> list[Asked]:
    """The requests that deleted the job of an execution, or may have, after it began."""
    return [
        asked
        for asked in known.life.journal.all(Asked)
        if asked.what == "delete"
        and asked.job == record["job_name"]
        and asked.status in (204, 503, NO_ANSWER)
        and asked.ended() >= record["started_at_ms"]
    ]


def is_lost(known: Known, delivered: Delivered) -> bool:
    """Whether the manager may not have received the answer that accepted the notification."""
    took_ms = delivered.ended() - delivered.sent_ms
    late_ms = known.late_ms(delivered.sent_ms, delivered.sent_ms + min(took_ms, _ANSWER_WITHIN_MS))
    if delivered.answer.endswith("then reset") and late_ms > READ_MS:
        return True  # a reset discards what the manager has not read yet
    return delivered.answer in LOST or took_ms + late_ms > _ANSWER_WITHIN_MS


def is_express(record: Json) -> bool:
    """Whether an Express machine ran it."""
    return record.get("workflow_type") == "express"


def was_stopped(known: Known, record: Json) -> bool:
    """Whether its state machine was stopped by hand. Nobody can stop an Express one."""
    return not is_express(record) and any(
        each.what == "stop the machine" for each in known.asked.get(record["execution_id"], [])
    )
