"""The state of one group of problems, and what may happen to it. Nothing here reads a clock or calls AWS.

A group opens with its first problem, which is told at once. More problems are collected, and told in one
update when the window has passed. When no problem is left and all has been quiet for a while, one message
says that it is over, and the group closes. A job that fails again and again is one problem.

A message is planned once and then stays in ``outbox`` until it is delivered. It is not changed meanwhile, and
no other one is planned. So messages leave in their order, and a receiver that drops duplicates by the id of a
message loses nothing.

Times in the group are in milliseconds since 1970. ``since_ms`` and the like are those of the events, and
decide which of two events is the later one. All else is by the clock of the function.
"""

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict
from uuid import NAMESPACE_URL, uuid5

from jobmanager.alerts.signals import Facts, Signal

type Kind = Literal["opened", "update", "over"]

# An item of DynamoDB has 400 KB. A problem without details takes less than 800 bytes.
MAX_PROBLEMS = 300
MAX_DETAILED = 30
MAX_ROWS = 10
_MAX_COUNTED = 3

CLAIM_MS = 45_000
"""The longest time that a function may take to deliver. It is longer than the timeout of the function."""

_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 15, 600
_LONGEST_RETRY_AFTER_SECONDS = 3_600
MAX_RETRIES = 30
"""With the pauses between them, the last one is some four hours after the first try."""


@dataclass(frozen=True)
class Pace:
    """How long to collect problems before an update, and to wait before a message that it is over.

    The window doubles with each message, up to ``longest_window_seconds``.
    """

    window_seconds: int
    longest_window_seconds: int
    quiet_seconds: int

    def window_ms(self, messages: int) -> int:
        """The window after so many messages of a group."""
        doubled = self.window_seconds << min(max(messages - 1, 0), 20)
        return min(doubled, max(self.window_seconds, self.longest_window_seconds)) * 1000


class Problem(TypedDict):
    """A problem of a job or an alarm. With ``ended_ms`` it is over, until it comes back."""

    since_ms: int
    last_ms: int
    count: int
    counted: list[str]
    is_told: bool
    facts: Facts
    ended_ms: NotRequired[int]
    how: NotRequired[str]


class Row(Problem):
    """A problem as a message shows it."""

    subject: str


class Message(TypedDict):
    """A message that is planned. ``problems``, ``failing`` and ``failures`` count the whole group.

    ``news`` counts the problems that were not told before; ``rows`` are the first of these, or of all that
    are over. ``untracked`` counts the failures of jobs beyond MAX_PROBLEMS, which nobody follows.
    """

    kind: Kind
    alert_id: str
    number: int
    group: str
    at_ms: int
    since_ms: int
    problems: int
    failing: int
    failures: int
    news: int
    untracked: int
    rows: list[Row]


class Group(TypedDict):
    """The state of a group. It is closed without ``alert_id``."""

    alert_id: NotRequired[str]
    messages: int
    told_at_ms: int
    changed_at_ms: int
    problems: dict[str, Problem]
    untracked: int
    ended: dict[str, int]
    outbox: NotRequired[Message]
    claimed_until_ms: int
    retry_at_ms: int
    retries: int
    pulse_at_ms: int


EMPTY = Group(
    messages=0,
    told_at_ms=0,
    changed_at_ms=0,
    problems={},
    untracked=0,
    ended={},
    claimed_until_ms=0,
    retry_at_ms=0,
    retries=0,
    pulse_at_ms=0,
)


def noted(group: Group, signal: Signal, now_ms: int) -> Group:
    """Returns the group after a signal; the same one if it changes nothing, such as a duplicate."""
    return _noted_end(group, signal, now_ms) if signal.ended else _noted_problem(group, signal, now_ms)


def _noted_problem(group: Group, signal: Signal, now_ms: int) -> Group:
    known = group["problems"].get(signal.subject)
    if known is None:
        if signal.at_ms <= group["ended"].get(signal.subject, -1):
            return group  # a late duplicate
        if len(group["problems"]) >= MAX_PROBLEMS:
            return {**group, "untracked": group["untracked"] + 1, "changed_at_ms": now_ms}
        is_detailed = len(group["problems"]) < MAX_DETAILED
        new = Problem(
            since_ms=signal.at_ms,
            last_ms=signal.at_ms,
            count=1,
            counted=[signal.identity],
            is_told=False,
            facts=signal.facts if is_detailed else Facts(what=signal.facts["what"]),
        )
        return _with(group, signal.subject, new, now_ms)
    if signal.identity in known["counted"]:
        return group
    again: Problem = {
        **known,
        "since_ms": min(known["since_ms"], signal.at_ms),
        "last_ms": max(known["last_ms"], signal.at_ms),
        "count": known["count"] + 1,
        "counted": [*known["counted"], signal.identity][-_MAX_COUNTED:],
    }
    is_detailed = len(known["facts"]) > 1 or len(group["problems"]) <= MAX_DETAILED
    if signal.at_ms >= known["last_ms"] and is_detailed:
        again["facts"] = signal.facts
    if signal.at_ms <= known.get("ended_ms", -1):
        return _with(group, signal.subject, again, group["changed_at_ms"])
    changed_at_ms = now_ms if "ended_ms" in again else group["changed_at_ms"]
    again.pop("ended_ms", None)
    again.pop("how", None)
    return _with(group, signal.subject, again, changed_at_ms)


