"""The structure of functions/: one-way imports between packages, thin handlers, one writer for each table."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FUNCTIONS = ROOT / "functions"
SHARED = FUNCTIONS / "_shared" / "jobmanager"
MOST_LINES = 60
WRITERS = {
    "JOBS_TABLE": "jobs/store.py",
    "EXECUTIONS_TABLE": "executions/store.py",
    "SCHEDULES_TABLE": "schedules/counts.py",
    "SERVICES_TABLE": "delivery/secrets.py",
    "LIMITS_TABLE": "limits/store.py",
    "ALERTS_TABLE": "alerts/store.py",
}


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=project,
        env={"PYTHONPATH": "functions/_shared", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(FUNCTIONS / "_shared", tmp_path / "functions" / "_shared")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_between_packages_point_one_way(copy: Path) -> None:
    assert lint_imports(copy).returncode == 0


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core/clock.py", "jobmanager.aws.tables"),
        ("executions/store.py", "jobmanager.delivery.notify"),
        ("jobs/lock.py", "jobmanager.executions.store"),
    ],
)
def test_an_import_against_the_order_of_packages_is_refused(copy: Path, importer: str, imported: str) -> None:
    file = copy / "functions" / "_shared" / "jobmanager" / importer
    file.write_text(f"{file.read_text()}\nimport {imported}\n")
    linted = lint_imports(copy)
    assert linted.returncode == 1
    assert imported in linted.stdout


def test_a_package_outside_the_layers_is_refused(copy: Path) -> None:
    package = copy / "functions" / "_shared" / "jobmanager" / "utils"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert lint_imports(copy).returncode == 1


@pytest.mark.parametrize("handler", sorted(FUNCTIONS.glob("*/handler.py")), ids=lambda path: path.parent.name)
def test_a_handler_has_at_most_60_lines(handler: Path) -> None:
    assert len(handler.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(("table", "module"), WRITERS.items(), ids=WRITERS)
def test_only_one_module_reads_and_writes_a_table(table: str, module: str) -> None:
    named_in = {
        path.relative_to(SHARED).as_posix()
        for path in SHARED.rglob("*.py")
        if f'"{table}"' in path.read_text()
    }
    assert named_in == {module}


def test_no_handler_accesses_a_table_directly() -> None:
    for handler in FUNCTIONS.glob("*/handler.py"):
        modules = {
            node.module
            for node in ast.walk(ast.parse(handler.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        assert "jobmanager.aws.tables" not in modules, handler.parent.name
