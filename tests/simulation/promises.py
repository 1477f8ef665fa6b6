"""What is promised of Express executions, beside the invariants of any stage: how often, and how soon.

How soon is looked at in runs without faults, where only delays and deaths of machines go wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, cast

from jobmanager.executions.record import RUNNING, WAITING, Execution, is_express
from tests.simulation.calls import DELAYS, Ended, Invocation, delay_ms

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

_SWEEP_MS = 60_000
_FOUND_MS = 60_000
"""From the begin of a machine that dies to its ``sweep_at``."""
_SLACK_MS = 45_000
"""What delayed calls may add, unless more delays were drawn."""
_UNDELAYED_MS = 5000
"""What the same calls take without delays."""
_MORE_THAN_ASKED = 1.1
"""How much longer than the service asked a wait may take."""
_INDEX_LATE_MS = 3000
_ROUNDED_MS = 1000
"""The record counts deadlines in whole seconds."""


def needless_notifications(world: World) -> Iterator[str]:
    """A service is notified again of an attempt only if the sender could not know that it was notified."""
    for (name, attempt), came in world.service.deliveries.items():
        again = pairwise(came)
        if needless := [one for one, other in again if not one.is_excused and not other.is_blind]:
            yield f"attempt {attempt} of {name} was notified again, {len(needless)} times needlessly"


def wrongly_blamed(world: World, records: list[Json]) -> Iterator[str]:
    """An attempt whose notification came, and is known to have come, does not fail for want of one.

    Nor because of a machine that does not run it.
    """
    for record in records:
        for number, entry in enumerate((*record.get("attempts", []), record), 1):
            came = world.service.deliveries.get((record["execution_id"], number), [])
            is_known = any(not each.is_excused for each in came)
            error = entry.get("error", "")
            is_blamed = "fault" in entry and "Manager.LockLost" not in error
            if _is_express(record) and is_known and (is_blamed or "NotificationUndelivered" in error):
                yield f"attempt {number} of {record['execution_id']} was notified, and failed with {error}"


def lost_locks(world: World, records: list[Json]) -> Iterator[str]:
    """An execution keeps its lock until the sweep has begun its next attempt, or notified its service again.

    Once the service was called, and did not ask for that, the lock lasts for ``ttl_seconds``. If there is no
    time left to wait, the manager tries again at once, and the lock is not extended first. It does not last
    until a second sweep, if the first one failed.
    """
    if world.lambdas.failed["reap_executions"]:
        return
    for record in records:
        name, number = record["execution_id"], 1 + len(record.get("attempts", ()))
        is_lost = "Manager.LockLost" in record.get("error", "")
        calls = world.service.calls.get((name, number), [])
        asked = sum(bool(call.waits_until_ms) for call in calls)
        waits = bool(calls) and bool(calls[-1].waits_until_ms) and record.get("postponed", 0) == asked
        is_kept = waits if calls else number > 1
        if _is_express(record) and is_lost and is_kept and not world.machines.delays(name):
            yield f"{name} has lost its lock, although its machines lived"


def late_ends(world: World, records: list[Json]) -> Iterator[str]:
    """A deadline that passes is noticed within the grace and the time between two sweeps.

    A sweep looks at an attempt a minute after its begin, although the grace after a short deadline is over
    earlier. A sweep that starts another machine in place of a dead one leaves it a minute.
    """
    for record in records:
        if _is_express(record) and "finished_at_ms" in record and record["status"] != "skipped":
            late_ms = record["finished_at_ms"] - record["lock_expires_at"] * 1000
            restarted_ms = world.machines.delays(record["execution_id"]) * _SWEEP_MS
            grace_ms = max(world.grace_ms, _FOUND_MS)
            if late_ms > grace_ms + _SWEEP_MS + restarted_ms + _SLACK_MS:
                yield f"{record['execution_id']} has ended {late_ms} ms after its deadline"


def late_notifications(world: World, records: list[Json]) -> Iterator[str]:
    """Somebody tries to notify the service when an attempt is due, and again soon after it was in vain.

    A next attempt waits for the sweep. So does an attempt whose machine died, once for each death.
    """
    for record in records:
        if not _is_express(record) or not record.get("async"):  # one that never began has no such field
            continue
        name = record["execution_id"]
        dead_ms = world.machines.delays(name) * (_FOUND_MS + _SWEEP_MS)
        for number, due_ms, ended_ms in _attempts(record):
            calls_ms = [each.at_ms for each in world.service.calls.get((name, number), [])]
            first_ms = min([*calls_ms[:1], ended_ms])
            slack_ms = max(_SLACK_MS, _drawn_ms(world, record) + _UNDELAYED_MS)
            allowed_ms = (_SWEEP_MS if number > 1 else 0) + dead_ms + slack_ms
            if first_ms - due_ms > allowed_ms:
                yield f"attempt {number} of {name} was due, and nothing was done for {first_ms - due_ms} ms"
            is_delivered = (name, number) in world.service.deliveries
            tries_ms = calls_ms if is_delivered or not calls_ms else [*calls_ms, ended_ms]
            for earlier_ms, later_ms in pairwise(tries_ms):
                if later_ms - earlier_ms > _FOUND_MS + _SWEEP_MS + dead_ms + _SLACK_MS:
                    yield f"attempt {number} of {name} was let wait for {later_ms - earlier_ms} ms"


def _drawn_ms(world: World, record: Json) -> int:
    """How long the calls were delayed of the functions that run an execution, or give it its turn."""
    runs_it = f"run_execution {record['execution_id']}"
    begins = (runs_it, "start_waiting_executions") if "waiting_since_ms" in record else (runs_it,)
    odd = world.choices.deviations.items()
    return sum(sum(delay_ms(what)) for label, what in odd if what in DELAYS and label.startswith(begins))


def forgotten_waits(world: World, records: list[Json]) -> Iterator[str]:
    """A service that asked to be notified later is notified by the next sweep.

    If a machine of a sync job dies, nobody knows that before ``ttl_seconds`` have passed.
    """
    for record in records:
        if not _is_express(record):
            continue
        name = record["execution_id"]
        found_ms = _FOUND_MS if record.get("async") else record.get("ttl_seconds", 0) * 1000 + _FOUND_MS
        dead_ms = world.machines.delays(name) * (found_ms + _SWEEP_MS + world.grace_ms)
        for number, _, ended_ms in _attempts(record):
            if world.machines.runs_twice(name) and (name, number) in world.service.deliveries:
                continue  # one machine was told to wait, and the other has notified the service
            calls = world.service.calls.get((name, number), [])
            # A heartbeat proves that an earlier call arrived, whatever the gateway answered.
            is_proven = record.get("delivered_attempt", 0) >= number
            for call, next_call in zip_longest(calls, calls[1:]):
                if next_call is None and is_proven:
                    continue
                waited_ms = (next_call.at_ms if next_call else ended_ms) - call.at_ms
                asked_ms = (call.waits_until_ms - call.at_ms) * _MORE_THAN_ASKED
                if call.waits_until_ms and waited_ms > asked_ms + _SWEEP_MS + dead_ms + _SLACK_MS:
                    yield f"attempt {number} of {name} was forgotten for {waited_ms} ms"


def _attempts(record: Json) -> Iterator[tuple[int, int, int]]:
    """Each attempt with the times when it was due, and when it ended."""
    earlier = record.get("attempts", [])
    due = [record["started_at_ms"], *(each["next_attempt_at"] * 1000 for each in earlier)]
    ended = [*(each["finished_at_ms"] for each in earlier), record["finished_at_ms"]]
    yield from zip(range(1, len(due) + 1), due, ended, strict=True)


def needless_restarts(world: World) -> Iterator[str]:
    """A sweep starts no machine of an attempt for which one was started less than a minute before.

    Unless the service has asked since to be notified later.
    """
    for attempt, began in world.starts.restarts.items():
        waits = [each for each in world.service.calls.get(attempt, []) if each.waits_until_ms]
        for earlier_ms, later_ms in pairwise(sorted(began.values())):
            has_asked = any(earlier_ms < each.waits_since_ms < later_ms + _SLACK_MS for each in waits)
            if later_ms - earlier_ms < _SWEEP_MS - _ROUNDED_MS and not has_asked:
                yield f"{attempt[0]} was restarted, and again {later_ms - earlier_ms} ms later"


def left_machines(world: World, records: list[Json]) -> Iterator[str]:
    """A Standard machine that was started for an Express execution leaves it alone, and ends."""
    for record in records:
        for machine in world.machines.standard_of(record["execution_id"]) if _is_express(record) else ():
            lasted_ms = machine.statuses[-1][0] - machine.statuses[0][0]
            if lasted_ms > _SLACK_MS:
                yield f"{record['execution_id']} is Express, and a Standard machine waited {lasted_ms} ms"


class Sweeps:
    """What sweeps leave that nothing disturbs: nothing that the next ones would look at in vain.

    A heartbeat that comes late, within the grace, may keep one sweep from moving ``sweep_at``, but not two.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._left: Counter[tuple[str, int]] = Counter()
        self._left_ms: dict[tuple[str, int], int] = {}
        """When the last of the sweeps ended that are counted. One that overlaps it is not counted."""

    def ended(self, sweep: Invocation, ended: Ended) -> None:
        """Looks at what a sweep has left."""
        if ended.error or sweep.faults:
            return
        now_ms = self._world.scheduler.now_ms
        for record in self._world.view.records():
            goes_on = record["status"] == WAITING or (
                record["status"] == RUNNING and record["lock_expires_at"] * 1000 > now_ms
            )
            if goes_on and record.get("sweep_at", 0) * 1000 < sweep.began_ms - _INDEX_LATE_MS:
                look = record["execution_id"], record["sweep_at"]
                if sweep.began_ms >= self._left_ms.get(look, 0):
                    self._left[look] += 1
                    self._left_ms[look] = now_ms

    def broken(self) -> Iterator[str]:
        """A sentence for each execution that sweeps have left more than once."""
        for (name, _), times in self._left.items():
            if times > 1:
                yield f"{name} runs or waits, and the sweep would look at it each minute"


def _is_express(record: Json) -> bool:
    return is_express(cast(Execution, record))
