"""What is promised of executions that wait: who waits, who holds what, whose turn it is.

The tables are looked at as they are after each transaction. So what must hold at every moment is not only
looked at when all is quiet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.names import guid_of_execution
from jobmanager.executions.order import execution_of
from jobmanager.executions.queues import ENTRY_PREFIX, queue_of_slots
from jobmanager.executions.record import RUNNING, WAITING, Execution, starts_at_ms
from jobmanager.jobs.definition import overlap
from tests.simulation.calls import DELAYS, FAULTS, Ended, Invocation, Lane
from tests.simulation.sqs import NOT_TAKEN
from tests.stand_ins.dynamodb import Written
from tests.stand_ins.values import from_item

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

_NEWEST_FIRST = ("queue_one", "cancel_running")
_STARTS = "start_waiting_executions"
_OF_THE_VERSION_BEFORE = ("begin_execution", "notify_service")
_SLACK_MS = 60_000
"""What delayed calls may add, of the function that ends one execution and of the one that starts another."""
_SWEEP_MS = 60_000
_LOOKED_AT_MS = 300_000
"""How often the sweep looks at one that waits, if nobody has asked for its turn."""
_MESSAGE_MS = 45_000
"""How late a message may come."""
_SECOND_MS, _NEARLY_A_SECOND_MS = 1000, 850


@dataclass
class _Limit:
    """A limit, the executions that took a slot of it since it was made, and when it was changed."""

    item: Json
    takers: set[str] = field(default_factory=set)
    changed_ms: int = 0
    is_exact: bool = True
    """Whether nobody waited for one of its name that was deleted. Those are not counted."""


class Turns:
    """Looks at each write, and at each look of the function that starts waiting executions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._records: dict[str, Json] = {}
        self._jobs: dict[str, Json] = {}
        """By their guids."""
        self._changed_ms: dict[str, int] = {}
        """When the overlap of a job was changed last, by its guid."""
        self._limits: dict[str, _Limit] = {}
        """By their queues."""
        self._entries: dict[str, set[str]] = defaultdict(set)
        """The executions that a queue names."""
        self._waiting: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        """The records that wait, by their queues, each with its ``time_key``, and since when."""
        self._left: dict[str, list[tuple[str, int]]] = defaultdict(list)
        """The keys that have left a queue, and when."""
        self._free_since_ms: dict[str, int] = {}
        """Since when somebody waits for what is free."""
        self._running: dict[str, set[str]] = defaultdict(set)
        """The running executions that hold the lock of a job, by its guid."""
        self._without_lock: dict[str, set[str]] = defaultdict(set)
        """The executions of a job that began without its lock, by its guid."""
        self._left_to_the_sweep: set[str] = set()
        """The queues of those that wait, once the job is exclusive, for one that began without the lock."""
        self.began_ms: dict[str, int] = {}
        """When the turn of an execution came, or when it began if it did not wait."""
        self._rates: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
        """``per_second`` of a limit, and since when."""
        self._broken: dict[str, None] = {}

    # --- after each write ---------------------------------------------------------------------------------

    def written(self, changes: Sequence[Written]) -> None:
        """Looks at what a write, or a transaction, has changed."""
        queues: dict[str, None] = {}
        moved: list[tuple[Json | None, Json]] = []
        for table, old, new in changes:
            item = new if new is not None else old
            if item is None:
                continue
            if table == "limits":
                queues[self._limit_changed(old, new)] = None
            elif table == "jobs" and "job_key" in item:
                queues[self._job_changed(from_item(item))] = None
            elif table == "executions" and item["execution_id"]["S"].startswith(ENTRY_PREFIX):
                queues[self._entry_changed(item, new is not None)] = None
            elif table == "executions" and guid_of_execution(item["execution_id"]["S"]):
                record = from_item(item)
                moved.append((self._records.get(record["execution_id"]), record))
                self._records[record["execution_id"]] = record
        for before, record in moved:
            queues |= dict.fromkeys(self._queues_of(before, record))
            self._record_changed(before, record)
        for queue in queues:
            self._check(queue)

    def _limit_changed(self, old: Any, new: Any) -> str:
        item = from_item(new if new is not None else old)
        queue = queue_of_slots(item["service_name"], item["limit_name"])
        known = self._limits.get(queue)
        if new is None:
            self._limits.pop(queue, None)
            self._rates[queue].append((self._now_ms, None))
            return queue
        if known is None:
            is_exact = not self._waiting[queue]
            known = self._limits[queue] = _Limit(item, changed_ms=self._now_ms, is_exact=is_exact)
            self._rates[queue].append((self._now_ms, item.get("per_second")))
        before, known.item = known.item, item
        if item["version"] != before["version"]:
            known.changed_ms = self._now_ms
            self._rates[queue].append((self._now_ms, item.get("per_second")))
        more = item.get("holders", set()) - before.get("holders", set())
        if more and len(item["holders"]) > item["slots"]:
            self._say(f"{sorted(more)} took a slot of {item['slots']}, with {len(item['holders'])} holders")
        return queue

    def _job_changed(self, job: Json) -> str:
        guid = str(job["job_guid"])
        before = self._jobs.get(guid, job)
        self._jobs[guid] = job
        if before is job or overlap(before) != overlap(job):
            self._changed_ms[guid] = self._now_ms
        if job.get("fencing_token", 0) < before.get("fencing_token", 0):
            self._say(f"the fencing_token of {job['job_key']} fell")
        holder, last = job.get("lock_execution"), before.get("lock_execution")
        if holder is not None and holder != last:
            if job["fencing_token"] <= before.get("fencing_token", 0):
                self._say(f"{holder} took the lock of {job['job_key']}, and its token did not rise")
            if last is not None and before["lock_expires_at"] * 1000 > self._now_ms:
                self._say(f"{holder} took the lock of {job['job_key']}, which {last} holds")
        return guid

    def _entry_changed(self, item: Any, is_put: bool) -> str:
        queue, name = item["job_guid"]["S"], execution_of(item["execution_id"]["S"])
        (self._entries[queue].add if is_put else self._entries[queue].discard)(name)
        return str(queue)

    def _queues_of(self, before: Json | None, record: Json) -> Iterator[str]:
        yield str(record["job_guid"])
        for each in (before, record):
            if each is not None and "limit" in each:
                yield _slots_of(each)

    def _record_changed(self, before: Json | None, record: Json) -> None:
        name, guid = record["execution_id"], record["job_guid"]
        was, queue = _queue_of(before), _queue_of(record)
        if was != queue and was is not None and before is not None:
            self._waiting[was].pop(name, None)
            self._left[was].append((before["time_key"], self._now_ms))
            self._leaves(was, before, record)
        if queue is not None and was != queue:
            self._has_to_wait(queue, record)
        if queue is not None:
            since_ms = self._now_ms if was != queue else self._waiting[queue][name][1]
            self._waiting[queue][name] = record["time_key"], since_ms
        if record["status"] == RUNNING and (before is None or before["status"] != RUNNING):
            self.began_ms[name] = self._now_ms
            if record["started_at_ms"] < record.get("waiting_since_ms", 0):
                self._say(f"{name} started before it began to wait")
            self._is_in_time(before)
            self._is_before_deadline(before, record)
            if before is not None and before["job_created_at"] != record["job_created_at"]:
                self._say(f"{name} waited, and its job was deleted meanwhile")
        if before is not None and before["status"] != WAITING and _hashes(record) < _hashes(before):
            self._say(f"{name} began a second time")
        is_holder = record["status"] == RUNNING and "fencing_token" in record
        (self._running[guid].add if is_holder else self._running[guid].discard)(name)
        is_in_queue_of_lock = _queue_of(record) == guid
        runs_without = _is_open(record) and not is_in_queue_of_lock and "fencing_token" not in record
        (self._without_lock[guid].add if runs_without else self._without_lock[guid].discard)(name)
        if before is None and "fencing_token" in record:
            self._overtakes(guid, record)
        if "limit" in record:
            self._slot_changed(before, record)

    def _has_to_wait(self, queue: str, record: Json) -> None:
        """Whether what it waits for is held, or others wait for it, too."""
        if self._waiting[queue]:
            return
        name, limit, invocation = record["execution_id"], self._limits.get(queue), self._invocation
        if record["waits_for"] == "lock":
            began_ms = self._now_ms if invocation is None else invocation.began_ms
            if self._jobs[queue].get("lock_expires_at", 0) * 1000 <= began_ms - _SECOND_MS:
                self._say(f"{name} waits for a lock that nobody holds")
        elif limit is None or len(limit.item.get("holders", ())) < limit.item.get("slots", 0):
            self._say(f"{name} waits for a slot that nobody holds")

    def _slot_changed(self, before: Json | None, record: Json) -> None:
        """Whether it begins without a slot, and whether it is settled with one."""
        name, queue = record["execution_id"], _slots_of(record)
        limit = self._limits.get(queue)
        if limit is None:
            return
        begins = _is_begun(record) and not (before is not None and _is_begun(before))
        if record.get("holds_slot") and begins:
            limit.takers.add(name)
            waiting = self._waiting[queue]
            if before is None and waiting and limit.is_exact:
                self._say(f"{name} took a slot for which {sorted(waiting)} wait")
        invocation = self._invocation
        is_known = invocation is not None and limit.changed_ms < invocation.began_ms
        is_of_this_version = invocation is not None and invocation.function not in _OF_THE_VERSION_BEFORE
        needs_slot = begins and is_known and is_of_this_version and "slots" in limit.item
        if needs_slot and name not in limit.item.get("holders", set()):
            self._say(f"{name} began without a slot of {record['limit']}")
        if "settled_at_ms" in record:
            limit.takers.discard(name)

    # --- whose turn it is ---------------------------------------------------------------------------------

    def _leaves(self, queue: str, before: Json, record: Json) -> None:
        """Whether one that leaves a queue was the one to leave it."""
        invocation = self._invocation
        if invocation is None:
            return
        is_lock, job = before["waits_for"] == "lock", self._jobs[record["job_guid"]]
        is_changed = self._changed_ms.get(record["job_guid"], 0) >= invocation.began_ms
        if record["status"] == "skipped":
            self._was_rightly_skipped(queue, before, record, is_changed)
        if record["status"] not in (RUNNING, WAITING) or (is_lock and is_changed):
            return
        is_newest_first = is_lock and overlap(job) in _NEWEST_FIRST
        for other, (key, since_ms) in self._waiting[queue].items():
            is_first = key > before["time_key"] if is_newest_first else key < before["time_key"]
            if is_first and since_ms < invocation.began_ms and (is_lock or not invocation.faults):
                self._say(f"{record['execution_id']} began, and it was the turn of {other}")

    def _overtakes(self, queue: str, record: Json) -> None:
        """Whether one that has just come takes the lock for which others wait."""
        invocation, job = self._invocation, self._jobs[queue]
        if invocation is None or self._changed_ms[queue] >= invocation.began_ms or overlap(job) == "skip":
            return
        if invocation.function in _OF_THE_VERSION_BEFORE:
            return
        for other, (_, since_ms) in self._waiting[queue].items():
            if since_ms < invocation.began_ms:
                self._say(f"{record['execution_id']} took the lock for which {other} waits")

    def _was_rightly_skipped(self, queue: str, before: Json, record: Json, is_changed: bool) -> None:
        name, code = record["execution_id"], record["reason"]["code"]
        if code == "superseded" and not is_changed:
            job, invocation = self._jobs[record["job_guid"]], self._invocation
            began_ms = invocation.began_ms if invocation else 0
            later = [key for key, _ in self._waiting[queue].values()]
            later += [key for key, at_ms in self._left[queue] if at_ms >= began_ms]
            if overlap(job) not in _NEWEST_FIRST or max(later) <= before["time_key"]:
                self._say(f"{name} was superseded, and nothing came after it")
        elif code in ("lock_held", "limit_reached"):
            due_ms = record["scheduled_time_ms"]
            if record["finished_at_ms"] - due_ms < self._world.shortest_deadline_ms:
                self._say(f"{name} was skipped as {code} before its deadline")
        elif code not in ("job_deleted", "superseded", "lock_lost"):
            self._say(f"{name} waited, and was skipped as {code}")

    def looked(self, look: Invocation, ended: Ended) -> None:
        """Whether a look at the queue of a job has left what it had to end."""
        if ended.error or look.faults or "job_name" not in look.event:
            return
        for guid, job in self._jobs.items():
            if job["job_name"] != look.event["job_name"] or self._changed_ms[guid] >= look.began_ms:
                continue
            kind = overlap(job)
            earlier = [name for name, (_, ms) in self._waiting[guid].items() if ms < look.began_ms]
            if kind in _NEWEST_FIRST and len(earlier) > 1:
                self._say(f"{len(earlier)} executions of {job['job_key']} wait, and one may")
            holder = self._records.get(job.get("lock_execution", ""))
            if kind == "cancel_running" and earlier and holder is not None and _is_begun(holder):
                is_older = self.began_ms.get(holder["execution_id"], look.began_ms) < look.began_ms
                is_held = job["lock_expires_at"] * 1000 > self._now_ms and holder["time_key"] < min(
                    self._waiting[guid][name][0] for name in earlier
                )
                if is_older and is_held:
                    self._say(f"{holder['execution_id']} was to be cancelled for {earlier}")

    # --- what holds at every moment -----------------------------------------------------------------------

    def _check(self, queue: str) -> None:
        waiting, entries = set(self._waiting[queue]), self._entries[queue]
        if waiting != entries:
            self._say(f"in the queue are {sorted(entries)}, and {sorted(waiting)} wait")
        limit, job = self._limits.get(queue), self._jobs.get(queue)
        owner = job if limit is None else limit.item
        count = 0 if owner is None else owner.get("waiting_count", 0)
        if limit is not None and not limit.is_exact:
            is_wrong = not 0 <= count <= len(waiting)
        else:
            is_wrong = owner is not None and count != len(waiting)
        if is_wrong:
            self._say(f"a waiting_count is {count}, and {len(waiting)} wait")
        if limit is not None:
            self._check_holders(limit)
        if job is not None:
            self._check_lock(job)
        self._note_whether_free(queue, limit, job)
        if (
            limit is not None and not waiting
        ):  # after the checks: the last one waited while the count was not exact
            limit.is_exact = True

    def _check_holders(self, limit: _Limit) -> None:
        holders = limit.item.get("holders", set())
        for name in holders - limit.takers:
            self._say(f"{name} holds a slot, and is not open")
        for name in limit.takers - holders:
            if _is_begun(self._records[name]):
                self._say(f"{name} has lost its slot")

    def _check_lock(self, job: Json) -> None:
        for name in self._running[job["job_guid"]]:
            record = self._records[name]
            has_it = job.get("lock_execution") == name
            if not has_it and record["lock_expires_at"] * 1000 > self._now_ms:
                self._say(f"{name} runs, and {job.get('lock_execution', 'nobody')} holds its lock")

    def _note_whether_free(self, queue: str, limit: _Limit | None, job: Json | None) -> None:
        """Notes since when what somebody waits for is free; says if that was for long."""
        if job is not None:
            runs_without_lock = job["exclusive"] and bool(self._without_lock[queue])
            is_free = ("lock_execution" not in job or not job["exclusive"]) and not runs_without_lock
            if runs_without_lock and self._waiting[queue]:
                self._left_to_the_sweep.add(queue)
        else:
            full = limit is not None and "slots" in limit.item
            is_free = limit is None or not full or len(limit.item.get("holders", ())) < limit.item["slots"]
        since_ms = self._free_since_ms.pop(queue, None)
        if since_ms is not None:
            self._waited(queue, since_ms)
        if is_free and self._waiting[queue]:
            self._free_since_ms[queue] = self._now_ms if since_ms is None else since_ms
            is_exact = limit is None or limit.is_exact
            if since_ms is None and is_exact and queue not in self._left_to_the_sweep:
                self._expect_ask(queue, job)
        if not self._waiting[queue]:
            self._left_to_the_sweep.discard(queue)

    def _expect_ask(self, queue: str, job: Json | None) -> None:
        """Whoever frees something for which others wait asks for them before it ends."""
        invocation, since_ms = self._invocation, self._now_ms
        if invocation is None or invocation.function == _STARTS or (job and "lock_execution" in job):
            return
        names = {"job_name": job["job_name"]} if job else {"limit_name": queue.rpartition("/")[2]}

        def over(ended: Ended) -> None:
            is_still_free = self._free_since_ms.get(queue) == since_ms and self._waiting[queue]
            is_asked_for = any(
                at_ms >= since_ms and function == _STARTS and names.items() <= event.items()
                for at_ms, function, event in reversed(self._world.lambdas.asked)
            )
            if is_still_free and not ended.error and not invocation.faults and not is_asked_for:
                self._say(f"{invocation.label} let others wait for what it freed, {queue}")

        invocation.when_over.append(over)

    def _waited(self, queue: str, since_ms: int) -> None:
        lasted_ms = self._now_ms - since_ms
        limit = self._limits.get(queue)
        longest_ms = self._longest_ms
        if (limit is not None and not limit.is_exact) or queue in self._left_to_the_sweep:
            longest_ms += _LOOKED_AT_MS + _SWEEP_MS
        if lasted_ms > longest_ms and self._world.is_undisturbed:
            names = sorted(self._waiting[queue])
            self._say(f"what {names} wait for in {queue} was free for {lasted_ms // 1000} s")

    def _is_in_time(self, before: Json | None) -> None:
        """Whether one that waited for its time begins then."""
        if before is None or "may_start_at_ms" not in before:
            return
        late_ms = self._now_ms - before["may_start_at_ms"]
        if late_ms < -_SECOND_MS - 500:
            self._say(f"{before['execution_id']} began {-late_ms} ms before its time")
        is_lost = NOT_TAKEN in self._world.choices.deviations.values()
        longest_ms = self._longest_ms + _MESSAGE_MS + (_LOOKED_AT_MS + _SWEEP_MS if is_lost else 0)
        if late_ms > longest_ms and self._world.is_undisturbed:
            self._say(f"{before['execution_id']} began {late_ms} ms after its time")

    def _is_before_deadline(self, before: Json | None, record: Json) -> None:
        """Whether one that waited begins as long as its job lets it."""
        invocation, job = self._invocation, self._jobs[record["job_guid"]]
        seconds = job.get("starting_deadline_seconds")
        if before is None or invocation is None or seconds is None:
            return
        if ms_of_iso(job["updated_at"]) + _SECOND_MS > invocation.began_ms:
            return
        late_ms = invocation.began_ms - starts_at_ms(cast(Execution, record)) - seconds * 1000
        if late_ms > _SECOND_MS:
            self._say(f"{record['execution_id']} began {late_ms} ms after its deadline")

    @property
    def _longest_ms(self) -> int:
        """How long one may wait for what is free. If a function died that was to ask, the sweep asks."""
        is_sudden = any(label.startswith("machine ") for label in self._world.choices.deviations)
        return _SLACK_MS + (_LOOKED_AT_MS + _SWEEP_MS if is_sudden else 0)

    # --- at the end ---------------------------------------------------------------------------------------

    def broken(self) -> Iterator[str]:
        """A sentence for each promise that was broken."""
        for queue, since_ms in self._free_since_ms.items():
            self._waited(queue, since_ms)
        yield from self._broken
        for queue, waiting in self._waiting.items():
            for name in waiting:
                yield f"{name} waits for ever in {queue}"
        for name, record in self._records.items():
            if record["status"] == WAITING and record["waits_for"] == "start":
                yield f"{name} waits for its time for ever"
        for limit in self._limits.values():
            if holders := limit.item.get("holders"):
                yield f"{sorted(holders)} hold slots of {limit.item['limit_name']} for ever"
        for (name, attempt), calls in self._world.service.calls.items():
            if attempt == 1 and name in self._records and calls[0].at_ms < self.began_ms.get(name, 10**15):
                yield f"{name} was notified before its turn"
            if attempt == 1 and name in self._records and self._world.is_undisturbed:
                after_ms = calls[0].at_ms - self.began_ms.get(name, 0)
                if "waiting_since_ms" in self._records[name] and after_ms > self._longest_ms:
                    yield f"{name} was notified {after_ms} ms after its turn"
        yield from self._never_run()
        yield from self._too_fast()

    def _never_run(self) -> Iterator[str]:
        """If the function dies that gives a turn, the sweep starts the machine before it counts as dead."""
        world = self._world
        are_sweeps_well = not world.lambdas.failed["reap_executions"] and world.calls.outage is None
        if not are_sweeps_well or world.grace_ms < _SWEEP_MS:
            return
        for name in self.began_ms:
            record = self._records[name]
            is_unnotified = "Manager.NotNotified" in record.get("error", "") and "attempts" not in record
            if "waiting_since_ms" in record and is_unnotified and not world.machines.of_turn(name):
                yield f"{name} had its turn, and no machine ran it"

    def _too_fast(self) -> Iterator[str]:
        """The services under a limit are called no more than so many times in nearly a second.

        A few calls are made between the reservation of a time and that of the service, which differ in how
        long they take. If one of them is late or has a fault, so is that of the service.
        """
        odd = self._world.choices.deviations.items()
        slow = [label for label, what in odd if what in DELAYS or what in FAULTS]
        called: dict[str, list[int]] = defaultdict(list)
        for (name, _), calls in self._world.service.calls.items():
            record = self._records.get(name)
            if record is None or "limit" not in record:
                continue
            called[_slots_of(record)] += [
                call.at_ms for call in calls if not any(label.startswith(call.by) for label in slow)
            ]
        for queue, times in called.items():
            for first_ms in times:
                rates = self._rates_between(queue, first_ms - _SECOND_MS, first_ms + _SECOND_MS)
                number = sum(first_ms <= at_ms < first_ms + _NEARLY_A_SECOND_MS for at_ms in times)
                if None not in rates and number > max(filter(None, rates), default=number):
                    yield f"{number} services under {queue} were called in a second, {rates} may"

    def _rates_between(self, queue: str, from_ms: int, until_ms: int) -> set[int | None]:
        changes = self._rates[queue]
        found = {rate for since_ms, rate in changes if from_ms <= since_ms <= until_ms}
        before = [rate for since_ms, rate in changes if since_ms < from_ms]
        return found | {before[-1] if before else None}

    # --- what is asked for often --------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._world.scheduler.now_ms

    @property
    def _invocation(self) -> Invocation | None:
        """The invocation that writes; None if somebody writes past the functions."""
        running = self._world.scheduler.running
        lane = None if running is None else running.context
        return lane.invocation if isinstance(lane, Lane) else None

    def _say(self, sentence: str) -> None:
        self._world.story.tell("PROMISE", sentence)
        self._broken[sentence] = None


def _queue_of(record: Json | None) -> str | None:
    if record is None or record["status"] != WAITING or record["waits_for"] == "start":
        return None
    if record["waits_for"] == "lock":
        return str(record["job_guid"])
    return _slots_of(record)


def _slots_of(record: Json) -> str:
    """The queue for a slot of the limit that a record names."""
    return queue_of_slots(record["service_name"], record["limit"])


def _is_open(record: Json) -> bool:
    return record["status"] in (RUNNING, WAITING)


def _is_begun(record: Json) -> bool:
    """Whether it runs, or has what it needs to run at its time."""
    status, waits_for = record["status"], record.get("waits_for")
    return status == RUNNING or (status == WAITING and waits_for == "start")


def _hashes(record: Json) -> int:
    """How many callbacks a record knows. It forgets none."""
    return len(record.get("callback_hashes", ()))
