"""Faults that are put into the code on purpose, in memory: the simulation must find each of them.

A mutant replaces a piece of a function's source. The function keeps its identity, so all who call it get the
mutant.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from jobmanager.callbacks import receive
from jobmanager.delivery import machines, notification, notify, parents
from jobmanager.executions import (
    admission,
    begin_or_wait,
    by_hand,
    catch_up,
    chain,
    children,
    completion,
    delayed_starts,
    end_attempt,
    failure_pause,
    handing_over,
    lock_extension,
    moved,
    pacing,
    reap,
    record,
    settle,
    spread,
    start_children,
    start_jobs,
    store,
    tick_parts,
    turn,
    waiting,
    warning,
)
from jobmanager.executions import due as due_by_a_tick
from jobmanager.jobs import chains, changes, events, last_execution, lock
from jobmanager.jobs import store as jobs
from jobmanager.limits import changes as limit_changes
from jobmanager.limits import store as limits
from jobmanager.schedules import counts, missed_ticks, scheduler, triggers


@dataclass(frozen=True)
class Mutant:
    """A fault: what is replaced in a function, and by what."""

    name: str
    function: Any
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the fault into the code, and takes it out again."""
        function = self.function
        assert isinstance(function, FunctionType)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} stands {source.count(self.old)} times"
        found: dict[str, Any] = {}
        exec(compile(source.replace(self.old, self.new), "<mutant>", "exec"), function.__globals__, found)
        healthy = function.__code__
        function.__code__ = found[function.__name__].__code__
        try:
            yield
        finally:
            function.__code__ = healthy


