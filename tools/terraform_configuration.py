"""Reads Terraform's configuration: its blocks, with their arguments and nested blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import hcl2
from lark import Token, Tree

PROJECT = Path(__file__).resolve().parent.parent
TERRAFORM = PROJECT / "terraform"

# Terraform accepts these in every resource and data source.
META_ARGUMENTS = {"count", "depends_on", "for_each", "provider"}
META_BLOCKS = {"connection", "lifecycle", "provisioner"}

_REFERENCE = re.compile(r"\b(data\.)?(aws_\w+)\.\w+(?:\[[^\]]*\])?\.(\w+)")


@dataclass
class Body:
    """The content of a block. A `dynamic` block counts as the blocks that it generates."""

    # The source text of each argument's expression.
    arguments: dict[str, str] = field(default_factory=dict)
    blocks: list[tuple[str, "Body"]] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """A top-level block: `kind "label" "label" { body }`."""

    file: Path
    kind: str
    labels: tuple[str, ...]
    body: Body

    @property
    def address(self) -> str:
        """The file and the name of the block, for messages."""
        return f"{self.file.relative_to(TERRAFORM)}: {self.kind} {'.'.join(self.labels)}"


def directories(under: Path = TERRAFORM) -> list[Path]:
    """All directories with Terraform files: the stage, its modules and its environments."""
    return sorted({file.parent for file in under.rglob("*.tf") if ".terraform" not in file.parts})


@cache
def read(directory: Path) -> tuple[Block, ...]:
    """All top-level blocks in one directory."""
    return tuple(block for file in sorted(directory.glob("*.tf")) for block in _blocks_of(file))


def _blocks_of(file: Path) -> Iterator[Block]:
    text = file.read_text()
    (outermost,) = hcl2.parses_to_tree(text).children
    for block in _of(outermost, "block"):
        (kind, *labels), body = _labelled(block, text)
        yield Block(file, kind, tuple(labels), _body(body, text))


def _of(tree: Tree[Token], kind: str) -> list[Tree[Token]]:
    """A tree's children of one kind."""
    return [child for child in tree.children if isinstance(child, Tree) and child.data == kind]


def _text(tree: Tree[Token], text: str) -> str:
    return text[tree.meta.start_pos : tree.meta.end_pos]


def _labelled(block: Tree[Token], text: str) -> tuple[list[str], Tree[Token]]:
    """A block's kind and labels, and its body."""
    *labels, body = (child for child in block.children if isinstance(child, Tree))
    return [_text(label, text).strip('"') for label in labels if label.data in {"identifier", "string"}], body


def _body(tree: Tree[Token], text: str) -> Body:
    body = Body()
    for attribute in _of(tree, "attribute"):
        name, expression = (child for child in attribute.children if isinstance(child, Tree))
        body.arguments[_text(name, text)] = _text(expression, text)
    for block in _of(tree, "block"):
        (kind, *labels), inner = _labelled(block, text)
        found = _body(inner, text)
        if kind == "dynamic":
            (content,) = (made for name, made in found.blocks if name == "content")
            content.arguments["for_each"] = found.arguments["for_each"]
            body.blocks.append((labels[0], content))
        else:
            body.blocks.append((kind, found))
    return body


def references(body: Body) -> Iterator[tuple[str, str, str]]:
    """The attributes of resources and data sources that expressions read: kind, type and attribute."""
    for expression in body.arguments.values():
        for data, type_, attribute in _REFERENCE.findall(expression):
            yield ("data" if data else "resource", type_, attribute)
    for _, inner in body.blocks:
        yield from references(inner)
