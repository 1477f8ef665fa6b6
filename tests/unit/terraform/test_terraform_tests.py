"""Runs Terraform's own tests of the stage and its modules. They mock the provider, or create nothing."""

from pathlib import Path

import pytest

from local import terraform_provider
from tools.terraform_configuration import TERRAFORM, read

TESTED = sorted({file.parent.parent for file in TERRAFORM.rglob("tests/*.tftest.hcl")})

# The tests share the directories in which Terraform keeps the provider.
pytestmark = pytest.mark.xdist_group("terraform_provider")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """Makes an empty file for each function's package, in the directory that the tests name."""
    directory = terraform_provider.LOCAL / "stand-in-packages"
    directory.mkdir(parents=True, exist_ok=True)
    functions = {handler.parent.name for handler in TERRAFORM.parent.glob("functions/*/handler.py")}
    for package in directory.glob("*.zip"):
        if package.stem not in functions:
            package.unlink()
    for name in functions:
        (directory / f"{name}.zip").touch()


def test_the_stage_and_all_its_modules_have_terraform_tests() -> None:
    modules = [block for block in read(TERRAFORM) if block.kind == "module"]
    sources = {(TERRAFORM / block.body.arguments["source"].strip('"')).resolve() for block in modules}

    assert len(sources) >= 3
    assert {TERRAFORM, *sources} <= set(TESTED)


@pytest.mark.parametrize("directory", TESTED, ids=lambda d: d.name)
def test_the_terraform_tests_of_a_directory_pass(directory: Path) -> None:
    with terraform_provider.initialised(directory) as run:
        done = run("test", check=False)

    assert done.returncode == 0, done.stdout + done.stderr
