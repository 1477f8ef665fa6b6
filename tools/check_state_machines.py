"""Checks the state machine files: what Step Functions would refuse, and what this project asks of each.

A file is JSON before it is rendered, its placeholders stand only inside strings, and it is JSONata
throughout. Every state is reached, every transition leads to a state. Every task has a time limit, retries
with full jitter, and a way on for errors.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PLACEHOLDER = re.compile(r"\$\{[a-z][a-z0-9_]*\}")
TERMINAL_TYPES = {"Succeed", "Fail"}
TYPES = TERMINAL_TYPES | {"Task", "Pass", "Choice", "Wait", "Parallel", "Map"}
JSONPATH_FIELDS = ("InputPath", "OutputPath", "ResultPath", "ResultSelector", "Parameters")

State = dict[str, Any]


def problems_in(text: str) -> list[str]:
    """All that is wrong with one state machine's text."""
    try:
        machine = json.loads(text)
    except ValueError as error:
        return [f"is not JSON before it is rendered: {error}"]
    found = []
    if machine.get("QueryLanguage") != "JSONata":
        found.append('"QueryLanguage" is not "JSONata"')
    found += problems_of_placeholders(text)
    found += problems_of_states(machine, "")
    return found


def problems_of_placeholders(text: str) -> list[str]:
    """Whatever Terraform would take for a template, but is no plain placeholder."""
    rest = PLACEHOLDER.sub("", text)
    return [f'"{sign}" is no placeholder that Terraform fills in' for sign in ("${", "%{") if sign in rest]


def problems_of_states(machine: State, place: str) -> list[str]:
    """What is wrong with a machine, or a branch of one."""
    states: dict[str, State] = machine.get("States", {})
    start = machine.get("StartAt")
    if start not in states:
        return [f'{place}"StartAt" names no state: {start}']
    found = []
    for name, state in states.items():
        found += [f"{place}{name}: {problem}" for problem in problems_of_state(state, states)]
        for index, branch in enumerate(branches_of(state)):
            found += problems_of_states(branch, f"{place}{name}[{index}].")
    unreached = set(states) - reached_from(start, states)
    return found + [f"{place}{name}: no transition leads here" for name in sorted(unreached)]


def problems_of_state(state: State, states: dict[str, State]) -> Iterator[str]:
    """What is wrong with one state."""
    kind = state.get("Type")
    if kind not in TYPES:
        yield f"unknown Type {kind}"
    for target in transitions_of(state):
        if target not in states:
            yield f"leads to {target}, which is no state"
    ways_on = ("Next" in state) + ("End" in state)
    if kind not in TERMINAL_TYPES | {"Choice"} and ways_on != 1:
        yield 'needs either "Next" or "End"'
    for name in JSONPATH_FIELDS:
        if name in state:
            yield f'"{name}" is JSONPath'
    if kind == "Task":
        yield from problems_of_task(state)


def problems_of_task(state: State) -> Iterator[str]:
    """What this project asks of a task."""
    if "TimeoutSeconds" not in state:
        yield 'has no "TimeoutSeconds"'
    if ".waitForTaskToken" in state.get("Resource", "") and "HeartbeatSeconds" not in state:
        yield 'waits for a callback without "HeartbeatSeconds"'
    for name in ("Retry", "Catch"):
        rules: list[State] = state.get(name, [])
        if not rules:
            yield f'has no "{name}"'
        for rule in rules:
            errors = rule.get("ErrorEquals", [])
            if not errors:
                yield f'a rule of "{name}" names no error'
            if "States.ALL" in errors and (errors != ["States.ALL"] or rule is not rules[-1]):
                yield f'in "{name}", States.ALL must stand alone and last'
    for rule in state.get("Retry", []):
        if "States.ALL" in rule.get("ErrorEquals", []):
            yield "retries by States.ALL instead of named errors"
        if rule.get("MaxAttempts") != 0 and rule.get("JitterStrategy") != "FULL":
            yield f"retries {', '.join(rule.get('ErrorEquals', []))} without full jitter"


def transitions_of(state: State) -> Iterator[str]:
    """Where a state may lead."""
    if "Next" in state:
        yield state["Next"]
    if "Default" in state:
        yield state["Default"]
    for rule in [*state.get("Choices", []), *state.get("Catch", [])]:
        yield rule.get("Next", "nowhere")


def branches_of(state: State) -> list[State]:
    """The machines inside a Parallel or a Map."""
    inner = [state[name] for name in ("ItemProcessor", "Iterator") if name in state]
    return [*state.get("Branches", []), *inner]


def reached_from(start: str, states: dict[str, State]) -> set[str]:
    """The states that an execution can come to."""
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        name = ahead.pop()
        if name in states and name not in reached:
            reached.add(name)
            ahead += transitions_of(states[name])
    return reached


def main() -> int:
    """Checks every state machine of the project."""
    files = sorted(PROJECT.glob("statemachine*.asl.json"))
    problems = [f"{file.name}: {problem}" for file in files for problem in problems_in(file.read_text())]
    for problem in problems or [f"state machines: {len(files)} checked, all right"]:
        print(problem)
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
