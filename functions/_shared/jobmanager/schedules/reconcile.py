"""Makes the rules match the jobs, and finds missed ticks.

A rule may be wrong because somebody changed it by hand, or because a change of a job died half way. The
reconciler settles it exactly as a PUT or a DELETE does (jobmanager.schedules.rules), so it is safe beside
them and beside another reconciler. It touches only rules whose names this stage could have given. If it dies
after it has repaired a rule, there is a log line about the repair, but no event.

With n schedules in use and all rules correct, a run makes n ListTargetsByRule, n/100 ListRules and one or two
Query. A missing rule costs a DescribeRule, a PutRule, a PutTargets, two GetItem and a Publish instead. With
EventBridge's limit of 50 calls a second, 300 schedules take 6 s, or 18 s if all their rules are missing:
https://docs.aws.amazon.com/eventbridge/latest/userguide/cloudwatch-limits-eventbridge.html
Failed calls are retried in rounds while there is time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import dynamodb, events, lambdas, sns
from jobmanager.core.errors import AwsCallFailed, Contended, ManagerError
from jobmanager.core.retry import Pause, tries
from jobmanager.runtime.logs import logger
from jobmanager.runtime.stage_metrics import count
from jobmanager.runtime.tracing import trace_in_threads
from jobmanager.schedules import counts, rules
from jobmanager.schedules.events import publish_reconciled
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.missed_ticks import publish_missed_ticks

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import RuleTypeDef

type Json = dict[str, Any]
type Task = Callable[[], Json | None]

_AT_ONCE = 8
_LONGEST_PAUSE_SECONDS = 2.0
# How much time must be left to start one more task: settle a rule, publish a repair, find missed ticks.
_FOR_RULES_MS, _FOR_PUBLISHING_MS, _FOR_MISSED_MS = 9_000, 6_000, 4_000


def reconcile(at_ms: int, remaining_ms: Callable[[], int], pause: Pause | None = None) -> Json:
    """Returns ``{checked, changed, missed, complete}``.

    - ``checked``: how many schedules are in use
    - ``changed``: ``{schedule, rule, found, done}`` for each rule that was repaired. ``found`` is
      ``missing``, ``orphaned``, ``disabled`` or ``different`` (in its schedule or our target), ``done`` is
      ``put`` or ``removed``
    - ``missed``: what :func:`publish_missed_ticks` returned for each schedule
    - ``complete``: False if something failed, or if the time was too short
    """
    for client in (dynamodb, events, lambdas, sns):
        client()  # created here and cached, so that the threads do not each create one
    # Read the table before the rules: a PUT puts the rule before it saves the job, so each schedule in the
    # table has its rule by then.
    items = {rules.rule_name(item["schedule"]): item for item in counts.all_items()}
    existing = rules.stage_rules()
    with ThreadPoolExecutor(_AT_ONCE, initializer=trace_in_threads()) as pool:
        rounds = _Rounds(pool, remaining_ms, pause)
        tasks = [partial(_settle, item, existing.get(name)) for name, item in items.items()]
        tasks += [partial(_settle_unknown, rule) for name, rule in existing.items() if name not in items]
        changed = rounds.run(tasks, _FOR_RULES_MS)
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


def _settle(item: Json, rule: "RuleTypeDef | None") -> Json | None:
    """Repairs the rule of a schedule in the table; returns the change, if any."""
    schedule = item["schedule"]
    if item["job_count"] <= 0:
        return _change(schedule, "orphaned", rules.settle_rule(schedule))
    state = rules.state_of(rule, schedule)
    if state == "in step":
        if rules.has_target(schedule):
            return None
        return _change(schedule, "different", rules.settle_rule(schedule))
    # Rules change while they are listed, page by page, so one that is missing in the list may exist.
    return _change(schedule, state, rules.settle_rule(schedule, None if state == "missing" else state))


def _settle_unknown(rule: "RuleTypeDef") -> Json | None:
    """Removes a rule whose schedule is not in the table, unless a job has entered it meanwhile."""
    name, schedule = rule["Name"], rule.get("ScheduleExpression", "")
    if rules.rule_name(schedule) == name:
        return _change(schedule, "orphaned", rules.settle_rule(schedule))
    # Somebody changed the rule's expression, so its name does not identify its schedule. A job
    # may have entered that schedule meanwhile, so look again after the removal.
    done: rules.Done | None = "removed" if rules.remove_rule(name) else None
    for item in counts.all_items():
        if rules.rule_name(item["schedule"]) == name:
            return _change(item["schedule"], "different", rules.settle_rule(item["schedule"]))
    return _change(schedule, "orphaned", done, name)


def _change(schedule: str, found: str, done: "rules.Done | None", name: str | None = None) -> Json | None:
    if done is None:
        return None
    change = {"schedule": schedule, "rule": name or rules.rule_name(schedule), "found": found, "done": done}
    logger.warning("rule reconciled", extra=change)
    return change


def _publish_missed_ticks(item: Json, was_put: bool, at_ms: int) -> Json | None:
    missed = publish_missed_ticks(item, was_put, at_ms)
    if missed:
        logger.warning("ticks missed", extra=missed)
    return missed
