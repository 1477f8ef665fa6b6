"""The folder of a service's own Terraform, with a few lines for the module jobs. It has no provider."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parents[1] / "terraform" / "modules" / "jobs"


class ServiceTerraform:
    """Runs Terraform in such a folder. Write a configuration, then ``init``, before anything else."""

    def __init__(self, folder: Path, stage: str, service_name: str, environment: Mapping[str, str]) -> None:
        """Takes the environment in which the service's pipeline runs, with its credentials."""
        self.folder = folder
        self._lines = {
            "source": json.dumps(os.path.relpath(MODULE, folder)),
            "stage": json.dumps(stage),
            "service": json.dumps(service_name),
        }
        # The commands of the module run python3, which must have botocore.
        python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**environment, "PATH": python}

    def write(self, jobs: Mapping[str, Any], /, **more: str) -> None:
        """Writes the configuration with these jobs. ``more`` are further arguments, as HCL."""
        lines = self._lines | {"jobs": json.dumps(jobs).replace("${", "$${")} | more
        body = "\n".join(f"  {name} = {value}" for name, value in lines.items())
        (self.folder / "main.tf").write_text(f'module "jobs" {{\n{body}\n}}\n')

    def run(self, *arguments: str, succeeds: bool = True) -> str:
        """Runs Terraform. Returns what it printed on one line, without frames."""
        done = subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        printed = " ".join((done.stdout + done.stderr).replace("│", " ").split())
        assert (done.returncode == 0) == succeeds, printed
        return printed
