"""Reads a batch of the route's queue, and tells people what is due.

The queue holds messages of the topics, and pulses: messages of this function to itself, which wake it up when
something of a group is due. SQS delivers both at least once, in any order. Three rules keep this safe:

- A signal is noted in its group before its message is deleted. Noting it twice changes nothing.
- Who delivers a group's message claims it first. Its own message is deleted when the delivery is noted, or a
  pulse for the next try is sent. If it dies, SQS delivers its own message again once the claim has expired,
  and the alert is sent once more: at least once, never not at all.
- A pulse that finds a message in the outbox sends another one, for the time of the next try. After the last
  try it goes to the dead-letter queue. The message stays in the group, and leaves with the next signal of the
  group, or when the pulse is moved back.

If a call of AWS fails, the whole batch is delivered again.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.alerts import group as groups
from jobmanager.alerts import store
from jobmanager.alerts.destination import AlertUndelivered, send
from jobmanager.alerts.group import Group, Message, Pace
from jobmanager.alerts.signals import GroupBy, Signal, signal_in
from jobmanager.aws.clients import sqs
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import Contended
from jobmanager.core.retry import tries
from jobmanager.core.settings import number_setting, setting
from jobmanager.core.strict_json import parse
from jobmanager.runtime.emf import Metric, emit
from jobmanager.runtime.logs import logger

_MAX_TRIES = 12
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_LONGEST_DELAY_SECONDS = 900
# A pulse may be a little early or late. One that is later than this is taken for lost, and sent again.
_EARLY_MS, _LATE_MS = 1_000, 300_000
_DIMENSIONS = (("stage", "route"),)

type Record = Mapping[str, Any]
type Clock = Callable[[], int]


@dataclass
class _Work:
    """What a batch holds for one group."""

    signals: list[Signal] = field(default_factory=list)
    is_pulsed: bool = False


def route(records: Iterable[Record], until_ms: int, clock: Clock = now_ms) -> None:
    """Handles a batch. Raises the first error of a group once the other groups are handled.

    After ``until_ms`` no delivery begins, because the function would not live to its end. The groups of a
    route have one destination, so after a failure no other group of the batch tries it.
    """
    broken: Exception | None = None
    down: AlertUndelivered | None = None
    for name, work in _by_group(records).items():
        try:
            down = _handle(name, work, down, until_ms, clock)
        except (ClientError, BotoCoreError, Contended) as error:
            logger.error("alerts of a group were not handled", extra={"group": name, "error": str(error)})
            broken = broken or error
    if broken is not None:
        raise broken


def _by_group(records: Iterable[Record]) -> dict[str, _Work]:
    problems = setting("ALERT_EVENTS").split(",")
    group_by = cast(GroupBy, setting("GROUP_BY"))
    link = setting("CONSOLE_URL")
    found: dict[str, _Work] = defaultdict(_Work)
    for record in records:
        if pulsed := _pulsed(record["body"]):
            found[pulsed].is_pulsed = True
            continue
        signal = signal_in(record["body"], problems, group_by, None if link == "none" else link)
        if signal is not None:
            found[signal.group].signals.append(signal)
    return found


def _pulsed(body: str) -> str | None:
    """Returns the group of a pulse; None for a message of a topic."""
    try:
        message = parse(body)
    except ValueError:
        return None
    name = message.get("pulse") if isinstance(message, dict) else None
    return name if isinstance(name, str) else None


def _handle(
    name: str, work: _Work, down: AlertUndelivered | None, until_ms: int, clock: Clock
) -> AlertUndelivered | None:
    """Notes the signals of a group, and delivers its message if one is due and nobody else does.

    Returns why the destination takes nothing, if it does not.
    """
    group, is_claimed = _note(name, work, clock() < until_ms, clock)
    if "outbox" not in group:
        return down
    message = group["outbox"]
    if not is_claimed:
        now = clock()
        if work.is_pulsed or _may_claim(group, work, now):
            _send_pulse(name, groups.next_try_ms(group) - now)
        return down
    down = down or _delivery(message)
    if down is None:
        _change(name, lambda group: groups.delivered(group, message, clock()), clock)
        logger.info("alert delivered", extra=_facts_of(message))
        return None
    _postpone(name, group, message, down, clock)
    return down


def _note(name: str, work: _Work, may_deliver: bool, clock: Clock) -> tuple[Group, bool]:
    """Notes the signals; returns the group, and whether this call has claimed the message in its outbox."""
    is_claimed = False

    def change(group: Group) -> Group:
        nonlocal is_claimed
        now = clock()
        for signal in work.signals:
            group = groups.noted(group, signal, now)
        if work.is_pulsed and 0 < group["pulse_at_ms"] <= now + _EARLY_MS:
            group = {**group, "pulse_at_ms": 0}
        group = groups.planned(group, name, _pace(), now)
        is_claimed = may_deliver and _may_claim(group, work, now)
        return groups.claimed(group, now) if is_claimed else group

    return _change(name, change, clock), is_claimed


def _may_claim(group: Group, work: _Work, now: int) -> bool:
    """Whether the message in the outbox may be tried now, by this call.

    After a failure a pulse is on its way, and only it may, unless it is long overdue. So pulses do not
    multiply while a destination is down.
    """
    is_ours = work.is_pulsed or not group["retries"] or now > groups.next_try_ms(group) + _LATE_MS
    return is_ours and groups.is_claimable(group, now)


def _change(name: str, change: Callable[[Group], Group], clock: Clock) -> Group:
    """Changes a group, and sends the pulse that it needs then. Raises Contended if others kept winning.

    The pulse is sent before the group is written, so a group that waits for a pulse gets one.
    """
    for _ in tries(_MAX_TRIES):
        group, version = store.read(name)
        changed = change(group)
        now = clock()
        due = groups.next_message(changed, _pace())
        if due is not None and not _has_pulse(changed, due[1], now):
            at_ms = min(max(due[1], now + 1_000), now + _LONGEST_DELAY_SECONDS * 1_000)
            _send_pulse(name, at_ms - now)
            changed = {**changed, "pulse_at_ms": at_ms}
        if changed == group or store.write(name, changed, version, now):
            return changed
    raise Contended(f"The alerts of {name} are being changed by others.")


def _has_pulse(group: Group, due_ms: int, now: int) -> bool:
    """Whether a pulse is on its way that comes when the message is due, or before."""
    return now - _LATE_MS <= group["pulse_at_ms"] <= max(due_ms, now) + _EARLY_MS and group["pulse_at_ms"] > 0


def _pace() -> Pace:
    return Pace(
        number_setting("WINDOW_SECONDS"),
        number_setting("LONGEST_WINDOW_SECONDS"),
        number_setting("QUIET_SECONDS"),
    )


def _delivery(message: Message) -> AlertUndelivered | None:
    """Sends a message; returns why it was not delivered, if it was not."""
    try:
        send(message)
    except AlertUndelivered as error:
        return error
    except (ClientError, BotoCoreError) as error:  # its secret could not be read
        return AlertUndelivered(str(error))
    return None


def _postpone(name: str, group: Group, message: Message, why: AlertUndelivered, clock: Clock) -> None:
    """Sends a pulse for the next try, or to the dead-letter queue after the last, and gives up the claim."""
    now = clock()

    def change(group: Group) -> Group:
        return groups.undelivered(group, message, now, why.retry_after_seconds)

    later = change(group)
    wait_ms = later["retry_at_ms"] - now
    is_given_up = not later["retries"]
    if is_given_up:
        _send({"pulse": name}, setting("DEAD_LETTER_QUEUE_URL"), 0)
    else:
        _send_pulse(name, wait_ms)
    _change(name, change, clock)
    waited = now - message["at_ms"]
    emit([Metric("AlertUndelivered", "Milliseconds", waited, _DIMENSIONS)], route=setting("ROUTE"))
    extra = {**_facts_of(message), "cause": str(why), "waited_ms": waited}
    if is_given_up:
        logger.error("alert was given up", extra=extra)
    else:
        logger.error("alert was not delivered", extra={**extra, "retry_in_seconds": wait_ms // 1000})


def _send_pulse(name: str, delay_ms: int) -> None:
    """Sends a message that comes after the delay, or early if the delay is longer than SQS allows."""
    seconds = min(max(ceil(delay_ms / 1000), 1), _LONGEST_DELAY_SECONDS)
    _send({"pulse": name}, setting("QUEUE_URL"), seconds)


def _send(body: Mapping[str, str], queue_url: str, delay_seconds: int) -> None:
    sqs().send_message(QueueUrl=queue_url, MessageBody=json.dumps(body), DelaySeconds=delay_seconds)


def _facts_of(message: Message) -> dict[str, Any]:
    return {
        "kind": message["kind"],
        "group": message["group"],
        "alert_id": message["alert_id"],
        "number": message["number"],
        "problems": message["problems"],
    }
