"""Finds what Step Functions would reject in a state machine with JSONata.

statelint checks the Amazon States Language, but accepts any text as a JSONata expression. This module parses
the expressions, and checks that Step Functions provides the names that they use.
https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

import re
from collections.abc import Iterator
from typing import Any

from jsonata import Jsonata
from jsonata.jexception import JException
from jsonata.parser import Parser
from statelint.linter import Linter

EXPRESSION = re.compile(r"\{%(.*)%\}", re.DOTALL)
# statelint 3.1 is stricter than the language, which accepts integers as BackoffRate and expressions here:
# https://states-language.net/spec.html#using-jsonata
FALSE_ALARMS = re.compile(
    r"BackoffRate is \d+ but should be a Float"
    r'|(?:Timeout|Heartbeat)?Seconds is "\{%.*%\}" but should be an Integer'
    r'|Timestamp is "\{%.*%\}" but should be an RFC3339 timestamp',
    re.DOTALL,
)

ADDED_BY_AWS = {"hash", "parse", "partition", "random", "range", "uuid"}
PROVIDED = (set(Jsonata.static_frame.bindings) | ADDED_BY_AWS | {"states"}) - {"eval"}
# https://states-language.net/spec.html#state-machine-fields
LONGEST_NAME = 80
# $states always has these fields. In Assign and Output it also has a result, or an error within a Catch.
ALWAYS_IN_STATES = {"context", "input"}
FIELDS_AFTER_THE_TASK = {"Assign", "Output"}


def problems(machine: dict[str, Any]) -> list[str]:
    """All problems of a rendered machine."""
    found = [problem.removeprefix("State Machine.") for problem in Linter.validate(machine)]
    found = [problem for problem in found if not FALSE_ALARMS.search(problem)]
    found += _problems_of_states(machine)
    assigned = set(_assigned(machine))
    return found + [
        f"{'.'.join(place)}: {problem}"
        for place, text in _texts(machine, ())
        for problem in _problems_of_text(text, place, assigned)
    ]


def _problems_of_states(value: Any) -> Iterator[str]:
    """The problems that statelint misses."""
    if isinstance(value, dict):
        for name, state in value.get("States", {}).items():
            if len(name) > LONGEST_NAME:
                yield f"{name}: the name has more than {LONGEST_NAME} characters"
            if state.get("Type") == "Task" and not state.get("Resource", "").startswith("arn:"):
                yield f"{name}: its Resource is not an ARN"
        for inner in value.values():
            yield from _problems_of_states(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _problems_of_states(inner)


def _texts(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a machine that may be an expression, and its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "Comment":
                yield from _texts(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*place, str(index)))
    elif isinstance(value, str):
        yield place, value


def _assigned(value: Any) -> Iterator[str]:
    """The variables that a machine assigns, anywhere in it."""
    if isinstance(value, dict):
        yield from value.get("Assign", {})
        for inner in value.values():
            yield from _assigned(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _assigned(inner)


def _problems_of_text(text: str, place: tuple[str, ...], assigned: set[str]) -> Iterator[str]:
    if "{%" not in text and "%}" not in text:
        return
    match = EXPRESSION.fullmatch(text)
    if match is None:
        yield f"an expression must begin with {{% and end with %}}: {text}"
        return
    try:
        tree = Jsonata(match[1]).ast
    except JException as error:
        yield f"is not valid JSONata: {error}: {text}"
        return
    in_states = set(ALWAYS_IN_STATES)
    if FIELDS_AFTER_THE_TASK.intersection(place):
        in_states.add("errorOutput" if "Catch" in place else "result")
    known = PROVIDED | assigned | set(_bound(tree))
    for name, following in _variables(tree):
        if name and name not in known:
            yield f"there is no ${name}: {text}"
        if name == "states" and following not in in_states:
            yield f"there is no $states.{following} here: {text}"


def _nodes(node: Any, seen: set[int]) -> Iterator[Any]:
    """All nodes of an expression's tree, each once."""
    if isinstance(node, list | tuple):
        for inner in node:
            yield from _nodes(inner, seen)
    elif isinstance(node, Parser.Symbol) and id(node) not in seen:
        seen.add(id(node))
        yield node
        for inner in vars(node).values():
            yield from _nodes(inner, seen)


def _bound(tree: Any) -> Iterator[str]:
    """The names that an expression defines itself: with :=, or as the parameters of a function."""
    for node in _nodes(tree, set()):
        if node.type == "bind" and node.lhs is not None:
            yield node.lhs.value
        if node.type == "lambda":
            yield from (parameter.value for parameter in node.arguments)


def _variables(tree: Any) -> Iterator[tuple[str, str | None]]:
    """Every variable and called function, and the field that is read from it, if any."""
    followed = {}
    for node in _nodes(tree, set()):
        if node.type == "path":
            for before, after in zip(node.steps, node.steps[1:], strict=False):
                followed[id(before)] = after.value
    for node in _nodes(tree, set()):
        if node.type == "variable":
            yield str(node.value), followed.get(id(node))
