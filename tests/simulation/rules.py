"""EventBridge: rules with their targets, and when they fire.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jobmanager.core.clock import iso
from tests.clock_model import Fires
from tests.simulation.each_minute import EachMinute
from tests.simulation.scheduler import Scheduler
from tests.simulation.ticks import Ticks
from tests.stand_ins.errors import Unsupported, client_error

type Json = dict[str, Any]


@dataclass
class Rule:
    """A rule; ``since_ms``: when it was put, from which a rate counts."""

    name: str
    expression: str
    state: str
    since_ms: int
    targets: dict[str, Json] = field(default_factory=dict)

    def fires(self) -> Fires:
        """When it fires: a rate for the first time when its period has passed."""
        fires = Fires(self.expression)
        return Fires(self.expression, start_ms=self.since_ms) if fires.is_rate else fires

    def described(self) -> Json:
        """As DescribeRule and ListRules have it."""
        return {"Name": self.name, "ScheduleExpression": self.expression, "State": self.state}


class EventBridge(EachMinute):
    """The rules of the default bus."""

    def __init__(self, scheduler: Scheduler, ticks: Ticks) -> None:
        super().__init__(scheduler)
        self._ticks = ticks
        self.rules: dict[str, Rule] = {}

    def put_rule(self, Name: str, ScheduleExpression: str, State: str, **_: Any) -> Json:
        """Makes or replaces a rule; its targets stay."""
        old = self.rules.get(Name)
        targets = old.targets if old else {}
        rule = Rule(Name, ScheduleExpression, State, self._scheduler.now_ms, targets)
        self.rules[Name] = rule
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

    def change_by_hand(self, name: str, change: Json) -> None:
        """Changes what a rule has, as a person may."""
        rule = self._rule(name)
        expression = change.get("ScheduleExpression", rule.expression)
        self.put_rule(name, expression, change.get("State", rule.state))
        if arn := change.get("Target", {}).get("Arn"):
            rule.targets.update({each: {**target, "Arn": arn} for each, target in rule.targets.items()})

    def _rule(self, name: str) -> Rule:
        if name not in self.rules:
            raise client_error("ResourceNotFoundException", f"Rule {name} does not exist.")
        return self.rules[name]

    # --- the ticks ----------------------------------------------------------------------------------------

    def _fire_due(self, at_ms: int) -> None:
        for rule in sorted(self.rules.values(), key=lambda rule: rule.name):
            fires = rule.fires()
            if not fires.is_rate and fires.fires_at(at_ms):
                self._tick(rule, at_ms)

    def _await_rate(self, rule: Rule) -> None:
        now_ms, fires = self._scheduler.now_ms, rule.fires()
        if fires.is_rate:
            for at_ms in islice(fires.between(now_ms, self.stops_at_ms), 1):
                self._scheduler.after(at_ms - now_ms, lambda: self._rate(rule))

    def _rate(self, rule: Rule) -> None:
        if self.rules.get(rule.name) is rule:
            self._tick(rule, self._scheduler.now_ms)
            self._await_rate(rule)

    def _tick(self, rule: Rule, at_ms: int) -> None:
        if rule.state == "ENABLED":
            deliveries = [_event(target, iso(at_ms)) for target in rule.targets.values()]
            self._ticks.tick("rule", rule.expression, at_ms, deliveries)


def _event(target: Mapping[str, Any], time: str) -> tuple[str, Any]:
    """The function that a target is, and the event that its input transformer makes."""
    transformer = target["InputTransformer"]
    if transformer["InputPathsMap"] != {"time": "$.time"}:
        raise Unsupported(f"the input paths {transformer['InputPathsMap']}")
    text = transformer["InputTemplate"].replace("<time>", json.dumps(time))
    return target["Arn"].rpartition(":")[2], json.loads(text)
