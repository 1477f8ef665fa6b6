"""Terraform's own tests of the modules beside a stage, with a provider that makes nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from local.terraform_provider import environment_for_terraform
from tests.unit.terraform.blocks import TERRAFORM

MODULES = sorted(path.parent.parent for path in TERRAFORM.rglob("modules/*/tests/*.tftest.hcl"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_passes_its_own_tests(module: Path, tmp_path: Path) -> None:
    environment = environment_for_terraform() | {"TF_DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in (["init", "-backend=false"], ["test"]):
        done = subprocess.run(
            ["terraform", *command, "-no-color"],
            cwd=module,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
