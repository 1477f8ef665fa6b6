import json
import re

import pytest

from tests.unit.terraform.blocks import ROOT, Block, blocks

MACHINES = [b for b in blocks("module", deep=False) if b.argument("source") == '"./modules/state_machine"']

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.labels[0])


def definition(machine: Block) -> str:
    path = (machine.argument("definition_file") or "").strip('"').removeprefix("${path.module}/../")
    return (ROOT / path).read_text()


@each_machine
def test_every_placeholder_is_given_and_every_function_given_is_used(machine: Block) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", definition(machine)))
    given = {f"{name}_arn" for name in re.findall(r"(\w+) += module\.\w+\.arn", machine.body)}

    assert wanted == given | {"partition"}


@each_machine
def test_a_placeholder_bears_its_functions_name(machine: Block) -> None:
    given = re.findall(r"(\w+) += module\.(\w+)\.arn", machine.body)

    assert given
    assert all(name == module for name, module in given)


@each_machine
def test_the_definition_parses_before_it_is_rendered(machine: Block) -> None:
    assert json.loads(definition(machine))["QueryLanguage"] == "JSONata"


def test_every_definition_has_its_machine() -> None:
    files = {(m.argument("definition_file") or "").strip('"').rpartition("/")[2] for m in MACHINES}

    assert files == {path.name for path in ROOT.glob("*.asl.json")}


def test_an_execution_waits_long_for_lambda_to_have_room() -> None:
    """Many jobs due at once may be more than the account's concurrency; what is throttled has not run."""
    states = json.loads((ROOT / "statemachine.asl.json").read_text())["States"]
    tasks = [state for state in states.values() if state["Type"] == "Task"]
    assert tasks
    for task in tasks:
        [throttled] = [
            retrier
            for retrier in task["Retry"]
            if "Lambda.TooManyRequestsException" in retrier["ErrorEquals"]
        ]
        waits = [
            min(throttled["IntervalSeconds"] * throttled["BackoffRate"] ** n, throttled["MaxDelaySeconds"])
            for n in range(throttled["MaxAttempts"])
        ]
        assert sum(waits) / 2 > 600
