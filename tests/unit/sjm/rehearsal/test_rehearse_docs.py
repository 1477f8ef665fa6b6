"""The commands and the tests on docs/rehearse.md run, and its tables name what there is."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from sjm.cli.app import app
from sjm.cli.command import common_options
from sjm.rehearsal.scenes import NAMES
from tests.unit.sjm.rehearsal.receivers import SECRET, Receiver
from tests.unit.sjm.rehearsal.rehearsals import patient_waits

ROOT = Path(__file__).resolve().parents[4]
SOURCE = ROOT / "sjm" / "src"
PAGE = (ROOT / "docs" / "rehearse.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(COMMANDS,) = [
    re.findall(r"^\$ (.+)$", text, re.MULTILINE) for language, text in BLOCKS if language == "console"
]
TESTS = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


# One worker runs the page once.
pytestmark = pytest.mark.xdist_group("rehearsal_page")
TIMEOUT = patient_waits().ttl_seconds
ALL_BUT_HEARTBEATS = len(NAMES) - 3


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """What the page's commands and tests printed. They run at the same time, because they mostly wait."""
    directory: Path = tmp_path_factory.mktemp("page")
    (directory / "sjm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sjm.cli "$@"\n')
    (directory / "sjm").chmod(0o755)
    options = ("-p", "sjm.rehearsal.pytest_plugin", "-p", "no:cacheprovider", "-q")
    with Receiver() as receiver, ThreadPoolExecutor() as pool:
        script = "\n".join(COMMANDS).replace("http://localhost:8080/jobs/nightly", receiver.url)
        assert receiver.url in script
        commands: dict[str, tuple[str, ...]] = {
            "commands": ("bash", "-euo", "pipefail", "-c", f"{script} --timeout {TIMEOUT}")
        }
        for name, text in TESTS.items():
            (directory / name).write_text(text.replace("secret=", f"timeout={TIMEOUT}, secret="))
            commands[name] = (sys.executable, "-m", "pytest", *options, name)
        environment = {
            "PATH": f"{directory}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "SERVICE_URL": receiver.url,
            "WEBHOOK_SECRET": SECRET,
        }
        results = {
            name: pool.submit(
                subprocess.run,
                command,
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            for name, command in commands.items()
        }
        yield {name: result.result() for name, result in results.items()}


@pytest.mark.parametrize("name", ["commands", *TESTS])
def test_what_the_page_shows_runs(done: dict[str, subprocess.CompletedProcess[str]], name: str) -> None:
    found = done[name]
    passed = re.search(r"(\d+) passed", found.stdout)

    assert found.returncode == 0, found.stdout + found.stderr
    assert passed
    # With a longer timeout, on a slow machine, the page's long payload may be too short for heartbeats.
    assert int(passed[1]) >= (1 if name == "test_service.py" else ALL_BUT_HEARTBEATS)


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
