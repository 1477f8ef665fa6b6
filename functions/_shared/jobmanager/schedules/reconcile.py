"""Makes the triggers match the jobs, and finds missed ticks.

A trigger may be wrong because somebody changed it by hand, or because a change of a job died half way. The
reconciler settles it exactly as a PUT or a DELETE does (jobmanager.schedules.triggers), so it is safe beside
them and beside another reconciler. It touches only triggers whose names this stage could have given. If it
dies after it has repaired a trigger, there is a log line about the repair, but no event.

If the stage has moved to the other trigger_type, it puts the triggers of the new type first, and then removes
those of the old one.

With n rules in use and all of them correct, a run makes n ListTargetsByRule, n/100 ListRules and one or two
Query. A missing rule costs a DescribeRule, a PutRule, a PutTargets, two GetItem and a Publish instead. With
EventBridge's limit of 50 calls a second, 300 schedules take 6 s, or 18 s if all their rules are missing:
https://docs.aws.amazon.com/eventbridge/latest/userguide/cloudwatch-limits-eventbridge.html
With n schedules of EventBridge Scheduler, it makes n/100 ListSchedules. They tell the names, states and
targets of all. For the rest it makes at most 300 GetSchedule: for the 100 that were changed last, so that it
sees what somebody has changed by hand, and for others by chance. Failed calls are retried in rounds while
there is time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import sample
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import dynamodb, events, lambdas, sns
from jobmanager.aws.clients import scheduler as scheduler_client
from jobmanager.core.errors import AwsCallFailed, Contended, ManagerError
from jobmanager.core.retry import Pause, tries
from jobmanager.runtime.logs import logger
from jobmanager.runtime.stage_metrics import count
from jobmanager.runtime.tracing import trace_in_threads
from jobmanager.schedules import counts, rules, scheduler
from jobmanager.schedules.events import publish_reconciled
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.missed_ticks import publish_missed_ticks
from jobmanager.schedules.trigger_kind import TriggerKind, TriggerType, trigger_name
from jobmanager.schedules.triggers import Done, settle, state, type_of

type Json = dict[str, Any]
type Task = Callable[[], Json | None]

_KINDS: dict[TriggerType, TriggerKind] = {"rule": rules, "scheduler": scheduler}

_AT_ONCE = 8
_LONGEST_PAUSE_SECONDS = 2.0
# Of how many schedules of EventBridge Scheduler the details are read: the last changed, and others.
_LAST_CHANGED, _OTHERS = 100, 200
# How much time must be left to start one more task: settle a trigger, publish a repair, find missed ticks.
_FOR_TRIGGERS_MS, _FOR_PUBLISHING_MS, _FOR_MISSED_MS = 9_000, 6_000, 4_000


def reconcile(at_ms: int, remaining_ms: Callable[[], int], pause: Pause | None = None) -> Json:
    """Returns ``{checked, changed, missed, complete}``.

    - ``checked``: how many schedules are in use
    - ``changed``: ``{schedule, trigger_type, rule, found, done}`` for each trigger that was repaired;
      ``rule`` is its name, of either type. ``found`` is ``missing``, ``orphaned``, ``disabled`` or
      ``different`` (in its schedule or our target), ``done`` is ``put`` or ``removed``
    - ``missed``: what :func:`publish_missed_ticks` returned for each schedule
    - ``complete``: False if something failed, or if the time was too short
    """
    for client in (dynamodb, events, lambdas, scheduler_client, sns):
        client()  # created here and cached, so that the threads do not each create one
    # Read the table before the triggers: a PUT puts the trigger before it saves the job, so each schedule in
    # the table has its trigger by then.
    items = {trigger_name(item["schedule"]): item for item in counts.all_items()}
    existing = {each: kind.listed() for each, kind in _KINDS.items()}
    in_full = _to_read_in_full(existing["scheduler"])
    with ThreadPoolExecutor(_AT_ONCE, initializer=trace_in_threads()) as pool:
        rounds = _Rounds(pool, remaining_ms, pause)
        changed = rounds.run(
            [partial(_settle, name, item, existing, in_full) for name, item in items.items()],
            _FOR_TRIGGERS_MS,
        )
        changed += rounds.run(_of_unwanted(existing, items), _FOR_TRIGGERS_MS)
        if changed:
            count("Reconciled", len(changed))
        rounds.run([partial(publish_reconciled, change, at_ms) for change in changed], _FOR_PUBLISHING_MS)

        put = {change["rule"] for change in changed if change["done"] == "put"}
        used = {name: item for name, item in items.items() if item["job_count"] > 0}
        missed = rounds.run(
            [partial(_publish_missed_ticks, item, name in put, at_ms) for name, item in used.items()],
            _FOR_MISSED_MS,
        )
    if missed:
        count("MissedTicks", sum(each["count"] for each in missed))
    return {"checked": len(used), "changed": changed, "missed": missed, "complete": rounds.complete}


class _Rounds:
    """Runs tasks in parallel. Tasks that fail in one round run again together in the next."""

    def __init__(
        self, pool: ThreadPoolExecutor, remaining_ms: Callable[[], int], pause: Pause | None
    ) -> None:
        self._pool = pool
        self._remaining_ms = remaining_ms
        self._pause = pause
        self.complete = True

    def run(self, tasks: Sequence[Task], reserve_ms: int) -> list[Json]:
        """Returns the results that are not None. Starts no task with less than ``reserve_ms`` left."""
        results: list[Json] = []
        for _ in tries(None, 0.5, _LONGEST_PAUSE_SECONDS, self._pause):
            outcomes = list(self._pool.map(lambda task: self._try(task, reserve_ms), tasks))
            results += [result for _, result in outcomes if result is not None]
            tasks = [task for task, (failed, _) in zip(tasks, outcomes, strict=True) if failed]
            if not tasks:
                break
            if self._remaining_ms() < reserve_ms + _LONGEST_PAUSE_SECONDS * 1000:
                self.complete = False
                break
        return results

    def _try(self, task: Task, reserve_ms: int) -> tuple[bool, Json | None]:
        """Returns whether to retry, and the result."""
        if self._remaining_ms() < reserve_ms:
            return True, None
        try:
            return False, task()
        except (ClientError, BotoCoreError, AwsCallFailed, Contended) as error:
            logger.warning("reconcile task failed, to be retried", extra={"error": str(error)})
            return True, None
        except (ManagerError, InvalidSchedule) as error:
            logger.error("reconcile task failed", extra={"error": str(error)})
            self.complete = False
            return False, None


def _to_read_in_full(schedules: dict[str, Json]) -> set[str]:
    """Returns the names of the schedules of EventBridge Scheduler whose details this run reads."""
    by_change = sorted(schedules, key=lambda name: schedules[name]["LastModificationDate"], reverse=True)
    others = by_change[_LAST_CHANGED:]
    return {*by_change[:_LAST_CHANGED], *sample(others, min(_OTHERS, len(others)))}


def _settle(
    name: str, item: Json, existing: dict[TriggerType, dict[str, Any]], in_full: set[str]
) -> Json | None:
    """Repairs the trigger of a schedule in the table; returns the change, if any."""
    schedule, trigger_type = item["schedule"], type_of(item["schedule"])
    if item["job_count"] <= 0:
        return _change(schedule, trigger_type, "orphaned", settle(schedule))
    kind = _KINDS[trigger_type]
    seen = kind.state_in_list(existing[trigger_type].get(name), schedule)
    if seen == "in step":
        if (trigger_type == "scheduler" and name not in in_full) or kind.is_complete(schedule):
            return None
        return _change(schedule, trigger_type, "different", settle(schedule))
    # Triggers change while they are listed, page by page, so one that is missing in the list may exist.
    done = settle(schedule, None if seen == "missing" else seen)
    return _change(schedule, trigger_type, seen, done)


def _of_unwanted(existing: dict[TriggerType, dict[str, Any]], items: dict[str, Json]) -> list[Task]:
    """Returns the tasks that remove triggers of the former type, and those of schedules not in the table."""
    tasks: list[Task] = []
    for trigger_type, found in existing.items():
        for name, trigger in found.items():
            if name not in items:
                tasks.append(partial(_settle_unknown, trigger_type, trigger))
            elif type_of(items[name]["schedule"]) != trigger_type:
                tasks.append(partial(_remove_former, trigger_type, name, items[name]["schedule"]))
    return tasks


def _settle_unknown(trigger_type: TriggerType, found: Any) -> Json | None:
    """Removes a trigger whose schedule is not in the table, unless a job has entered it meanwhile."""
    name, kind = found["Name"], _KINDS[trigger_type]
    schedule = kind.schedule_of(found)
    if trigger_name(schedule) == name:
        if type_of(schedule) == trigger_type:
            return _change(schedule, trigger_type, "orphaned", settle(schedule))
        return _remove_former(trigger_type, name, schedule)
    # Somebody changed the trigger's schedule, so its name does not identify its schedule. A job may have
    # entered that schedule meanwhile, so look again after the removal.
    done: Done | None = "removed" if kind.remove(name) else None
    for item in counts.all_items():
        if trigger_name(item["schedule"]) == name:
            return _change(item["schedule"], trigger_type, "different", settle(item["schedule"]))
    return _change(schedule, trigger_type, "orphaned", done, name)


def _remove_former(trigger_type: TriggerType, name: str, schedule: str) -> Json | None:
    """Removes a trigger of the type that the stage had before, if the one that replaces it is there."""
    if counts.job_count(schedule) > 0 and state(schedule) != "in step":
        return None
    done: Done | None = "removed" if _KINDS[trigger_type].remove(name) else None
    return _change(schedule, trigger_type, "orphaned", done)


def _change(
    schedule: str, trigger_type: TriggerType, found: str, done: Done | None, name: str | None = None
) -> Json | None:
    if done is None:
        return None
    change = {
        "schedule": schedule,
        "trigger_type": trigger_type,
        "rule": name or trigger_name(schedule),
        "found": found,
        "done": done,
    }
    logger.warning("trigger reconciled", extra=change)
    return change


def _publish_missed_ticks(item: Json, was_put: bool, at_ms: int) -> Json | None:
    missed = publish_missed_ticks(item, was_put, at_ms)
    if missed:
        logger.warning("ticks missed", extra=missed)
    return missed
