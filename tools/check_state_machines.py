"""Checks the state machine files: what Step Functions would refuse, and what this project asks of each.

What Step Functions would refuse is found by tools.states_language. What this project asks: a file is JSON
before it is rendered, its placeholders stand only inside strings, and it is JSONata throughout. Every task
has a time limit, retries with full jitter, and a way on for errors.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import states_language

PROJECT = Path(__file__).resolve().parent.parent
PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")

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
    found += problems_of_tasks(machine, "")
    return found + states_language.problems(json.loads(rendered(text)))


def rendered(text: str) -> str:
    """The text as Terraform could fill it in."""
    stand_in = "arn:aws:lambda:eu-central-1:123456789012:function:{}"
    return PLACEHOLDER.sub(lambda m: "aws" if m[1] == "partition" else stand_in.format(m[1]), text)


def problems_of_placeholders(text: str) -> list[str]:
    """Whatever Terraform would take for a template, but is no plain placeholder."""
    rest = PLACEHOLDER.sub("", text)
    return [f'"{sign}" is no placeholder that Terraform fills in' for sign in ("${", "%{") if sign in rest]


def problems_of_tasks(machine: State, place: str) -> Iterator[str]:
    """What this project would have otherwise in the tasks of a machine, or of a branch of one."""
    for name, state in machine.get("States", {}).items():
        if state.get("Type") == "Task":
            yield from (f"{place}{name}: {problem}" for problem in problems_of_task(state))
        for index, branch in enumerate(branches_of(state)):
            yield from problems_of_tasks(branch, f"{place}{name}[{index}].")


def problems_of_task(state: State) -> Iterator[str]:
    """What this project asks of a task."""
    if "TimeoutSeconds" not in state:
        yield 'has no "TimeoutSeconds"'
    if ".waitForTaskToken" in state.get("Resource", "") and "HeartbeatSeconds" not in state:
        yield 'waits for a callback without "HeartbeatSeconds"'
    for name in ("Retry", "Catch"):
        if not state.get(name):
            yield f'has no "{name}"'
    for rule in state.get("Retry", []):
        if "States.ALL" in rule.get("ErrorEquals", []):
            yield "retries by States.ALL instead of named errors"
        if rule.get("MaxAttempts") != 0 and rule.get("JitterStrategy") != "FULL":
            yield f"retries {', '.join(rule.get('ErrorEquals', []))} without full jitter"


def branches_of(state: State) -> list[State]:
    """The machines inside a Parallel or a Map."""
    inner = [state[name] for name in ("ItemProcessor", "Iterator") if name in state]
    return [*state.get("Branches", []), *inner]


def main() -> int:
    """Checks every state machine of the project."""
    files = sorted(PROJECT.glob("statemachine*.asl.json"))
    problems = [f"{file.name}: {problem}" for file in files for problem in problems_in(file.read_text())]
    for problem in problems or [f"state machines: {len(files)} checked, all right"]:
        print(problem)
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
