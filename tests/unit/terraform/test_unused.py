"""The stage, its modules and its environments declare nothing that they do not use."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.terraform_configuration import TERRAFORM, Block, Body, directories, read

# All environments share the files beside them, and link to these.
# The local stage can replace a file with that of packaged_provider.
NOT_ALONE = (TERRAFORM / "environments", TERRAFORM / "environments" / "local" / "packaged_provider")
DIRECTORIES = [directory for directory in directories() if directory not in NOT_ALONE]
# Only the stage calls these modules, so each of their outputs must be used there or in the modules beside it.
OF_THE_STAGE = sorted(
    {TERRAFORM / "modules" / name for name in ("dead_letter_queue", "function", "state_machine")}
)

each_directory = pytest.mark.parametrize(
    "directory", DIRECTORIES, ids=lambda d: d.relative_to(TERRAFORM.parent).as_posix()
)


def expressions(body: Body) -> Iterator[str]:
    yield from body.arguments.values()
    for _, inner in body.blocks:
        yield from expressions(inner)


def text_of(blocks: list[Block]) -> str:
    return "\n".join(text for block in blocks for text in expressions(block.body))


def unused(directory: Path) -> list[str]:
    """The variables, attributes of variables, locals and data sources that no other expression names."""
    blocks = list(read(directory))
    everything = text_of(blocks)
    found = []
    for block in blocks:
        elsewhere = text_of([other for other in blocks if other is not block])
        if block.kind == "variable":
            found += unused_of_variable(block, elsewhere)
        if block.kind == "locals":
            names = [f"local.{name}" for name in block.body.arguments]
            found += [name for name in names if not re.search(rf"\b{name}\b", everything)]
        if block.kind == "data":
            name = ".".join(("data", *block.labels))
            found += [name] if not re.search(rf"\b{name}\b", elsewhere) else []
    return found


def unused_of_variable(block: Block, elsewhere: str) -> list[str]:
    """The variable, if nothing uses it. Otherwise its unused attributes, unless it is used as a whole."""
    name = f"var.{block.labels[0]}"
    if not re.search(rf"\b{name}\b", elsewhere):
        return [name]
    is_used_whole = re.search(rf"\b{name}\b(?!\.\w)(?! [!=]= null)", elsewhere)
    type_ = block.body.arguments.get("type", "")
    if is_used_whole or not type_.startswith("object("):
        return []
    attributes = re.findall(r"^    (\w+) +=", type_, re.MULTILINE)
    return [f"{name}.{each}" for each in attributes if not re.search(rf"\b{name}\.{each}\b", elsewhere)]


@each_directory
def test_every_variable_local_and_data_source_is_used(directory: Path) -> None:
    assert unused(directory) == []


@pytest.mark.parametrize("module", OF_THE_STAGE, ids=lambda d: d.name)
def test_every_output_of_a_module_of_the_stage_is_used(module: Path) -> None:
    callers = [TERRAFORM, *(d for d in (TERRAFORM / "modules").iterdir() if d != module)]
    blocks = [block for directory in callers for block in read(directory)]
    tests = [file.read_text() for file in (TERRAFORM / "tests").glob("*.tftest.hcl")]
    expressions_of_callers = "\n".join([text_of(blocks), *tests])
    calls = [
        rf"module\.{block.labels[0]}(?:\[0\])?"
        for block in blocks
        if block.kind == "module" and block.body.arguments["source"].strip('"').endswith(f"/{module.name}")
    ]
    if module.name == "function":
        calls += [
            r"local\.functions\[[\w.]+\]",
            r"\bfunction",
        ]  # the second in `for function in local.functions`
    outputs = [block.labels[0] for block in read(module) if block.kind == "output"]

    assert calls
    assert outputs
    assert [
        name for name in outputs if not re.search(rf"(?:{'|'.join(calls)})\.{name}\b", expressions_of_callers)
    ] == []


def test_unused_declarations_are_found(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        """\
variable "used" {
  type = string
}

variable "forgotten" {
  type = string

  validation {
    condition     = var.forgotten != ""
    error_message = "The forgotten must not be empty."
  }
}

variable "settings" {
  type = object({
    one = string
    two = string
  })
}

locals {
  used      = var.used
  one       = var.settings == null ? "" : var.settings.one
  forgotten = local.used # local.forgotten
}

data "aws_region" "current" {}

output "out" {
  value = local.one
}
"""
    )

    assert unused(tmp_path) == [
        "var.forgotten",
        "var.settings.two",
        "local.forgotten",
        "data.aws_region.current",
    ]
