"""What explains that an attempt timed out, or that its service was never notified of it.

A service that is silent explains it, if it had its time. So does an execution that took too long, or a
machine that died. That a service asked to be called later explains nothing: it is called again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jobmanager.executions.record import Execution, is_express
from tests.simulation.calls import CONFLICT, DELAYS, FAULTS, delay_ms
from tests.simulation.service import Call
from tests.simulation.step_functions import FAILED_INVOKES, STOPPED_BY_HAND

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

_ROUNDED_MS = 1000
"""The record counts deadlines in whole seconds."""
_MAY_WAIT_MS = 3000
"""A call that takes longer may leave no time in which the service can wait, or be notified."""
_MAX_WAITS = 5
_PATIENT_GRACE_MS = 50_000
"""A shorter grace may be over while a machine waits to try again, as terraform/variables.tf says."""
_TROUBLES = {*FAULTS, CONFLICT, *FAILED_INVOKES}
_STARTERS = ("reap_executions", "start_waiting_executions")
"""They start machines of any executions."""
_STARTERS_BY_HAND = ("rerun_execution", "start_execution")
"""They start machines of executions that somebody asked for. Their labels do not name the execution."""


def unexplained_ends(world: World, records: list[Json]) -> Iterator[str]:
    """Each attempt that ended as ``timeout``, or because it was not notified, did so for a reason."""
    for record in records:
        for end in _ends(world, record):
            if end.error == "Manager.NotNotified":
                is_explained = (
                    end.is_excused()
                    or end.is_too_slow_for_the_sweep()
                    or end.has_timed_out_in_step_functions()
                )
            elif end.status == "timeout":
                is_explained = end.is_over() or end.was_stopped() or end.was_silent()
            else:
                continue
            if not is_explained:
                yield f"{end} has ended as {end.status} {end.error}, and nothing explains it: {end.cause}"


def forgotten_calls(world: World, records: list[Json]) -> Iterator[str]:
    """An attempt whose service asked to be called later is called again, unless it ended for a reason."""
    for record in records:
        for end in _ends(world, record):
            is_lost = end.status == "timeout" or end.error in (
                "Manager.NotNotified",
                "NotificationUndelivered",
            )
            if is_lost and end.waits() and not end.is_delivered and not end.is_excused():
                yield f"{end} was to be called later, and has ended as {end.status} {end.error}: {end.cause}"


@dataclass(frozen=True)
class _End:
    """How an attempt ended, and what is known of it."""

    world: World
    record: Json
    number: int
    due_ms: int
    ended_ms: int
    status: str
    error: str
    cause: str

    def __str__(self) -> str:
        return f"attempt {self.number} of {self._name}"

    @property
    def is_delivered(self) -> bool:
        """Whether a notification of it came."""
        return self._attempt in self.world.service.deliveries

    def waits(self) -> bool:
        """Whether the last that its service said is that it wants to be called later, and that it can be."""
        calls = self._calls
        waits = [each for each in calls if each.waits_until_ms]
        if not waits or waits[-1] is not calls[-1] or len(waits) > _MAX_WAITS:
            return False
        beats = self.world.service.beats.get(self._attempt, [])
        if any(beat.is_accepted or beat.at_ms > waits[-1].waits_since_ms for beat in beats):
            return False  # it works after all: a gateway lost its answer to an earlier call
        return waits[-1].waits_since_ms - waits[-1].began_ms < _MAY_WAIT_MS

    def is_excused(self) -> bool:
        """Whether it had to end, or whatever runs it was stopped, died, or had a fault."""
        return self.is_over() or self.was_stopped() or self._had_trouble()

    def is_over(self) -> bool:
        """Whether its execution has lasted as long as it may."""
        longest_ms = int(self.record["max_duration_seconds"]) * 1000
        return self.ended_ms - int(self.record["started_at_ms"]) >= longest_ms - _ROUNDED_MS

    def was_stopped(self) -> bool:
        """Whether a person stopped its machine."""
        machines = self.world.machines.standard_of(self._name)
        return not self._is_express and any(each.error == STOPPED_BY_HAND for each in machines)

    def is_too_slow_for_the_sweep(self) -> bool:
        """Whether a sweep of little grace may have ended it while its machine waited to try again."""
        return self._is_express and self.world.grace_ms < _PATIENT_GRACE_MS and not self.waits()

    def has_timed_out_in_step_functions(self) -> bool:
        """Whether a task of it timed out: its service was silent, or its function slower than that."""
        timed_out_ms = self.world.machines.timeouts_ms(self._name)
        # The first task begins before the record does.
        since_ms = 0 if self.number == 1 else self.due_ms - _ROUNDED_MS
        return any(since_ms <= at_ms <= self.ended_ms for at_ms in timed_out_ms)

    def was_silent(self) -> bool:
        """Whether its service was notified, and silent for as long as it may be."""
        if self.has_timed_out_in_step_functions():
            return True
        if self.is_delivered and self.world.machines.runs_twice(self._name):
            return True  # any of its two calls may be the one that is not answered
        if not self.is_delivered:
            # Of a sync job, nobody knows whether its machine died before the call.
            return not self.record["async"] and (self._had_trouble() or self.is_too_slow_for_the_sweep())
        grace_ms = self.world.grace_ms if self._is_express and self.record["async"] else 0
        had_time = self.ended_ms >= self._deadline_ms() + grace_ms - _ROUNDED_MS
        return had_time and (not self.waits() or self._had_trouble())

    @property
    def _name(self) -> str:
        return str(self.record["execution_id"])

    @property
    def _attempt(self) -> tuple[str, int]:
        return self._name, self.number

    @property
    def _is_express(self) -> bool:
        return is_express(cast(Execution, self.record))

    @property
    def _calls(self) -> list[Call]:
        return self.world.service.calls.get(self._attempt, [])

    def _deadline_ms(self) -> int:
        """Until when its service may be silent, at least: since the last call, or since the last heartbeat.

        A heartbeat whose answer was lost may have been accepted, or not.
        """
        last = self._calls[-1]
        deadline_ms = last.began_ms + int(self.record["ttl_seconds"]) * 1000
        for beat in self.world.service.beats.get(self._attempt, []):
            if beat.at_ms > self.ended_ms:
                break
            is_after = beat.is_accepted and beat.at_ms > last.at_ms
            deadline_ms = beat.until_ms if is_after else min(deadline_ms, beat.until_ms)
        return deadline_ms

    def _had_trouble(self) -> bool:
        world = self.world
        if world.calls.outage or world.lambdas.timed_out or world.machines.delays(self._name):
            return True
        starters = _STARTERS + (_STARTERS_BY_HAND if "started_by" in self.record else ())
        return any(
            (what in _TROUBLES and (self._name in label or label.startswith(starters)))
            or (what in DELAYS and self._name in label and sum(delay_ms(what)) >= _MAY_WAIT_MS)
            for label, what in world.choices.deviations.items()
        )


def _ends(world: World, record: Json) -> Iterator[_End]:
    if (
        record["status"] == "skipped"
        or "finished_at_ms" not in record
        or "max_duration_seconds" not in record
    ):
        return
    due_ms = record["started_at_ms"]
    for number, entry in enumerate((*record.get("attempts", ()), record), 1):
        error = json.loads(entry.get("error", "null"))
        yield _End(
            world,
            record,
            number,
            due_ms,
            entry["finished_at_ms"],
            entry["status"],
            error if isinstance(error, str) else "",
            entry.get("cause", ""),
        )
        due_ms = entry.get("next_attempt_at", 0) * 1000
