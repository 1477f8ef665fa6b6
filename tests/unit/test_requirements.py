"""requirements/stage.txt is a part of requirements/dev.txt, and has all that a stage and the command need."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = {"jobmanager", "local", "sjm", "tools"}
# It is installed where pytest is.
OF_PYTEST = ROOT / "sjm" / "src" / "sjm" / "rehearsal" / "pytest_plugin.py"
SOURCES = sorted(
    path
    for path in (
        *(ROOT / "local").rglob("*.py"),
        *(ROOT / "sjm" / "src").rglob("*.py"),
        *(ROOT / "tools" / f"{name}.py" for name in ("bytecode", "console_assets", "package")),
    )
    if path != OF_PYTEST
)


def pins(lock: str) -> dict[str, set[str]]:
    """The hashes of each ``name==version`` that a lock has."""
    text = (ROOT / "requirements" / lock).read_text()
    parts = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return {part.split()[0]: set(re.findall(r"--hash=(\S+)", part)) for part in parts if "==" in part}


def imported(path: Path) -> Iterator[str]:
    """The packages that a module imports, without those that only type checkers need."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def test_what_the_stage_needs_is_a_part_of_what_all_needs() -> None:
    of_the_stage = pins("stage.txt")
    assert len(of_the_stage) > 30
    assert of_the_stage.items() <= pins("dev.txt").items()


def test_the_stage_and_the_command_import_only_what_is_installed_for_them() -> None:
    names = {pin.partition("==")[0] for pin in pins("stage.txt")}
    found = packages_distributions()
    of_stage = {package for package, of in found.items() if names & {name.lower() for name in of}}
    allowed = sys.stdlib_module_names | OWN | of_stage
    wrong = {str(path.relative_to(ROOT)): {*imported(path)} - allowed for path in SOURCES}
    assert {path: packages for path, packages in wrong.items() if packages} == {}
