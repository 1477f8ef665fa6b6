"""Runs the command ``sjm`` against the stage, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.conftest import required

SOURCE = Path(__file__).resolve().parents[2] / "sjm" / "src"

type Run = Callable[..., subprocess.CompletedProcess[str]]


def sjm_of(outputs: dict[str, Any], **environment: str) -> Run:
    """Returns what runs ``sjm`` on the stage, with the keys of the tests or those in ``environment``."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sjm.cli", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                "SJM_URL": outputs["api_url"],
                "AWS_REGION": required("AWS_DEFAULT_REGION"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
