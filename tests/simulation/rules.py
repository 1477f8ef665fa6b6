"""EventBridge: rules with their targets, and the ticks that they fire: late, twice, or not at all.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobmanager.core.clock import iso
from jobmanager.schedules.fire_times import fired_within, is_rate, next_of_rate
from tests.simulation.calls import Calls
from tests.simulation.choices import Choices
from tests.simulation.errors import Unsupported, client_error
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story

type Json = dict[str, Any]

_MINUTE_MS = 60_000
_NEVER, _TWICE = "does not come", "comes twice"
_LATE_MS = {"comes 2 s late": 2000, "comes 40 s late": 40_000, "comes 6 min late": 360_000}
_ODD = (_NEVER, _TWICE, *_LATE_MS)


@dataclass
class Rule:
    """A rule; ``since_ms``: when it was put, from which a rate counts."""

    name: str
    expression: str
    state: str
    since_ms: int
    targets: dict[str, Json] = field(default_factory=dict)

    def described(self) -> Json:
        """As DescribeRule and ListRules have it."""
        return {"Name": self.name, "ScheduleExpression": self.expression, "State": self.state}


class EventBridge:
    """The rules of the default bus."""

    def __init__(
        self,
        scheduler: Scheduler,
        choices: Choices,
        calls: Calls,
        story: Story,
        fire: Callable[[str, Any, str], None],
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._story = story
        self._fire = fire
        self.rules: dict[str, Rule] = {}
        self.stops_at_ms = 0
        self.silenced: Collection[str] = ()
        """The ticks that do not come because a broken run does not need them."""
        self.fired: list[str] = []
        self.came: list[tuple[str, int]] = []
        """The ticks that were delivered to a function: their schedules and times."""

    def put_rule(self, Name: str, ScheduleExpression: str, State: str, **_: Any) -> Json:
        """Makes or replaces a rule; its targets stay."""
        old = self.rules.get(Name)
        targets = old.targets if old else {}
        rule = Rule(Name, ScheduleExpression, State, self._scheduler.now_ms, targets)
        self.rules[Name] = rule
        if is_rate(ScheduleExpression):
            self._await_rate(rule)
        return {"RuleArn": Name}

    def put_targets(self, Rule: str, Targets: Sequence[Json]) -> Json:
        """Adds targets, or replaces those of the same id."""
        self._rule(Rule).targets.update({target["Id"]: target for target in Targets})
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def remove_targets(self, Rule: str, Ids: Sequence[str]) -> Json:
        """Removes targets."""
        targets = self._rule(Rule).targets
        failed = [
            {"TargetId": each, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": "no such target"}
            for each in Ids
            if targets.pop(each, None) is None
        ]
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    def delete_rule(self, Name: str) -> Json:
        """Deletes a rule that has no targets; nothing if there is none."""
        if Name in self.rules and self.rules[Name].targets:
            raise client_error("ValidationException", "Rule can't be deleted since it has targets.")
        self.rules.pop(Name, None)
        return {}

    def describe_rule(self, Name: str) -> Json:
        """Describes a rule."""
        return self._rule(Name).described()

    def list_rules(self, NamePrefix: str) -> Json:
        """Lists rules, on one page."""
        found = sorted(name for name in self.rules if name.startswith(NamePrefix))
        return {"Rules": [self.rules[name].described() for name in found]}

    def list_targets_by_rule(self, Rule: str) -> Json:
        """Lists the targets of a rule."""
        return {"Targets": list(self._rule(Rule).targets.values())}

    def _rule(self, name: str) -> Rule:
        if name not in self.rules:
            raise client_error("ResourceNotFoundException", f"Rule {name} does not exist.")
        return self.rules[name]

    # --- the ticks ----------------------------------------------------------------------------------------

    def start_clock(self, stops_at_ms: int) -> None:
        """Fires what is due, until a time."""
        self.stops_at_ms = stops_at_ms
        self._scheduler.after(_MINUTE_MS - self._scheduler.now_ms % _MINUTE_MS, self._minute)

    def _minute(self) -> None:
        at_ms = self._scheduler.now_ms
        if at_ms > self.stops_at_ms:
            return
        for rule in sorted(self.rules.values(), key=lambda rule: rule.name):
            if not is_rate(rule.expression) and fired_within(rule.expression, at_ms - 1, at_ms):
                self._tick(rule, at_ms)
        self._scheduler.after(_MINUTE_MS, self._minute)

    def _await_rate(self, rule: Rule) -> None:
        now_ms = self._scheduler.now_ms
        at_ms = next_of_rate(rule.expression, rule.since_ms, now_ms)
        if at_ms <= self.stops_at_ms:
            self._scheduler.after(at_ms - now_ms, lambda: self._rate(rule))

    def _rate(self, rule: Rule) -> None:
        if self.rules.get(rule.name) is rule:
            self._tick(rule, self._scheduler.now_ms)
            self._await_rate(rule)

    def _tick(self, rule: Rule, at_ms: int) -> None:
        label = f"{rule.expression} {iso(at_ms)}"
        if rule.state != "ENABLED" or label in self.silenced:
            return
        self.fired.append(label)
        odd = self._choices.deviates(f"tick {label}", _ODD, self._calls.odds.other)
        self._story.tell(
            f"rule {rule.expression}", f"fires for {iso(at_ms)}{f', which {odd}' if odd else ''}"
        )
        for target in () if odd == _NEVER else list(rule.targets.values()):
            function, event = _event(target, iso(at_ms))
            self.came.append((rule.expression, at_ms))
            for number in range(2 if odd == _TWICE else 1):
                own = f"{label}{' second' if number else ''}"
                wait_ms = self._choices.between(f"tick {own} takes", 10, 900) + _LATE_MS.get(odd, 0)
                self._scheduler.after(wait_ms, partial(self._fire, function, event, own))


def _event(target: Mapping[str, Any], time: str) -> tuple[str, Any]:
    """The function that a target is, and the event that its input transformer makes."""
    transformer = target["InputTransformer"]
    if transformer["InputPathsMap"] != {"time": "$.time"}:
        raise Unsupported(f"the input paths {transformer['InputPathsMap']}")
    text = transformer["InputTemplate"].replace("<time>", json.dumps(time))
    return target["Arn"].rpartition(":")[2], json.loads(text)
