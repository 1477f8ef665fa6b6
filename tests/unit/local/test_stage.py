"""The local stage: how it starts, stops and refuses emulators, and the environment of its commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import aws_behaviour, stage, terraform_provider
from local.slowness import PatientClock
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


def has_ended(pid: int) -> bool:
    """Waits until a process has ended; returns whether it did. A killed one is still listed for a while."""

    def is_gone(seconds_left: float) -> bool:
        time.sleep(min(0.05, seconds_left))
        return not process_start(pid)

    return PatientClock().waited(60, is_gone)


def remember(emulator: Emulator, **changes: str) -> None:
    stage.EMULATOR_FILE.write_text(json.dumps(vars(emulator) | changes))


def test_the_error_for_a_port_in_use_says_what_to_do(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(
        StageError, match=rf"port {port} is in use .* AWS_ENDPOINT_URL=http://localhost:{port}"
    ):
        stage.start_emulator(f"http://localhost:{port}")

    assert not stage.EMULATOR_FILE.exists()


def test_another_process_with_the_recorded_id_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process), started="Thu Jan  1 00:00:00 1970")

        assert stage.known_emulator() is None
        assert not stage.take_down()
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("content", ["", "{}", "no json"])
def test_a_damaged_file_counts_as_no_emulator(content: str) -> None:
    stage.EMULATOR_FILE.write_text(content)

    assert stage.known_emulator() is None


def test_stopping_ends_the_whole_process_group_and_deletes_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SECONDS_TO_STOP", 1)
    command = ["bash", "-c", "trap '' TERM; sleep 300 & echo $!; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        remember(emulator_of(process))
        state = stage.state_file("http://localhost:4566")
        state.write_text("{}")

        assert stage.take_down()

        assert has_ended(process.pid)
        assert has_ended(child)
        assert not state.exists()
        assert not stage.EMULATOR_FILE.exists()


def test_each_endpoint_has_its_own_state() -> None:
    assert stage.state_file("http://localhost:4566").name == "http-localhost-4566.tfstate"
    assert stage.state_file("http://localhost:4567") != stage.state_file("http://localhost:4566")


def test_a_stage_that_is_up_keeps_its_provider(tmp_path: Path) -> None:
    stage.state_file("http://localhost:4566").write_text("{}")
    root = stage.TerraformRoot("installed", tmp_path, {})

    with pytest.raises(StageError, match="up with the packaged provider; first stop it with: make down"):
        stage.apply_terraform("http://localhost:4566", root)


def test_terraform_is_initialised_while_packages_are_built_and_a_failure_stops_the_emulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_initialising = threading.Event()

    def fails(_endpoint: str) -> stage.TerraformRoot:
        is_initialising.set()
        raise StageError("terraform init failed")

    def build() -> None:
        assert is_initialising.wait(60)

    def start(endpoint: str) -> Emulator:
        remember(started := emulator_of(process))
        assert started.endpoint == endpoint
        return started

    monkeypatch.setattr(stage, "prepare_terraform", fails)
    monkeypatch.setattr(stage, "build_packages", build)
    monkeypatch.setattr(stage, "start_emulator", start)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        with pytest.raises(StageError, match="terraform init failed"):
            stage.bring_up("http://localhost:4566", ours=True)

        assert not process_start(process.pid)


def test_a_command_gets_the_stage_and_none_of_the_developers_aws_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")

    environment = stage.environment_for_command("http://localhost:4566")

    assert environment["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert environment["STAGE_OUTPUTS"] == str(stage.OUTPUTS_FILE)
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(environment)


def test_a_command_gets_the_decisions_of_iam_if_we_started_the_emulator() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process))
        ours = stage.environment_for_command("http://localhost:4566")
        another = stage.environment_for_command("http://localhost:4567")
        process.kill()

    assert Path(ours["IAM_DECISIONS"]).parent == stage.EMULATOR_DIRECTORY
    assert "IAM_DECISIONS" not in another


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_the_exit_code_of_the_command_is_returned(command: str, code: int) -> None:
    assert stage.run_command(["bash", "-c", command], os.environ) == code


def test_a_signal_ends_the_command_too(tmp_path: Path) -> None:
    program = (
        "from local import stage; stage.interrupt_on_signals()\n"
        "stage.provider_environment = lambda provider: {}\n"
        "stage.SECONDS_TO_STOP = 300\n"
        "try: stage.run_command(['bash', '-c', 'echo $$; exec sleep 300'], None)\n"
        "except stage.Interrupted as interrupted: raise SystemExit(interrupted.exit_code)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=terraform_provider.PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGTERM)

        assert process.wait(60) == 128 + signal.SIGTERM
        assert not process_start(child)


def test_terraform_gets_none_of_the_developers_aws_and_terraform_settings(
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


OUTPUTS = {
    "api_url": "http://localhost:4566/api/$default",
    "notifications_topic_arn": "arn:notifications",
    "events_topic_arn": "arn:events",
    "alarms_topic_arn": "arn:alarms",
    "function_names": {"reap_executions": "sjm-local-reap-executions"},
}


def test_the_most_important_outputs_are_printed_as_shell_commands(capsys: pytest.CaptureFixture[str]) -> None:
    stage.OUTPUTS_FILE.write_text(json.dumps(OUTPUTS))
    assert stage.main(["outputs"]) == 0
    printed = capsys.readouterr().out
    command = f'set -eu\n{printed}\necho "$API_URL $AWS_ACCESS_KEY_ID $NOTIFICATIONS_TOPIC_ARN"'
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout

    assert said == "http://localhost:4566/api/$default test arn:notifications\n"
    assert len(printed.splitlines()) <= 10
    assert "reap" not in printed


def test_all_outputs_are_printed_as_json_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    stage.OUTPUTS_FILE.write_text(json.dumps(OUTPUTS))

    assert stage.main(["outputs", "--all"]) == 0
    assert json.loads(capsys.readouterr().out) == OUTPUTS


@pytest.mark.parametrize(("is_up", "applied"), [(True, 0), (False, 1)])
def test_a_stage_that_is_up_is_used_without_another_apply(
    monkeypatch: pytest.MonkeyPatch, is_up: bool, applied: int
) -> None:
    brought_up: list[str] = []
    monkeypatch.setattr(stage, "bring_up", lambda endpoint, **_: brought_up.append(endpoint))
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process))
        if is_up:
            stage.OUTPUTS_FILE.write_text(json.dumps(OUTPUTS))
            stage.state_file("http://localhost:4566").write_text("{}")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

        assert stage.main(["use", "--", "true"]) == 0
        process.kill()

    assert len(brought_up) == applied


def test_an_early_command_runs_while_the_stage_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs, ends = tmp_path / "runs", tmp_path / "ends"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    stage.OUTPUTS_FILE.write_text("{}")  # of an earlier stage

    def bring_up(*_: object, **__: object) -> None:
        assert not stage.OUTPUTS_FILE.exists()
        assert appears(runs)
        stage.OUTPUTS_FILE.write_text(json.dumps(OUTPUTS))

    monkeypatch.setattr(stage, "bring_up", bring_up)
    waits = f"""echo "$STAGE_STARTS" > {runs}
        until test -f "$STAGE_OUTPUTS"; do sleep 0.05; done
        test -n "$IAM_DECISIONS" && cp "$STAGE_OUTPUTS" {ends}; exit 3"""

    assert stage.main(["run", "--early", "--", "bash", "-c", waits]) == 3
    assert (runs.read_text(), json.loads(ends.read_text())) == ("1\n", OUTPUTS)


def test_tests_that_wait_for_the_outputs_never_read_half_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "awaited.json"
    is_there: list[bool] = []
    replace = Path.replace

    def replace_whole(scratch: Path, target: Path) -> Path:
        is_there.append(path.exists())
        assert scratch.read_text() == "{}"
        return replace(scratch, target)

    monkeypatch.setattr(Path, "replace", replace_whole)
    terraform_provider.write_whole(path, "{}")
    assert (is_there, path.read_text()) == ([False], "{}")
    assert [each.name for each in tmp_path.glob("*awaited*")] == ["awaited.json"]


def test_an_early_command_ends_if_the_stage_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    def bring_up(*_: object, **__: object) -> None:
        assert appears(runs)
        raise StageError("port 4566 is in use")

    monkeypatch.setattr(stage, "bring_up", bring_up)

    assert stage.main(["run", "--early", "--", "bash", "-c", f"echo $$ > {runs}; exec sleep 600"]) == 1
    assert "port 4566 is in use" in capsys.readouterr().err
    with pytest.raises(ProcessLookupError):
        os.kill(int(runs.read_text()), 0)


def test_a_command_is_not_started_early_if_the_stage_is_up_and_may_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    runs = tmp_path / "runs"

    def bring_up(*_: object, **__: object) -> None:
        time.sleep(0.2)
        assert not runs.exists()

    monkeypatch.setattr(stage, "bring_up", bring_up)
    with subprocess.Popen(["sleep", "60"]) as process:
        remember(emulator_of(process))
        stage.OUTPUTS_FILE.write_text(json.dumps(OUTPUTS))
        stage.state_file("http://localhost:4566").write_text("{}")
        command = f'echo "$STAGE_STARTS" > {runs}'

        assert stage.main(["run", "--early", "--", "bash", "-c", command]) == 0
        process.kill()

    assert runs.read_text() == "\n"


def appears(file: Path) -> bool:
    """Waits until a file has content; returns whether it came."""

    def has_content(seconds_left: float) -> bool:
        time.sleep(min(0.05, seconds_left))
        return file.exists() and file.read_text() != ""

    return PatientClock().waited(30, has_content)


@pytest.mark.parametrize("tool", ["redrive", "purge"])
def test_tools_use_a_local_stage_that_is_up_without_an_apply(tool: str) -> None:
    command = ["make", "-n", tool, "STAGE=local"]
    planned = subprocess.run(
        command, cwd=terraform_provider.PROJECT, capture_output=True, text=True, check=True
    ).stdout

    assert "local.stage use -- " in planned
