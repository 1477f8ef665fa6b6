"""Reads Terraform's sources as text. It works only for formatted sources, which is enough for these tests."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TERRAFORM = ROOT / "terraform"
ENVIRONMENTS = ("local", "dev", "prod")

# In formatted code, a top-level block ends with the first brace at the beginning of a line.
_BLOCK = re.compile(r'^(\w+)((?: "[^"]+")*) \{(?:\}|\n(.*?)^\})$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """``kind "label" "label" { body }``."""

    file: Path
    kind: str
    labels: tuple[str, ...]
    body: str

    @property
    def name(self) -> str:
        """The file, the kind and the labels, for the messages of failed tests."""
        return f"{self.file.relative_to(TERRAFORM)}: {self.kind} {'.'.join(self.labels)}"

    def argument(self, name: str) -> str | None:
        """The text of an argument's value on one line, or None."""
        match = re.search(rf"^  {name} += (.*)$", self.body, re.MULTILINE)
        return match[1] if match else None

    def inner(self, kind: str) -> list[str]:
        """The bodies of the nested blocks of this kind, at every depth."""
        pattern = rf'^( +)(?:{kind}|dynamic "{kind}") \{{\n(.*?)^\1\}}$'
        return [match[2] for match in re.finditer(pattern, self.body, re.MULTILINE | re.DOTALL)]


def blocks(*kinds: str, under: Path = TERRAFORM, deep: bool = True) -> list[Block]:
    """All blocks of these kinds in the directory. Skips links, so that a linked file counts once."""
    files = (
        sorted(f for f in under.rglob("*.tf") if not f.is_symlink()) if deep else sorted(under.glob("*.tf"))
    )
    return [
        Block(file, match[1], tuple(re.findall(r'"([^"]+)"', match[2])), match[3] or "")
        for file in files
        if ".terraform" not in file.parts
        for match in _BLOCK.finditer(file.read_text())
        if match[1] in kinds
    ]


def local_map(name: str, body: str) -> str:
    """The text between the braces of ``name = {`` in a locals block, or of the first map that it merges."""
    match = re.search(rf"^  {name} += (?:merge\()?\{{\n(.*?)^  \}}", body, re.MULTILINE | re.DOTALL)
    assert match, f"there is no local {name}"
    return match[1]


def stage_locals() -> str:
    """The bodies of all locals blocks of the stage."""
    return "\n".join(block.body for block in blocks("locals", under=TERRAFORM, deep=False))


def function_modules() -> dict[str, Block]:
    """The stage's functions: the module block of each, by name."""
    return {
        block.labels[0]: block
        for block in blocks("module", under=TERRAFORM, deep=False)
        if block.argument("source") == '"./modules/function"'
    }


def fork_functions() -> dict[str, Block]:
    """The functions of the modules beside a stage: the module block of each, by name."""
    return {
        block.labels[0]: block
        for block in blocks("module", under=TERRAFORM / "modules")
        if block.argument("source") == '"../function"'
    }


def routes() -> dict[str, tuple[str, str]]:
    """The function and the authorization of each route of the API."""
    line = re.compile(r'"([A-Z]+ /[^"]*)" += \{ function = "(\w+)", authorization = "(\w+)" \}')
    return {
        key: (function, kind) for key, function, kind in line.findall(local_map("routes", stage_locals()))
    }


def policy_documents(module: Block) -> list[Block]:
    """The documents of a function's policy: its own, then the sources of this one, and their sources.

    A document that is a source twice appears twice, as Terraform would refuse it.
    """
    documents = {
        block.labels[1]: block
        for block in blocks("data", under=module.file.parent, deep=False)
        if block.labels[0] == "aws_iam_policy_document"
    }
    pending, found = [module.argument("policy") or ""], list[Block]()
    while pending:
        for label in re.findall(r"aws_iam_policy_document\.(\w+)(?:\[0\])?\.json", pending.pop(0)):
            found.append(documents[label])
            pending.append(source_policy_documents(documents[label]))
    return found


def source_policy_documents(document: Block) -> str:
    """The text of a document's argument source_policy_documents, or an empty text."""
    match = re.search(r"^  source_policy_documents = (\[.*?\])$", document.body, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


def policy_statements(module: Block) -> list[str]:
    """The statements of a function's policy in all its documents, without those that every function has."""
    return [text for document in policy_documents(module) for text in document.inner("statement")]