def _noted_end(group: Group, signal: Signal, now_ms: int) -> Group:
    known = group["problems"].get(signal.subject)
    if known is None:
        if not signal.is_rare or signal.at_ms <= group["ended"].get(signal.subject, -1):
            return group
        return {**group, "ended": _latest({**group["ended"], signal.subject: signal.at_ms})}
    if "ended_ms" in known or signal.at_ms <= known["last_ms"]:
        return group
    over: Problem = {**known, "ended_ms": signal.at_ms, "how": signal.ended}
    return _with(group, signal.subject, over, now_ms)


def _with(group: Group, subject: str, problem: Problem, changed_at_ms: int) -> Group:
    return {
        **group,
        "problems": {**group["problems"], subject: problem},
        "changed_at_ms": changed_at_ms,
    }


def _latest(ended: dict[str, int]) -> dict[str, int]:
    return dict(sorted(ended.items(), key=lambda item: item[1])[-MAX_PROBLEMS:])


def next_message(group: Group, pace: Pace) -> tuple[Kind, int] | None:
    """Returns the next message to plan and from when on; None if there is none, or one waits already."""
    if "outbox" in group or not group["problems"]:
        return None
    if "alert_id" not in group:
        return "opened", 0
    failing = [problem for problem in group["problems"].values() if "ended_ms" not in problem]
    if any(not problem["is_told"] for problem in failing):
        return "update", group["told_at_ms"] + pace.window_ms(group["messages"])
    if failing:
        return None
    return "over", group["changed_at_ms"] + pace.quiet_seconds * 1000


def planned(group: Group, name: str, pace: Pace, now_ms: int) -> Group:
    """Returns the group with the message that is due in its outbox; the same group if none is due.

    The group is then as if the message had been delivered: with a message that it is over it is closed. What
    comes before that is delivered opens it again.
    """
    due = next_message(group, pace)
    if due is None or now_ms < due[1]:
        return group
    kind = due[0]
    alert_id = group.get("alert_id") or str(uuid5(NAMESPACE_URL, f"{name} {now_ms}"))
    message = _message(group, kind, alert_id, name, now_ms)
    if kind == "over":
        ended = dict(group["ended"])
        for subject, problem in group["problems"].items():
            ended[subject] = max(problem["ended_ms"], ended.get(subject, -1))
        return {**EMPTY, "ended": _latest(ended), "pulse_at_ms": group["pulse_at_ms"], "outbox": message}
    told: dict[str, Problem] = {
        subject: {**problem, "is_told": problem["is_told"] or "ended_ms" not in problem}
        for subject, problem in group["problems"].items()
    }
    return {
        **group,
        "alert_id": alert_id,
        "messages": group["messages"] + 1,
        "problems": told,
        "outbox": message,
        "claimed_until_ms": 0,
        "retry_at_ms": 0,
        "retries": 0,
    }


def _message(group: Group, kind: Kind, alert_id: str, name: str, now_ms: int) -> Message:
    problems = group["problems"]
    failing = [problem for problem in problems.values() if "ended_ms" not in problem]
    news = {
        subject: problem
        for subject, problem in problems.items()
        if kind != "update" or ("ended_ms" not in problem and not problem["is_told"])
    }
    first = sorted(news.items(), key=lambda item: (item[1]["since_ms"], item[0]))[:MAX_ROWS]
    return Message(
        kind=kind,
        alert_id=alert_id,
        number=group["messages"] + 1,
        group=name,
        at_ms=now_ms,
        since_ms=min(problem["since_ms"] for problem in problems.values()),
        problems=len(problems),
        failing=len(failing),
        failures=sum(problem["count"] for problem in problems.values()),
        news=len(news),
        untracked=group["untracked"],
        rows=[{**problem, "subject": subject} for subject, problem in first],
    )


def is_claimable(group: Group, now_ms: int) -> bool:
    """Whether a message waits, nobody delivers it just now, and its next try is due."""
    return "outbox" in group and now_ms >= next_try_ms(group)


def next_try_ms(group: Group) -> int:
    """Returns from when on the message in the outbox may be tried."""
    return max(group["claimed_until_ms"], group["retry_at_ms"])


def claimed(group: Group, now_ms: int) -> Group:
    """Returns the group while its message is being delivered."""
    return {**group, "claimed_until_ms": now_ms + CLAIM_MS}


def delivered(group: Group, message: Message, now_ms: int) -> Group:
    """Returns the group after a message was delivered; the same one if that was noted before."""
    waiting = group.get("outbox")
    if waiting is None or _id(waiting) != _id(message):
        return group
    done: Group = {**group, "told_at_ms": now_ms, "claimed_until_ms": 0, "retry_at_ms": 0, "retries": 0}
    done.pop("outbox")
    return done


def undelivered(group: Group, message: Message, now_ms: int, retry_after_seconds: float) -> Group:
    """Returns the group after a try that failed. It says when to try again.

    After the last retry ``retries`` begins anew, with the next signal of the group.
    """
    waiting = group.get("outbox")
    if waiting is None or _id(waiting) != _id(message):
        return group
    if group["retries"] >= MAX_RETRIES:
        return {**group, "claimed_until_ms": 0, "retry_at_ms": 0, "retries": 0}
    backoff = min(_FIRST_RETRY_SECONDS << min(group["retries"], 10), _LONGEST_RETRY_SECONDS)
    seconds = max(min(retry_after_seconds, _LONGEST_RETRY_AFTER_SECONDS), backoff)
    return {
        **group,
        "claimed_until_ms": 0,
        "retry_at_ms": now_ms + round(seconds * 1000),
        "retries": group["retries"] + 1,
    }


def _id(message: Message) -> tuple[str, int]:
    return message["alert_id"], message["number"]
