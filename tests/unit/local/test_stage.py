"""The local stage's own care: what it starts, refuses, ends, and hides from what it runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import aws_behaviour, stage, terraform_provider
from local.stage import Emulator, StageError, process_start


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("EMULATOR_FILE", "EMULATOR_LOG", "EMULATOR_DIRECTORY", "TERRAFORM_LOG", "OUTPUTS_FILE"):
        monkeypatch.setattr(stage, name, tmp_path / getattr(stage, name).name)
    monkeypatch.setattr(stage, "LOCAL", tmp_path)
    monkeypatch.setattr(terraform_provider, "has_packaged_provider", lambda: False)
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def emulator_of(process: subprocess.Popen[bytes]) -> Emulator:
    return Emulator(process.pid, process_start(process.pid), "http://localhost:4566")


def remember(emulator: Emulator, **changes: str) -> None:
    stage.EMULATOR_FILE.write_text(json.dumps(vars(emulator) | changes))


def test_a_port_in_use_is_refused_with_what_to_do(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(
        StageError, match=rf"port {port} is in use .* AWS_ENDPOINT_URL=http://localhost:{port}"
    ):
        stage.start_emulator(f"http://localhost:{port}")

    assert not stage.EMULATOR_FILE.exists()


def test_a_process_that_took_over_the_id_is_not_ours() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process), started="Thu Jan  1 00:00:00 1970")

        assert stage.known_emulator() is None
        assert not stage.take_down()
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("content", ["", "{}", "no json"])
def test_a_damaged_file_counts_as_none(content: str) -> None:
    stage.EMULATOR_FILE.write_text(content)

    assert stage.known_emulator() is None


def test_taking_down_ends_the_whole_group_and_forgets_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SECONDS_TO_STOP", 1)
    command = ["bash", "-c", "trap '' TERM; sleep 60 & echo $!; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        remember(emulator_of(process))
        state = stage.state_file("http://localhost:4566")
        state.write_text("{}")

        assert stage.take_down()

        assert not process_start(process.pid)
        assert not process_start(child)
        assert not state.exists()
        assert not stage.EMULATOR_FILE.exists()


def test_each_endpoint_has_a_state_of_its_own() -> None:
    assert stage.state_file("http://localhost:4566").name == "http-localhost-4566.tfstate"
    assert stage.state_file("http://localhost:4567") != stage.state_file("http://localhost:4566")


def test_a_command_finds_the_stage_and_none_of_the_developers_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")

    environment = stage.environment_for_command("http://localhost:4566")

    assert environment["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert environment["STAGE_OUTPUTS"] == str(stage.OUTPUTS_FILE)
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(environment)


def test_a_command_finds_what_iam_decided_if_the_emulator_is_ours() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process))
        ours = stage.environment_for_command("http://localhost:4566")
        another = stage.environment_for_command("http://localhost:4567")
        process.kill()

    assert Path(ours["IAM_DECISIONS"]).parent == stage.EMULATOR_DIRECTORY
    assert "IAM_DECISIONS" not in another


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_a_commands_exit_code_is_ours(command: str, code: int) -> None:
    assert stage.run_command(["bash", "-c", command], "http://localhost:4566") == code


def test_a_signal_ends_the_command_too(tmp_path: Path) -> None:
    program = (
        "from local import stage; stage.interrupt_on_signals()\n"
        "stage.provider_environment = dict\n"
        "try: stage.run_command(['bash', '-c', 'echo $$; exec sleep 60'], 'http://localhost:4566')\n"
        "except stage.Interrupted as interrupted: raise SystemExit(interrupted.exit_code)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=terraform_provider.PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        started = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)

        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 10
        assert not process_start(child)


def test_terraform_gets_neither_the_developers_aws_nor_their_terraform_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr("shutil.which", lambda _: "/bin/terraform")

    environment = terraform_provider.environment_for_terraform()

    assert not {"AWS_PROFILE", "TF_CLI_CONFIG_FILE"} & set(environment)


def test_another_version_of_the_emulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_behaviour, "version", lambda _: "9.9.9")

    with pytest.raises(aws_behaviour.UnknownEmulator, match=r"9\.9\.9 is installed"):
        aws_behaviour.apply()


def test_terraform_that_cannot_be_initialised_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with (
        stage.terraform_initialised() as wait_for_terraform,
        pytest.raises(StageError, match="terraform init failed"),
    ):
        wait_for_terraform()


def test_what_initialises_terraform_ends_with_what_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nsleep 60 & echo $!\nwait\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))

    with pytest.raises(KeyboardInterrupt), stage.terraform_initialised():
        while not (printed := stage.TERRAFORM_LOG.read_text()):
            time.sleep(0.01)
        raise KeyboardInterrupt

    assert not process_start(int(printed))
