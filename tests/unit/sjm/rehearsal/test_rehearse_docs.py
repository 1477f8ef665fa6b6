"""The commands and the tests on docs/rehearse.md run, and its tables name what there is."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sjm.cli.app import app
from sjm.cli.command import common_options
from sjm.rehearsal.scenes import NAMES
from tests.unit.sjm.rehearsal.receivers import SECRET, Receiver

ROOT = Path(__file__).resolve().parents[4]
SOURCE = ROOT / "sjm" / "src"
PAGE = (ROOT / "docs" / "rehearse.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(COMMANDS,) = [
    re.findall(r"^\$ (.+)$", text, re.MULTILINE) for language, text in BLOCKS if language == "console"
]
TESTS = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def run(directory: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_commands_run(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "sjm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sjm.cli "$@"\n')
    (tmp_path / "sjm").chmod(0o755)
    script = "\n".join(COMMANDS).replace("http://localhost:8080/jobs/nightly", receiver.url)
    assert receiver.url in script
    done = run(tmp_path, "bash", "-euo", "pipefail", "-c", script, PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("19 passed.\n")


@pytest.mark.parametrize("text", TESTS, ids=["whole", "by scene"])
def test_the_tests_run(receiver: Receiver, tmp_path: Path, text: str) -> None:
    (tmp_path / "test_service.py").write_text(text)
    options = ("-p", "sjm.rehearsal.pytest_plugin", "-p", "no:cacheprovider", "-q")
    done = run(
        tmp_path,
        *(sys.executable, "-m", "pytest", *options, "test_service.py"),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        SERVICE_URL=receiver.url,
        WEBHOOK_SECRET=SECRET,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^(1 passed|19 passed, 1 skipped) in", done.stdout, re.MULTILINE), done.stdout


def test_the_page_has_each_scene_and_each_option() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w-]+)", row)}
    command = app.get_command(click.Context(app), "rehearse")
    assert command
    common = {option for param in common_options() for option in param.opts}
    options = {
        option
        for param in command.get_params(click.Context(command))
        if isinstance(param, click.Option)
        for option in param.opts
    }

    assert set(NAMES) <= named
    assert {name for name in named if name.startswith("--")} == options - common - {"--help", "-h"}
