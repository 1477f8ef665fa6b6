"""Each command of docs/cli.md runs against a manager on this machine, and prints what the page says.

A block ``console`` has commands after ``$``, and what each prints. What a command prints is compared only if
the page shows it. A block ``yaml`` or ``json`` whose first line is ``# name.yaml`` is there as that file. A
block ``bash`` is run by bash.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from jobmanager.schedules.preview import preview_schedule
from sjm.cli.app import app
from sjm.cli.exits import ExitCode
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Received, Reply, StandIn, example_answer, serving

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    (command, expected)
    for language, text in BLOCKS
    if language == "console"
    for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
]


NOW_MS = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()) * 1000


class OnePresent(StandIn):
    """Tells fire times from the page's present on, as many as it is asked for."""

    def answer(self, received: Received) -> Reply:
        if received.path.endswith("/schedules/preview"):
            return Reply(200, preview_schedule(dict(received.query), NOW_MS))
        if (received.method, received.path.rpartition("/")[2]) == ("GET", "nightly"):
            return Reply(body={**example_answer("get_job"), "workflow_type": "standard"})
        return super().answer(received)


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A manager on this machine."""
    with serving(OnePresent()) as stand_in:
        yield stand_in


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the page, in the working directory."""
    for _, text in BLOCKS:
        if named := re.match(r"# ([\w.-]+\.\w+)\n", text):
            (tmp_path / named[1]).write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_prints_what_the_page_says(
    sjm: Sjm, server: StandIn, monkeypatch: pytest.MonkeyPatch, command: str, expected: str
) -> None:
    name, *arguments = shlex.split(command)
    monkeypatch.setattr("sjm.client.aws.Account.published_url", lambda *_: server.url)
    if arguments[:2] == ["--stage", "prod"]:  # one page is enough
        server.replies.append(Reply(body={**example_answer("list_jobs"), "paging": {}}))
    if "--time-zone" in arguments and "preview" in arguments:  # the answer of the manager itself
        options = zip(arguments[3::2], arguments[4::2], strict=True)
        query = {option.removeprefix("--").replace("-", "_"): value for option, value in options}
        answer = preview_schedule({"schedule": arguments[2], **query}, 0)
        server.replies.append(Reply(body=answer))
    done = sjm(*arguments)

    assert (name, done.code) == ("sjm", 0), done.err
    if expected:
        assert done.out + done.err == expected


@pytest.mark.parametrize("script", [text for language, text in BLOCKS if language == "bash"])
def test_a_script_runs(script: str, tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "sjm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sjm.cli "$@"\n')
    (tmp_path / "sjm").chmod(0o755)
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "sjm" / "src")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{script}\ncomplete -p sjm"],
        env={**environment, **paths},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "_sjm_completion" in done.stdout


def commands_of(group: click.Command, context: click.Context, path: str = "sjm") -> list[str]:
    """All commands, such as ``sjm jobs list``."""
    if not isinstance(group, click.Group):
        return [path]
    found: list[str] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        found += commands_of(command, context, f"{path} {name}")
    return found


def test_the_page_shows_each_command() -> None:
    context = app.make_context("sjm", [], resilient_parsing=True)

    assert [
        each for each in commands_of(app, context) if f"{each} " not in f"{PAGE} ".replace("\n", " ")
    ] == []


def test_the_page_has_each_exit_code() -> None:
    rows = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]

    assert rows == sorted(ExitCode)
