"""``sjm`` as a process: how much it imports, closed pipes, Ctrl-C, completion."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from sjm.cli import process
from sjm.cli.app import COMMANDS, app
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

SOURCE = Path(__file__).resolve().parents[4] / "sjm" / "src"
SLOW = ("botocore", "jinja2", "rich", "urllib3", "yaml")
RUNNING: dict[str, Any] = example_answer("start_execution")
JOBS = Reply(body={**example_answer("list_jobs"), "paging": {}})


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sjm.cli", *arguments]


def started(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env={**environment, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def imported_by(*arguments: str) -> tuple[set[str], str]:
    """The modules that a run imports, and what it writes."""
    code = (
        "import sys\nfrom sjm.cli import main\n"
        f"sys.argv = ['sjm', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split()), done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("jobs", "--help")], ids=" ".join)
def test_help_imports_little(arguments: tuple[str, ...]) -> None:
    """Modules are counted, because seconds depend on the machine."""
    modules, out = imported_by(*arguments)

    assert out
    assert {name for name in modules if name.partition(".")[0] in SLOW} == set()
    assert len(modules) < 200


def test_the_help_of_the_command_does_not_import_the_commands() -> None:
    modules, out = imported_by("--help")

    assert all(f"  {name} " in out for name in COMMANDS)
    assert "sjm.client" not in modules
    assert "sjm.cli.jobs" not in modules


def test_each_short_help_is_that_of_the_command() -> None:
    context = app.make_context("sjm", [], resilient_parsing=True)
    for name, (_, short) in COMMANDS.items():
        found = app.get_command(context, name)
        assert found
        assert found.get_short_help_str(200).rstrip(".").startswith(short.rstrip(".")), name


def test_a_reader_that_has_seen_enough_ends_it_quietly(server: StandIn, environment: dict[str, str]) -> None:
    job = example_answer("list_jobs")["results"][0]
    server.replies += [Reply(body={"results": [job] * 100, "paging": {"more": f"{n}"}}) for n in range(60)]
    process = started(command("jobs", "list", "-o", "jsonl"), environment)
    assert process.stdout and process.stderr
    line = process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()

    assert json.loads(line)["job_name"] == "nightly"
    assert (process.wait(30), error) == (141, "")
    assert len(server.received) < 60


def test_ctrl_c_leaves_the_execution_and_says_how_to_cancel_it(
    server: StandIn, environment: dict[str, str]
) -> None:
    server.replies += [Reply(201, RUNNING)] + [Reply(body=RUNNING)] * 100
    # A shell lets the processes in its background ignore Ctrl-C, and those that they start.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sjm.cli import main; main()"
    )
    arguments = [sys.executable, "-c", code, "jobs", "run", "billing/nightly", "--follow"]
    process = started(arguments, environment)
    deadline = time.monotonic() + 60
    while len(server.received) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (130, "")
    assert "The execution goes on." in err
    assert "sjm executions cancel billing/nightly 20261123T091500Z-5f3a9c01" in err
    assert "Traceback" not in err
    assert [each.method for each in server.received].count("POST") == 1


def test_a_terminal_shows_one_line_that_moves(server: StandIn, environment: dict[str, str]) -> None:
    server.replies += [
        Reply(201, RUNNING),
        Reply(body={**RUNNING, "progress": 73, "service_invoked_at_ms": 1}),
    ]
    terminal, line = pty.openpty()
    process = subprocess.Popen(
        command("jobs", "run", "billing/nightly", "--follow"),
        env={**environment, "PYTHONPATH": str(SOURCE), "TERM": "xterm", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=line,
    )
    os.close(line)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65536):
            written += part
    os.close(terminal)
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (0, b"success after 42 s: 312 invoices\n")
    assert b"running  not notified yet" in written
    assert b"running  73%" in written
    assert written.count(b"\n") < written.count(b"\r")
    assert written.rstrip().endswith(b"\x1b[2K")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_completes_commands_options_and_values(shell: str, environment: dict[str, str]) -> None:
    def completed(*words: str) -> list[str]:
        asked = {
            **environment,
            "_SJM_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(["sjm", *words]),
            "COMP_CWORD": str(len(words)),
        }
        out, err = started(command(), asked).communicate(timeout=60)
        assert err == ""
        return out.split("\n")

    script, error = started(command("completion", shell), environment).communicate(timeout=60)

    assert f"_SJM_COMPLETE={shell}_complete" in script
    assert error == ""
    assert any("executions" in each for each in completed("exec"))
    assert any("--payload-file" in each for each in completed("jobs", "run", "--pay"))
    assert any("timeout" in each for each in completed("executions", "list", "--status", "t"))


def jobs_completed(*words: str) -> list[str]:
    """The names that a shell is offered for the last word."""
    *arguments, incomplete = words
    completion = ShellComplete(app, {}, "sjm", process.COMPLETION_VARIABLE)
    return [each.value for each in completion.get_completions(arguments, incomplete)]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "words",
    [
        "jobs show billing/n",
        "--utc jobs run billing/n",
        "executions rerun billing/",
        "executions list --job bill",
        "jobs list b",
    ],
)
def test_names_of_jobs_are_completed(server: StandIn, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr("sjm.cli.job_names.PATIENCE_SECONDS", 60)
    server.replies += [JOBS, JOBS]
    assert jobs_completed(*words.split()) == ["billing/nightly"]
    assert [each.method for each in server.received] == ["GET"]
    assert jobs_completed("jobs", "show", "billing/x") == []


def test_a_stage_is_asked_by_the_options_of_the_line(
    server: StandIn, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.cli.job_names.PATIENCE_SECONDS", 60)
    monkeypatch.delenv("SJM_URL")
    assert jobs_completed("jobs", "show", "billing/n") == []
    for line in (["--url", server.url, "jobs", "show"], ["jobs", "show", "--url", server.url]):
        server.replies.append(JOBS)
        assert jobs_completed(*line, "billing/n") == ["billing/nightly"]


@pytest.mark.usefixtures("environment")
def test_what_cannot_be_completed_is_silent_and_soon_given_up(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.replies += [Reply(403, {"message": "Forbidden"}), Reply(seconds=60)]
    assert jobs_completed("jobs", "show", "billing/n") == []
    began = time.monotonic()
    assert jobs_completed("jobs", "show", "billing/n") == []
    assert time.monotonic() - began < 30
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert jobs_completed("jobs", "show", "billing/n") == []
    assert capfd.readouterr() == ("", "")


def test_completion_asks_for_no_code_of_a_device(environment: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "mfa"
    config.write_text(
        "[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/ann\n[profile base]\naws_access_key_id = A\n"
        "aws_secret_access_key = b\n"
    )
    without_keys = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    asked = {
        **without_keys,
        "AWS_REGION": "eu-central-1",
        "AWS_PROFILE": "mfa",
        "AWS_CONFIG_FILE": str(config),
        process.COMPLETION_VARIABLE: "bash_complete",
        "COMP_WORDS": "sjm jobs show billing/n",
        "COMP_CWORD": "3",
    }
    out, err = started(command(), asked).communicate(timeout=60)

    assert (out.strip(), err) == ("", "")


def test_without_click_it_says_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").write_text("raise ModuleNotFoundError(name='click')")
    done = subprocess.run(
        command("--help"),
        env={**environment, "PYTHONPATH": f"{tmp_path}:{SOURCE}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("sjm: click is not installed.")
    assert "[cli]" in done.stderr
