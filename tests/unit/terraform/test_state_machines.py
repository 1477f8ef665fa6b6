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
