"""An invalid input of the stage or of a module fails the plan with a message that names it."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from local.terraform_provider import environment_for_terraform
from tests.unit.terraform.blocks import TERRAFORM, Block, blocks

# Environments only pass values on to the stage, which checks them.
VARIABLES = [v for v in blocks("variable") if "environments" not in v.file.parts]
CHECKED = [v for v in VARIABLES if v.inner("validation")]
UNCHECKED = [v for v in VARIABLES if not v.inner("validation")]


def directory_of(variable: Block) -> str:
    return variable.file.parent.relative_to(TERRAFORM).as_posix()


def terraform(directory: Path, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["terraform", *arguments],
        cwd=directory,
        env={**environment_for_terraform(), "TF_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("variable", CHECKED, ids=lambda v: v.name)
def test_each_validated_variable_has_a_test_of_its_refusal(variable: Block) -> None:
    """test_terraform_tests.py runs these refusals."""
    expected = [run.partition("expect_failures = [")[2] for run in runs_of(directory_of(variable))]

    assert any(re.search(rf"\bvar\.{variable.labels[0]}\b", each) for each in expected)


def runs_of(directory: str) -> list[str]:
    """The runs in a module's own tests, and the runs in the stage's tests that call this module."""
    found = []
    for file in sorted(TERRAFORM.rglob("tests/*.tftest.hcl")):
        own = file.parent.parent.relative_to(TERRAFORM).as_posix()
        for run in re.findall(r'^run "\w+" \{\n(.*?)^\}', file.read_text(), re.MULTILINE | re.DOTALL):
            source = re.search(r'source = "\./(.*)"', run)
            if (source[1] if source else own) == directory:
                found.append(run)
    return found


def value_of_another_type(variable: Block) -> str:
    return "[]" if variable.argument("type") == "string" else '"perhaps"'


def test_a_variable_without_validation_refuses_a_value_of_another_type(tmp_path: Path) -> None:
    directories = sorted({directory_of(variable) for variable in UNCHECKED})
    calls = []
    for number, directory in enumerate(directories):
        source = os.path.relpath(TERRAFORM / directory, tmp_path)
        variables = [v for v in VARIABLES if directory_of(v) == directory]
        lines = [f'module "m{number}" {{', f'  source = "{source}"']
        lines += [
            f"  {v.labels[0]} = {value_of_another_type(v) if v in UNCHECKED else 'null'}"
            for v in variables
            if v in UNCHECKED or v.argument("default") is None
        ]
        calls += [*lines, "}"]
    (tmp_path / "main.tf").write_text("\n".join(calls))
    started = terraform(tmp_path, tmp_path / "data", "init", "-no-color")
    assert started.returncode == 0, started.stdout + started.stderr

    found = json.loads(terraform(tmp_path, tmp_path / "data", "validate", "-json").stdout)["diagnostics"]

    details = " ".join(d["detail"] for d in found)
    for variable in UNCHECKED:
        module = f"module.m{directories.index(directory_of(variable))}"
        assert f"not suitable for {module}.var.{variable.labels[0]} declared" in details, variable.name
