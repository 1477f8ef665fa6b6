"""How the rules are made to match the jobs, and how missed ticks are found.

Whatever happened to a rule, by hand or by a change of a job that died half way, is settled as a PUT or a
DELETE settles it (jobmanager.schedules.rules). So both may run beside this, and this beside itself. A rule
whose name this stage does not give is never touched. A run that dies after it repaired a rule leaves a log
line about it, and no event.

With n schedules in use and all rules right, a run makes n ListTargetsByRule, n/100 ListRules and one Query or
two. A missing rule costs a PutRule, a PutTargets, two GetItem and a Publish instead. If EventBridge lets an
account call 50 times a second, 300 schedules take 6 s, and 12 s if all their rules are gone:
https://docs.aws.amazon.com/eventbridge/latest/userguide/cloudwatch-limits-eventbridge.html
Throttled calls are retried in rounds, as long as there is time.
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
from jobmanager.runtime.tracing import continued_in_threads
from jobmanager.schedules import counts, rules
from jobmanager.schedules.events import tell_reconciled
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.missed_ticks import tell_missed_ticks

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import RuleTypeDef

type Json = dict[str, Any]
type Work = Callable[[], Json | None]

_AT_ONCE = 8
_LONGEST_PAUSE_SECONDS = 2.0
# How much time must be left to begin one more: of the rules, of telling, of the missed ticks.
_FOR_RULES_MS, _FOR_TELLING_MS, _FOR_MISSED_MS = 9_000, 6_000, 4_000


def reconcile(at_ms: int, remaining_ms: Callable[[], int], pause: Pause | None = None) -> Json:
    """Answers ``{checked, changed, missed, complete}``.

    ``checked``: how many schedules are in use. ``changed``: for each rule that was not as it should be
    ``{schedule, rule, found, done}``, where ``found`` is ``missing``, ``orphaned``, ``disabled`` or
    ``different`` (its schedule or our target) and ``done`` is ``put`` or ``removed``. ``missed``: as
    :func:`tell_missed_ticks` has it. Not ``complete``, if something failed, or if there was too little time.
    """
    for client in (dynamodb, events, lambdas, sns):
        client()  # made here once, or each thread of the pool would make its own
    # The table first: a PUT puts its rule before it saves its job, so what is counted has its rule by then.
    counted = {rules.rule_name(item["schedule"]): item for item in counts.known()}
    standing = rules.stage_rules()
    with ThreadPoolExecutor(_AT_ONCE, initializer=continued_in_threads()) as pool:
        rounds = _Rounds(pool, remaining_ms, pause)
        works = [partial(_settle, item, standing.get(name)) for name, item in counted.items()]
        works += [partial(_settle_unknown, rule) for name, rule in standing.items() if name not in counted]
        changed = rounds.done(works, _FOR_RULES_MS)
        if changed:
            count("Reconciled", len(changed))
        rounds.done([partial(tell_reconciled, change, at_ms) for change in changed], _FOR_TELLING_MS)

        put = {change["rule"] for change in changed if change["done"] == "put"}
        used = {name: item for name, item in counted.items() if item["job_count"] > 0}
        missed = rounds.done(
            [partial(_tell_missed, item, name in put, at_ms) for name, item in used.items()], _FOR_MISSED_MS
        )
    if missed:
        count("MissedTicks", sum(each["count"] for each in missed))
    return {"checked": len(used), "changed": changed, "missed": missed, "complete": rounds.complete}


class _Rounds:
    """Does works in parallel; what fails in one round waits, with all others that did, for the next."""

    def __init__(
        self, pool: ThreadPoolExecutor, remaining_ms: Callable[[], int], pause: Pause | None
    ) -> None:
        self._pool = pool
        self._remaining_ms = remaining_ms
        self._pause = pause
        self.complete = True

    def done(self, works: Sequence[Work], reserve_ms: int) -> list[Json]:
        """What the works answered, without None; no work is begun with less than ``reserve_ms`` left."""
        answered: list[Json] = []
        for _ in tries(None, 0.5, _LONGEST_PAUSE_SECONDS, self._pause):
            outcomes = list(self._pool.map(lambda work: self._try(work, reserve_ms), works))
            answered += [answered for _, answered in outcomes if answered is not None]
            works = [work for work, (failed, _) in zip(works, outcomes, strict=True) if failed]
            if not works:
                break
            if self._remaining_ms() < reserve_ms + _LONGEST_PAUSE_SECONDS * 1000:
                self.complete = False
                break
        return answered

    def _try(self, work: Work, reserve_ms: int) -> tuple[bool, Json | None]:
        """Whether to try again, and the answer."""
        if self._remaining_ms() < reserve_ms:
            return True, None
        try:
            return False, work()
        except (ClientError, BotoCoreError, AwsCallFailed, Contended) as error:
            logger.warning("not reconciled yet", extra={"error": str(error)})
            return True, None
        except (ManagerError, InvalidSchedule) as error:
            logger.error("not reconciled", extra={"error": str(error)})
            self.complete = False
            return False, None


def _settle(counted: Json, rule: "RuleTypeDef | None") -> Json | None:
    """Makes the rule of a schedule of the table right; answers the change, if there was one."""
    schedule = counted["schedule"]
    if counted["job_count"] <= 0:
        return _change(schedule, "orphaned", rules.settle_rule(schedule))
    state = rules.state_of(rule, schedule)
    if state == "in step":
        if rules.has_target(schedule):
            return None
        return _change(schedule, "different", rules.settle_rule(schedule))
    return _change(schedule, state, rules.settle_rule(schedule, seen=state))


def _settle_unknown(rule: "RuleTypeDef") -> Json | None:
    """Removes a rule of a schedule that the table does not know, unless a job has come meanwhile."""
    name, schedule = rule["Name"], rule.get("ScheduleExpression", "")
    if rules.rule_name(schedule) == name:
        return _change(schedule, "orphaned", rules.settle_rule(schedule))
    # Somebody gave it another expression, so whose it was is not known. Who removes looks again afterwards.
    done: rules.Done | None = "removed" if rules.remove_rule(name) else None
    for item in counts.known():
        if rules.rule_name(item["schedule"]) == name:
            return _change(item["schedule"], "different", rules.settle_rule(item["schedule"]))
    return _change(schedule, "orphaned", done, name)


def _change(schedule: str, found: str, done: "rules.Done | None", name: str | None = None) -> Json | None:
    if done is None:
        return None
    change = {"schedule": schedule, "rule": name or rules.rule_name(schedule), "found": found, "done": done}
    logger.warning("rule reconciled", extra=change)
    return change


def _tell_missed(counted: Json, was_put: bool, at_ms: int) -> Json | None:
    told = tell_missed_ticks(counted, was_put, at_ms)
    if told:
        logger.warning("ticks missed", extra=told)
    return told