MUTANTS = (
    Mutant(
        "a lock is extended by an execution that has lost it",
        lock.extend,
        'job is not None and job.get("lock_execution") == execution_id',
        "job is not None",
    ),
    Mutant(
        "a lock is freed by an execution that does not hold it",
        last_execution.record_last_execution,
        'conditions.append("lock_execution = :me")',
        'conditions.append(":me = :me")',
    ),
    Mutant(
        "the second outcome of an attempt replaces the first",
        store.is_at_attempt,
        '"#status = :running AND attribute_not_exists(attempts)"',
        '":running = :running AND attribute_not_exists(attempts)"',
    ),
    Mutant(
        "a result is acknowledged and not written",
        receive._finish,
        'end_attempt(record, body["status"], result, at_ms)',
        '{**record, "status": body["status"]}',
    ),
    Mutant(
        "an execution is closed before its lock is freed",
        settle.settle,
        "job = None",
        "job, record = None, _close(record, at_ms) or record",
    ),
    Mutant(
        "the record is inserted, and then the lock is taken",
        admission.insert_running,
        "return store.insert(record, *changes(record, job, admission, at_ms))",
        "found = changes(record, job, admission, at_ms)\n"
        "    return store.insert(record) and (not found or store.tables.transact(found))",
    ),
    Mutant(
        "the lock is taken without a look at who holds it",
        jobs.lock_change,
        '"#version = :version AND (attribute_not_exists(lock_execution) OR lock_expires_at <= :now)"\n'
        '        " AND (attribute_not_exists(fencing_token) OR fencing_token = :last)"',
        '"#version = :version AND :now = :now AND :last = :last"',
    ),
    Mutant(
        "a trigger is settled without a second look at the count",
        triggers.settle,
        "if (counts.job_count(schedule) > 0) == is_used:",
        "if True:",
    ),
    Mutant(
        "a schedule of EventBridge Scheduler that was changed by hand stays as it is",
        scheduler.put,
        'if found == "in step":',
        'if found != "missing":',
    ),
    Mutant(
        "the reaper leaves what has ended and was not settled",
        reap._end_if_overdue,
        'ended, done = record, "closed"',
        'return "left"',
    ),
    Mutant(
        "a service is notified although the lock has expired",
        lock_extension.hold_lock,
        'if not record["exclusive"]:',
        "if True:",
    ),
    Mutant(
        "a function that Step Functions took for dead notifies all the same",
        machines.StandardTask.still_waits,
        'return task_signal.heartbeat(self.token) == "sent"',
        "return bool(task_signal.heartbeat(self.token))",
    ),
    Mutant(
        "a heartbeat does not extend the lock",
        receive._heartbeat,
        'attempt, max(expires_at, record["lock_expires_at"]))',
        'attempt, record["lock_expires_at"])',
    ),
    Mutant(
        "a job is replaced although it has changed since it was read",
        jobs.replace,
        'condition = "#version = :read"',
        'condition = "#version = #version AND :read = :read"',
    ),
    Mutant(
        "a job that moves is not taken out of the count of its old schedule",
        counts.count_changes,
        "if left:",
        "if left and not entered:",
    ),
    Mutant(
        "a service is notified again although it has accepted",
        notification.send,
        "if answer.status in _LATER:",
        "if answer.status in _LATER or answer.status == 202:",
    ),
    Mutant(
        "the end of an execution is not published",
        settle.settle,
        "publish_event(record, at_ms, job)",
        "pass",
    ),
    Mutant(
        "an Idempotency-Key is not looked at",
        by_hand.start_by_hand,
        "if idempotency_key is not None:\n        claimed",
        "if False:\n        claimed",
    ),
    Mutant(
        "a webhook is not signed",
        notification.signed_headers,
        "webhook_headers(secrets, webhook_id",
        "webhook_headers([], webhook_id",
    ),
    Mutant(
        "each delivery of a tick starts an execution of its own",
        start_jobs._execution_id,
        'ms_of_iso(firing["scheduled_time"]), suffix)',
        'ms_of_iso(firing["scheduled_time"]), f"{__import__("jobmanager.core.clock").core.clock.now_ms()}")',
    ),
    Mutant(
        "an Express machine notifies the service of an attempt that another one runs",
        machines.ExpressExecution.condition,
        "IN (:me, :former)",
        "IN (:me, :former) OR job_guid <> :me",
    ),
    Mutant(
        "a Standard machine runs what an Express one has begun",
        machines.StandardTask.fits,
        "return not is_express(record)",
        "return True",
    ),
    Mutant(
        "each of two Express machines takes the record for its own",
        begin_or_wait.begin_to_notify,
        "return Begun(earlier, is_new,",
        "return Begun(earlier, record is not None,",
    ),
    Mutant(
        "an Express machine does not note that the service was notified",
        machines.ExpressExecution.confirm,
        "number = attempts.current(record)",
        "return",
    ),
    Mutant(
        "an Express machine does not take over from a dead one",
        machines.ExpressExecution.condition,
        "self.takes_over or self.identifier",
        "self.identifier",
    ),
    Mutant(
        "an Express machine fails an attempt that another one runs",
        # Two guards keep it from that: one when the record is read, the other when it is written.
        settle._ensure_outcome,
        "execution, record = _found(execution)",
        "execution, record = _found(execution)\n"
        '    if record is not None and "machine_execution" in record and "machine_execution" in execution:\n'
        '        execution = {**execution, "machine_execution": record["machine_execution"]}',
    ),
    Mutant(
        "the skip of an Express execution is not published again after a failure",
        notify.run,
        "if is_skipped_at_begin(record):",
        "if is_new and is_skipped_at_begin(record):",
    ),
    Mutant(
        "an Express execution that waits for its service keeps its machine",
        machines.ExpressExecution.postpone,
        '":nobody": POSTPONED',
        '":nobody": self.identifier',
    ),
    Mutant(
        "an Express attempt whose service asked to be called later is ended before the sweep comes",
        machines.ExpressExecution.postpone,
        "overdue_if_not_begun(record, until)",
        'min(until + record["ttl_seconds"],'
        ' record["started_at_ms"] // 1000 + record["max_duration_seconds"])',
    ),
    Mutant(
        "the sweep does not say when to look again",
        reap._look_again,
        '":next": sweep_at',
        '":next": record["sweep_at"]',
    ),
    Mutant(
        "a sweep restarts what another one has just restarted",
        reap._look_after,
        'if record.get("sweep_at", now) > now:',
        "if False:",
    ),
    Mutant(
        "the sweep does not begin next attempts",
        reap._has_no_machine,
        "or _waits_for_attempt(record, now):",
        "or attempts.is_between_attempts(record):",
    ),
    Mutant(
        "the sweep looks after an Express machine only at the deadline",
        record.first_sweep_at,
        'now_ms // 1000 + _SECONDS_TO_NOTIFY if record["async"] else record["lock_expires_at"]',
        'record["lock_expires_at"]',
    ),
    Mutant(
        "a heartbeat that shortens the time does not tell the sweep",
        receive._heartbeat,
        'if "sweep_at" in record and expires_at < max(record["sweep_at"], record["lock_expires_at"]):',
        "if False:",
    ),
    Mutant(
        "the lock is not kept until the sweep begins the next attempt",
        end_attempt._begun_by,
        "attempts.seconds_to_sweep() if is_express(record) else 0",
        "0",
    ),
    Mutant(
        "a trigger is put without its time zone",
        scheduler._definition,
        '"ScheduleExpressionTimezone": timing.time_zone',
        '"ScheduleExpressionTimezone": "UTC"',
    ),
    Mutant(
        "a trigger of another time zone is taken for the right one",
        scheduler._state_of,
        'found.get("ScheduleExpressionTimezone", "UTC") == timing.time_zone',
        "True",
    ),
    Mutant(
        "a trigger is put without its end",
        scheduler._definition,
        '({} if end is None else {"EndDate": datetime.fromtimestamp(end, UTC)})',
        "{}",
    ),
    Mutant(
        "a trigger is put without its start",
        scheduler._definition,
        '({} if start is None else {"StartDate": datetime.fromtimestamp(start, UTC)})',
        "{}",
    ),
    Mutant(
        "the trigger of the zone that a job has left stays",
        changes._left_schedules,
        "if schedule and schedule != entered",
        'if schedule and " " not in schedule',
    ),
    Mutant(
        "a late tick runs a job that has moved to a schedule which does not fire then",
        due_by_a_tick._fired,
        'schedule == due["schedule"] or fired_at(schedule, at_ms)',
        "True",
    ),
    Mutant(
        "a job is completed before its last tick is over",
        completion._was_seen_to_end,
        'counts.record_if_later(item["schedule"], "ended_ms", at_ms)\n        return False',
        'item["ended_ms"] = at_ms - 10**9\n        return True',
    ),
    Mutant(
        "a job is completed while its last tick is still being tried",
        completion._started,
        "if _waited_ms(job, item, at_ms) >= _grace_ms()]\n"
        "    tick_ms = max((item[name] for name in _TICKS if name in item), default=None)",
        "if True]\n    tick_ms = None",
    ),
    Mutant(
        "a job that never fires again is not completed",
        completion._has_ended,
        "known_ms is not None and",
        "False and",
    ),
    Mutant(
        "a completed job that is put again stays completed",
        changes._schedule_to_be_on,
        'new.pop("completed_at", None)',
        "pass",
    ),
    Mutant(
        "what was missed is published, and not caught up",
        missed_ticks._catch_up_and_publish,
        '"catch_up": True,',
        '"catch_up": True, "after": "~",',
    ),
    Mutant(
        "what was missed starts newest first",
        catch_up.CatchUp.start,
        "enumerate(sorted(wanted), 1)",
        "enumerate(sorted(wanted, reverse=True), 1)",
    ),
    Mutant(
        "a spread job starts with its tick",
        spread.starts_at_ms,
        'if "spread_seconds" not in job or not is_on("SPREAD"):',
        "if True:",
    ),
    Mutant(
        "a message that comes before its time starts its jobs",
        delayed_starts.start_delayed,
        "if _starts_at_ms(message) > now_ms()",
        "if False",
    ),
    Mutant(
        "a message that the queue does not take is forgotten",
        delayed_starts._send,
        'return [messages[int(entry["Id"])] for entry in failed]',
        "return []",
    ),
    Mutant(
        "only the first part of a tick is handed out",
        tick_parts.parts_of,
        "after, standard, express = page.last_job_key, 0, 0",
        "return",
    ),
    Mutant(
        "a warning is noted, and not published",
        warning.warn,
        "publish(sns(), _message(record, job, at_ms))",
        "pass",
    ),
    Mutant(
        "nobody pauses a job that fails too often",
        failure_pause.ask_for_pause,
        'invoke_later(setting("PAUSE_FAILING_JOB_ARN"), asked)',
        "pass",
    ),
    Mutant(
        "an execution waits for a lock that is free",
        jobs.wait_change,
        '"(lock_expires_at > :now OR waiting_count > :none)"',
        '"(:now = :now AND :none = :none)"',
    ),
    Mutant(
        "an execution waits for a slot that is free",
        limits.wait_change,
        "AND ({_IS_FULL} OR waiting_count > :none)",
        "AND :none = :none",
    ),
    Mutant(
        "a slot is taken without a look at how many are held",
        limits.take_change,
        "OR size(holders) < slots OR contains(holders, :id)",
        "OR :id = :id",
    ),
    Mutant(
        "a lock is taken by one that has just come, while others wait",
        admission._for_lock,
        "if holder is None and not others:",
        "if holder is None:",
    ),
    Mutant(
        "a slot is not freed",
        handing_over.free_for_others,
        "limit = limits.free(",
        "limit = None and limits.free(",
    ),
    Mutant(
        "an execution is closed before its slot is freed",
        settle.settle,
        "free_for_others(record, job, at_ms)\n        if",
        "record = _close(record, at_ms) or record\n        free_for_others(record, job, at_ms)\n        if",
    ),
    Mutant(
        "who frees a lock does not ask for those who wait for it",
        handing_over.free_for_others,
        "ask_for_turn_of_lock(service_name, job_name)",
        "pass",
    ),
    Mutant(
        "who frees a slot does not ask for those who wait for it",
        handing_over.free_for_others,
        'ask_for_starts(service_name, record["limit"])',
        "pass",
    ),
    Mutant(
        "who gets more slots does not ask for those who wait",
        limit_changes.save,
        "ask_for_starts(service_name, limit_name)",
        "pass",
    ),
    Mutant(
        "the oldest of a queue of one remains",
        turn._turns_of_lock,
        "superseded, waiting = waiting[:-1], waiting[-1:]",
        "superseded, waiting = waiting[1:], waiting[:1]",
    ),
    Mutant(
        "nobody of a queue of one is superseded",
        turn._turns_of_lock,
        "superseded, waiting = waiting[:-1], waiting[-1:]",
        "superseded, waiting = [], waiting[-1:]",
    ),
    Mutant(
        "the newest of a queue comes first",
        turn._turns_of_lock,
        '_give_turn_to(waiting[0], "lock",',
        '_give_turn_to(waiting[-1], "lock",',
    ),
    Mutant(
        "the newest that waits for a slot comes first",
        turn._turns_of_slots,
        "list(islice(queues.waiting_in(queue), min(_PER_ROUND, free or _PER_ROUND)))",
        "list(queues.waiting_in(queue))[-1:]",
    ),
    Mutant(
        "the one that runs is not cancelled",
        turn._turns_of_lock,
        'if kind != "cancel_running" or not _cancel(',
        "if True or not _cancel(",
    ),
    Mutant(
        "one that waits for its time since is started by a look at the queue it was in",
        turn._give_turn_to,
        'or record["waits_for"] != waits_for:',
        "or not waits_for:",
    ),
    Mutant(
        "one whose turn has come is not started",
        turn._give_turn,
        "start_machine_of(new)",
        "pass",
    ),
    Mutant(
        "the sweep does not start what a function that died left",
        reap._never_began,
        'return "waiting_since_ms" in record and "callback_hashes" not in record',
        "return False",
    ),
    Mutant(
        "the sweep does not ask whether the turn of one that waits has come",
        reap._look_at_waiting,
        "ask_for_turn(record)",
        "pass",
    ),
    Mutant(
        "one whose turn has come is started under the name of its tick",
        moved.machine_names,
        'if "waiting_since_ms" in record:',
        "if False:",
    ),
    Mutant(
        "a message for the time of one that waits is not sent",
        turn._give_turn,
        "send_at_its_time(new, at_ms)",
        "pass",
    ),
    Mutant(
        "a message for the time of one that waits starts it early",
        turn._turn_at_its_time,
        'if record["may_start_at_ms"] > at_ms + EARLY_MS:',
        "if False:",
    ),
    Mutant(
        "a service is notified without a look at the rate of its limit",
        pacing.wait_to_notify,
        "time.sleep(",
        "bool(",
    ),
    Mutant(
        "one waits on after its deadline",
        waiting.why_too_late,
        "if deadline is None or at_ms // 1000 <= deadline:",
        "if True:",
    ),
    Mutant(
        "one that is skipped while it waits keeps the lock that it has",
        settle.settle,
        'if "fencing_token" in record:\n            job = lock.free(',
        "if False:\n            job = lock.free(",
    ),
    Mutant(
        "one that ends to wait stays in its queue",
        waiting.end_waiting,
        "changes.append(queues.leave_change(record))",
        "pass",
    ),
    Mutant(
        "one that ends to wait stays in the count of its limit",
        waiting.end_waiting,
        "changes += limits.leave_changes(limit)",
        "pass",
    ),
    Mutant(
        "the turn of one is given although it has ended",
        store._waits_as,
        '"#status = :seen_status AND waits_for = :seen_for AND time_key = :seen_key"',
        '"attribute_exists(#status) AND :seen_status = :seen_status AND :seen_for = :seen_for'
        ' AND :seen_key = :seen_key"',
    ),
    Mutant(
        "the machine of a tick runs what waits",
        notify.run,
        "if is_or_was_waiting(record):",
        "if False:",
    ),
    Mutant(
        "a child starts after any end of its parent",
        start_children._is_after,
        'record["status"] in ends_of(child, record["job_name"])',
        'bool(ends_of(child, record["job_name"]))',
    ),
    Mutant(
        "a child starts although not all of its parents have ended as they should",
        start_children.next_arrivals,
        "if len(ready) < len(parents):",
        "if not ready:",
    ),
    Mutant(
        "an end that was used starts a child again",
        start_children.next_arrivals,
        'and not each["is_used"] and',
        "and",
    ),
    Mutant(
        "of two ends of a parent the earlier one counts if it comes later",
        start_children.next_arrivals,
        "if known is not None and _order(known) > _order(arrival):",
        "if False:",
    ),
    Mutant(
        "a retry of start_children starts another execution",
        start_children._start_after,
        "hashlib.sha256(names.encode())",
        'hashlib.sha256(f"{__import__("jobmanager.core.clock").core.clock.now_ms()}".encode())',
    ),
    Mutant(
        "the start of a child is forgotten before it is made",
        start_children._start_child,
        "started += _start(child, start)",
        'is_written = _write(child, Arrivals(of=seen["of"]))\n            if is_written:\n'
        "                started += _start(child, start)",
    ),
    Mutant(
        "two ends that come at once replace each other",
        start_children._write,
        'condition = "arrivals = :seen" if seen else',
        'condition = "attribute_exists(job_key) OR arrivals = :seen" if seen else',
    ),
    Mutant(
        "a child starts after an end from before it was created",
        start_children._existed,
        'child["created_at"] <= iso(record["finished_at_ms"])',
        "bool(child) and bool(record)",
    ),
    Mutant(
        "a job that is created again knows the ends from before",
        changes.save,
        '"completed_at", "arrivals"}',
        '"completed_at"}',
    ),
    Mutant(
        "an execution does not list those that run after it",
        start_children._start,
        "executions.add_link(parent",
        "(lambda *_: None)(parent",
    ),
    Mutant(
        "the place in a chain is not counted",
        start_children._start_after,
        'max(each["chain_depth"] for each in arrivals) + 1',
        'max(each["chain_depth"] for each in arrivals)',
    ),
    Mutant(
        "nobody asks for what follows an end",
        children.have_children_started,
        'invoke_later(setting("START_CHILDREN_ARN"), ended)',
        "pass",
    ),
    Mutant(
        "an execution is closed before what follows it is asked for",
        settle.settle,
        "have_children_started(job, record)",
        "record = _close(record, at_ms) or record\n        have_children_started(job, record)",
    ),
    Mutant(
        "children start after an execution of a job that was deleted",
        children.have_children_started,
        "or is_deleted(job):",
        "or False:",
    ),
    Mutant(
        "children start after an execution of a job that was created again since",
        children.have_children_started,
        'if record.get("job_created_at", job["created_at"]) != job["created_at"]:',
        "if False:",
    ),
    Mutant(
        "a deleted job is still listed by those after which it ran",
        chains._linked_parents,
        "if job is None or is_deleted(job)",
        "if job is None",
    ),
    Mutant(
        "a job forgets its other children",
        chains._with_child,
        "sorted([*children, ",
        "sorted([",
    ),
    Mutant(
        "a job gets parents although a job before these has changed",
        chains.link_changes,
        'changes.append(store.change_if_same(ancestor, "SET job_key = :key", "", values))',
        "pass",
    ),
    Mutant(
        "a job is deleted although another has come to run after it",
        changes.delete,
        'of_others = ("children",)',
        "of_others = ()",
    ),
    Mutant(
        "nobody is told of the jobs that a deleted one leaves behind",
        events.with_change,
        'if is_deleted(new) and new.get("children"):',
        "if False:",
    ),
    Mutant(
        "a notification does not tell of the parents",
        notification.notification,
        'if "parents" in record:',
        "if False:",
    ),
    Mutant(
        "a notification does not have the states of the parents",
        parents.parents_with_states,
        'view["state"] = state',
        'view["state"] = ""',
    ),
    Mutant(
        "a rerun does not have the parents of the first run",
        by_hand.rerun,
        'for name in ("payload", "parents", "chain_depth"):',
        'for name in ("payload",):',
    ),
    Mutant(
        "a chain is shown without what follows its roots",
        chain.chain_of,
        'not _read_along("children", roots, ordered, known)',
        "False",
    ),
)
