"""Reads Terraform's configuration: its blocks, with their arguments and the blocks within."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

PROJECT = Path(__file__).resolve().parent.parent
TERRAFORM = PROJECT / "terraform"

# Terraform's own, of every resource and data source.
META_ARGUMENTS = {"count", "depends_on", "for_each", "provider"}
META_BLOCKS = {"connection", "lifecycle", "provisioner"}

_IS_BLOCK = "__is_block__"


@dataclass
class Body:
    """What stands between the braces of a block; a `dynamic` block counts as the blocks that it makes."""

    arguments: dict[str, Any] = field(default_factory=dict)
    blocks: list[tuple[str, "Body"]] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """`kind "label" "label" { body }` of the outermost level."""

    file: Path
    kind: str
    labels: tuple[str, ...]
    body: Body

    @property
    def address(self) -> str:
        """Where it stands and what it is, for a message."""
        return f"{self.file.relative_to(TERRAFORM)}: {self.kind} {'.'.join(self.labels)}"


def directories(under: Path = TERRAFORM) -> list[Path]:
    """All directories with Terraform files: the stage, its modules, its environments."""
    return sorted({file.parent for file in under.rglob("*.tf") if ".terraform" not in file.parts})


@cache
def read(directory: Path) -> tuple[Block, ...]:
    """All blocks of the outermost level in one directory."""
    return tuple(block for file in sorted(directory.glob("*.tf")) for block in _blocks_of(file))


def _is_remark(name: str) -> bool:
    """Whether the parser tells something of the text there, such as its comments."""
    return name.startswith("__")


def _blocks_of(file: Path) -> Iterator[Block]:
    with file.open() as text:
        content = hcl2.load(text)
    for kind, found in content.items():
        for block in () if _is_remark(kind) else found:
            labels, body = _labelled(block)
            yield Block(file, kind, labels, _body(body))


def _labelled(block: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Labels come as keys in quotes, one inside the other."""
    labels = []
    while _IS_BLOCK not in block:
        ((label, block),) = ((k, v) for k, v in block.items() if not _is_remark(k))
        labels.append(label.strip('"'))
    return tuple(labels), block


def _body(block: dict[str, Any]) -> Body:
    body = Body()
    for name, value in block.items():
        if _is_remark(name):
            continue
        if not _are_blocks(value):
            body.arguments[name] = value
            continue
        for inner in value:
            labels, content = _labelled(inner)
            if name == "dynamic":
                made = _body(content["content"][0])
                made.arguments["for_each"] = content["for_each"]
                body.blocks.append((labels[0], made))
            else:
                body.blocks.append((name, _body(content)))
    return body


def _are_blocks(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(v, dict) and _is_block(v) for v in value)


def _is_block(value: dict[str, Any]) -> bool:
    return _IS_BLOCK in value or any(
        key.startswith('"') and isinstance(inner, dict) and _is_block(inner) for key, inner in value.items()
    )


_REFERENCE = re.compile(r"\b(data\.)?(aws_\w+)\.\w+(?:\[[^\]]*\])?\.(\w+)")


def references(body: Body | list[Any] | dict[str, Any] | Any) -> Iterator[tuple[str, str, str]]:
    """What expressions ask of resources and data sources: the kind, the type, the attribute."""
    if isinstance(body, Body):
        yield from references(body.arguments)
        for _, inner in body.blocks:
            yield from references(inner)
    elif isinstance(body, dict):
        for key, value in body.items():
            yield from references(key)
            yield from references(value)
    elif isinstance(body, list):
        for value in body:
            yield from references(value)
    elif isinstance(body, str):
        for data, kind, attribute in _REFERENCE.findall(body):
            yield ("data" if data else "resource", kind, attribute)
