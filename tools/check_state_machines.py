"""Checks the state machine files against Step Functions' rules and against this project's rules.

tools.states_language checks the rules of Step Functions. This project adds its own: a file is JSON before it
is rendered, so its placeholders stand only inside strings. It uses only JSONata. Every task has a time limit,
retries with full jitter, and catches errors.
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
    """All problems of one state machine's text."""
    try:
        machine = json.loads(text)
    except ValueError as error:
        return [f"is not JSON before it is rendered, so put placeholders inside strings: {error}"]
    found = []
    if machine.get("QueryLanguage") != "JSONata":
        found.append('"QueryLanguage" must be "JSONata"')
    found += problems_of_placeholders(text)
    found += problems_of_tasks(machine, "")
    return found + states_language.problems(json.loads(rendered(text)))


def rendered(text: str) -> str:
    """The text as Terraform would render it, with stand-ins for the ARNs."""
    stand_in = "arn:aws:lambda:eu-central-1:123456789012:function:{}"
    return PLACEHOLDER.sub(lambda m: "aws" if m[1] == "partition" else stand_in.format(m[1]), text)


def problems_of_placeholders(text: str) -> list[str]:
    """The template signs outside plain placeholders. Terraform would evaluate them."""
    rest = PLACEHOLDER.sub("", text)
    return [f'"{sign}" begins no placeholder such as "${{name}}"' for sign in ("${", "%{") if sign in rest]


def problems_of_tasks(machine: State, place: str) -> Iterator[str]:
    """The problems of all tasks in a machine or in a branch of one."""
    for name, state in machine.get("States", {}).items():
        if state.get("Type") == "Task":
            yield from (f"{place}{name}: {problem}" for problem in problems_of_task(state))
        for index, branch in enumerate(branches_of(state)):
            yield from problems_of_tasks(branch, f"{place}{name}[{index}].")


def problems_of_task(state: State) -> Iterator[str]:
    """The rules of this project that a task breaks."""
    if "TimeoutSeconds" not in state:
        yield 'has no "TimeoutSeconds"'
    if ".waitForTaskToken" in state.get("Resource", "") and "HeartbeatSeconds" not in state:
        yield 'waits for a callback but has no "HeartbeatSeconds"'
    for name in ("Retry", "Catch"):
        if not state.get(name):
            yield f'has no "{name}"'
    for rule in state.get("Retry", []):
        if "States.ALL" in rule.get("ErrorEquals", []):
            yield "retries States.ALL instead of named errors"
        if rule.get("MaxAttempts") != 0 and rule.get("JitterStrategy") != "FULL":
            yield f"retries {', '.join(rule.get('ErrorEquals', []))} without full jitter"


def branches_of(state: State) -> list[State]:
    """The machines inside a Parallel or a Map."""
    inner = [state[name] for name in ("ItemProcessor", "Iterator") if name in state]
    return [*state.get("Branches", []), *inner]


def main() -> int:
    """Checks every state machine of the project, and returns 1 if there are problems."""
    files = sorted(PROJECT.glob("statemachine*.asl.json"))
    problems = [f"{file.name}: {problem}" for file in files for problem in problems_in(file.read_text())]
    for problem in problems or [f"state machines: {len(files)} checked, no problems"]:
        print(problem)
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
