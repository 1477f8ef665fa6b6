"""Terraform's own tests of the stage and its modules: the provider is mocked, or makes nothing."""

from pathlib import Path

import pytest

from local import terraform_provider
from tools.terraform_configuration import TERRAFORM, read

TESTED = sorted({file.parent.parent for file in TERRAFORM.rglob("tests/*.tftest.hcl")})

# They share the directories in which Terraform keeps the provider.
pytestmark = pytest.mark.xdist_group("terraform_provider")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """Something in the place of each function's package, in the directory that the tests name."""
    directory = terraform_provider.LOCAL / "stand-in-packages"
    directory.mkdir(parents=True, exist_ok=True)
    functions = {handler.parent.name for handler in TERRAFORM.parent.glob("functions/*/handler.py")}
    for package in directory.glob("*.zip"):
        if package.stem not in functions:
            package.unlink()
    for name in functions:
        (directory / f"{name}.zip").touch()


def test_the_stage_and_all_that_it_is_made_of_are_tested() -> None:
    modules = [block for block in read(TERRAFORM) if block.kind == "module"]
    sources = {(TERRAFORM / block.body.arguments["source"].strip('"')).resolve() for block in modules}

    assert len(sources) >= 3
    assert {TERRAFORM, *sources} <= set(TESTED)


@pytest.mark.parametrize("directory", TESTED, ids=lambda d: d.name)
def test_what_it_makes_is_as_its_own_tests_say(directory: Path) -> None:
    with terraform_provider.initialised(directory) as run:
        done = run("test", check=False)

    assert done.returncode == 0, done.stdout + done.stderr
