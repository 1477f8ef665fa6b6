"""The local stage: an emulated AWS on this machine, with the project applied to it by Terraform.

    python -m local.stage up              brings it up and leaves it running
    python -m local.stage down            stops it
    python -m local.stage run -- CMD …    runs CMD against it; starts the stage if needed, and stops it again
                              --early before the -- starts CMD while the stage starts
    python -m local.stage use -- CMD …    the same, but does not apply Terraform to a stage that is up
    python -m local.stage outputs         prints the running stage's URL, keys and topics; --all: all outputs

CMD gets AWS_ENDPOINT_URL, keys and a region in its environment, and STAGE_OUTPUTS, the path of a JSON file
with Terraform's outputs. If CMD was started early, STAGE_STARTS is set, and that file appears when the stage
is up. With our own emulator CMD also gets IAM_DECISIONS, the path of IAM's recorded decisions, and
FAULTS_DIRECTORY, see local/faults. If AWS_ENDPOINT_URL is already set, no emulator is started; Terraform
applies the project at that URL. With PROVIDER=installed, Terraform uses the AWS provider that it finds by
itself.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from local import emulator
from local.emulated_account import ACCESS_KEY, DECISIONS, REGION, SECRET_KEY
from local.faults.plans import SETTING as FAULTS
from local.terraform_provider import (
    FEW_COLLECTIONS,
    INSTALLED,
    LOCAL,
    PACKAGED,
    PROJECT,
    TerraformError,
    chosen_provider,
    environment_for_terraform,
    provider_environment,
    root_for,
    write_whole,
)
from tools import package

DEFAULT_ENDPOINT = "http://localhost:4566"
STAGE = "local"
SECONDS_TO_BE_READY = 60
SECONDS_TO_STOP = 10
LINES_ON_FAILURE = 40
# The outputs of Terraform that a person needs first.
OUTPUTS_SHOWN = ("api_url", "notifications_topic_arn", "events_topic_arn", "alarms_topic_arn")
# Set in the environment of a command that was started before the stage was up.
_STARTS = "STAGE_STARTS"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EMULATOR_FILE = LOCAL / "emulator.json"
EMULATOR_LOG = LOCAL / "emulator.log"
EMULATOR_DIRECTORY = LOCAL / "emulator"
TERRAFORM_LOG = LOCAL / "terraform.log"
OUTPUTS_FILE = LOCAL / "outputs.json"


type Step = Callable[[str], contextlib.AbstractContextManager[None]]


class StageError(Exception):
    """The stage cannot be started. The message says why and what to do."""


class Interrupted(BaseException):
    """A signal asked to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Emulator:
    """A running emulator. The start time of its process distinguishes it from a reused process id."""

    pid: int
    started: str
    endpoint: str

    def is_running(self) -> bool:
        """Whether this process still runs."""
        return bool(self.started) and process_start(self.pid) == self.started


def process_start(pid: int) -> str:
    """When a process started, as `ps` reports it. Empty if it does not exist or is a zombie."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Prints the step, and how long it took."""
    started = time.monotonic()
    print(f"{what} … ", end="", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


@contextlib.contextmanager
def step_beside_others(what: str) -> Iterator[None]:
    """Prints the step and how long it took on a line of its own, because a command prints, too."""
    started, took = time.monotonic(), "failed"
    try:
        yield
        took = f"{time.monotonic() - started:.1f} s"
    finally:
        print(f"\n{what} … {took}", flush=True)


def tail(path: Path) -> str:
    """The last lines of a log, for an error message."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-LINES_ON_FAILURE:])
    return ""


def known_emulator() -> Emulator | None:
    """The emulator that this project started, if it still runs."""
    try:
        found = Emulator(**json.loads(EMULATOR_FILE.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.is_running() else None


def is_healthy(endpoint: str) -> bool:
    """Whether an emulator (ministack or LocalStack) answers at the endpoint."""
    try:
        with urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def is_taken(port: int) -> bool:
    """Whether a process listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_emulator(endpoint: str) -> Emulator:
    """Starts the emulator in a process group of its own and waits until it answers."""
    port = urlsplit(endpoint).port or 4566
    if is_taken(port):
        raise StageError(
            f"port {port} is in use by another process. If that is an AWS emulator that"
            f" you want to use, set AWS_ENDPOINT_URL={endpoint}. Otherwise stop it first."
        )
    EMULATOR_DIRECTORY.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "local.emulator", str(port), str(EMULATOR_DIRECTORY)]
    with EMULATOR_LOG.open("wb") as log, signals_deferred():
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=emulator.clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started = Emulator(process.pid, process_start(process.pid), endpoint)
        EMULATOR_FILE.write_text(json.dumps(asdict(started)))
    deadline = time.monotonic() + SECONDS_TO_BE_READY
    try:
        while not is_healthy(endpoint):
            if process.poll() is not None:
                raise StageError(f"the emulator ended at once; from {EMULATOR_LOG}:\n{tail(EMULATOR_LOG)}")
            if time.monotonic() > deadline:
                raise StageError(f"the emulator does not answer; from {EMULATOR_LOG}:\n{tail(EMULATOR_LOG)}")
            time.sleep(0.1)
    except BaseException:
        stop_emulator(started)
        raise
    return started


def stop_emulator(running: Emulator) -> None:
    """Stops the emulator and every function that it runs: its whole process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, number)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while running.is_running() and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(running.pid, os.WNOHANG)
            time.sleep(0.05)
    # The functions' processes are in its group, so the second signal ends those that are left.
    EMULATOR_FILE.unlink(missing_ok=True)
    forget_state(running.endpoint)
    remove_tree(EMULATOR_DIRECTORY)


def remove_tree(directory: Path) -> None:
    """Removes a directory with its contents."""
    subprocess.run(["rm", "-rf", str(directory)], check=False)


def state_file(endpoint: str, provider: str = PACKAGED) -> Path:
    """Terraform's state of the stage at an endpoint, by provider. An old one cannot read a newer state."""
    name = re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")
    return LOCAL / f"{name}{'' if provider == PACKAGED else f'-{provider}'}.tfstate"


def forget_state(endpoint: str) -> None:
    """Removes the state and the outputs of a stage that existed only in memory."""
    for state in (state_file(endpoint, provider) for provider in (PACKAGED, INSTALLED)):
        state.unlink(missing_ok=True)
        state.with_name(f"{state.name}.backup").unlink(missing_ok=True)
    OUTPUTS_FILE.unlink(missing_ok=True)


def build_packages() -> None:
    """Builds the functions' zips with wheels for this machine."""
    package.build_all(
        package.NATIVE, functions_directory=PROJECT / "functions", build_directory=PROJECT / "build"
    )


def terraform(arguments: Sequence[str], root: Path, environment: Mapping[str, str]) -> None:
    """Runs a Terraform command in a root module. Its output goes to the log."""
    command = ["terraform", f"-chdir={root}", *arguments, "-no-color"]
    with TERRAFORM_LOG.open("a") as log:
        log.write(f"\n$ terraform {' '.join(arguments)}\n")
        log.flush()
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode != 0:
        raise StageError(f"terraform {arguments[0]} failed; from {TERRAFORM_LOG}:\n{tail(TERRAFORM_LOG)}")


@dataclass(frozen=True)
class TerraformRoot:
    """A root that `terraform init` has prepared, and the environment to run Terraform in."""

    provider: str
    path: Path
    environment: Mapping[str, str]


def prepare_terraform(endpoint: str) -> TerraformRoot:
    """Runs `terraform init` for the stage at an endpoint, which need not answer yet."""
    provider = chosen_provider()
    TERRAFORM_LOG.write_text("")
    environment = environment_for_terraform(provider)
    environment |= {"AWS_ENDPOINT_URL": endpoint, "TF_DATA_DIR": str(LOCAL / f"terraform-data-{provider}")}
    root = root_for(provider)
    terraform(["init"], root, environment)
    return TerraformRoot(provider, root, environment)


def apply_terraform(endpoint: str, root: TerraformRoot) -> None:
    """Applies the project at the endpoint, and writes the outputs to OUTPUTS_FILE."""
    (other,) = {PACKAGED, INSTALLED} - {root.provider}
    if state_file(endpoint, other).is_file():
        raise StageError(f"the stage is up with the {other} provider; first stop it with: make down")
    state = state_file(endpoint, root.provider)
    terraform(
        [
            "apply",
            "-auto-approve",
            "-parallelism=50",
            f"-state={state}",
            f"-var=stage={STAGE}",
            f"-var=endpoint={endpoint}",
        ],
        root.path,
        root.environment,
    )
    command = ["terraform", f"-chdir={root.path}", "output", "-json", f"-state={state}"]
    done = subprocess.run(command, env=root.environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"terraform output failed:\n{done.stderr}")
    values = {name: output["value"] for name, output in json.loads(done.stdout).items()}
    write_whole(OUTPUTS_FILE, json.dumps(values, indent=2, sort_keys=True) + "\n")


def environment_for_command(endpoint: str, *, starts_ours: bool = False) -> dict[str, str]:
    """The environment of a command that uses the stage, or applies another one beside it.

    ``starts_ours`` says that our own emulator is about to start there.
    """
    of_our_own = {
        "IAM_DECISIONS": str(EMULATOR_DIRECTORY / DECISIONS),
        FAULTS: str(EMULATOR_DIRECTORY / "faults"),
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and name not in of_our_own and name != _STARTS
    }
    running = known_emulator()
    is_ours = starts_ours or (running is not None and running.endpoint == endpoint)
    return (
        kept
        | FEW_COLLECTIONS
        | provider_environment(chosen_provider())
        | (of_our_own if is_ours else {})
        | {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            "STAGE_OUTPUTS": str(OUTPUTS_FILE),
        }
    )


def bring_up(endpoint: str, *, ours: bool, step: Step = step) -> bool:
    """Starts or updates the stage. Returns whether it started an emulator.

    `terraform init` needs neither the packages nor the emulator, so it runs beside them.
    """
    LOCAL.mkdir(exist_ok=True)
    started = False
    try:
        with ThreadPoolExecutor(1) as beside:
            root = beside.submit(prepare_terraform, endpoint)
            with step("packages for this machine"):
                build_packages()
            if not ours and not is_healthy(endpoint):
                raise StageError(f"nothing answers at AWS_ENDPOINT_URL={endpoint}")
            if ours and known_emulator() is None:
                with step(f"emulated AWS on {endpoint}"):
                    forget_state(endpoint)
                    start_emulator(endpoint)
                started = True
            with step(f"terraform apply, stage {STAGE}"):
                apply_terraform(endpoint, root.result())
    except BaseException:
        if started:
            take_down()
        raise
    return started


def take_down() -> bool:
    """Stops our emulator, if it runs. Returns whether it ran."""
    running = known_emulator()
    if running is None:
        EMULATOR_FILE.unlink(missing_ok=True)
        return False
    with signals_ignored():
        stop_emulator(running)
    return True


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignores signals during the clean-up."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Delays signals, so that no process starts before its id is known."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number)) for number in STOPPING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def interrupt_on_signals() -> None:
    """Turns the signals that stop a program into an exception, so that the clean-up runs."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in STOPPING:
        signal.signal(number, interrupt)


def end(process: subprocess.Popen[bytes], *, from_keyboard: bool) -> None:
    """Ends a command. It has already received an interrupt from the keyboard, and may end by itself then."""
    if from_keyboard:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_command(
    command: Sequence[str], environment: Mapping[str, str], beside: Callable[[], None] = lambda: None
) -> int:
    """Runs a command, calls ``beside`` meanwhile, and returns the exit code. Passes signals on to it.

    Ends the command if ``beside`` fails.
    """
    process = None
    try:
        with signals_deferred():
            process = subprocess.Popen(command, env=environment)
        beside()
        code = process.wait()
    except BaseException as error:
        if process is not None:
            with signals_ignored():
                is_from_keyboard = isinstance(error, Interrupted) and error.signal_number == signal.SIGINT
                end(process, from_keyboard=is_from_keyboard)
        raise
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def lock_stage() -> Iterator[None]:
    """Lets only one process at a time start or stop the stage."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "stage.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(endpoint: str, *, ours: bool) -> int:
    """Starts the stage and leaves it running."""
    with lock_stage():
        started = bring_up(endpoint, ours=ours)
    print(f"the stage is {'up' if started else 'already up, and up to date'}: {OUTPUTS_FILE}")
    for name, value in environment_for_a_person(endpoint).items():
        print(f"  export {name}={value}")
    return 0


def environment_for_a_person(endpoint: str) -> dict[str, str]:
    """The environment with which the AWS CLI and SDKs call the stage."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }


def down() -> int:
    """Stops the stage."""
    with lock_stage():
        stopped = take_down()
    print("the stage is down" if stopped else "no stage of this project is up")
    return 0


def is_up(endpoint: str, *, ours: bool) -> bool:
    """Whether the stage is up at the endpoint."""
    running = known_emulator()
    is_there = running is not None and running.endpoint == endpoint if ours else is_healthy(endpoint)
    has_state = any(state_file(endpoint, provider).is_file() for provider in (PACKAGED, INSTALLED))
    return is_there and has_state and OUTPUTS_FILE.is_file()


def run(
    command: Sequence[str], endpoint: str, *, ours: bool, as_it_is: bool = False, early: bool = False
) -> int:
    """Runs a command against the stage, and stops the stage if it started it.

    ``as_it_is`` leaves a stage that is up as it is. ``early`` starts the command while the stage starts.
    """
    started = False

    def start(step: Step) -> None:
        nonlocal started
        with lock_stage():
            started = bring_up(endpoint, ours=ours, step=step)

    is_there = is_up(endpoint, ours=ours)
    try:
        if early and not is_there:
            OUTPUTS_FILE.unlink(missing_ok=True)
            environment = environment_for_command(endpoint, starts_ours=ours) | {_STARTS: "1"}
            return run_command(command, environment, lambda: start(step_beside_others))
        if not (as_it_is and is_there):
            start(step)
        return run_command(command, environment_for_command(endpoint))
    finally:
        if started:
            with signals_ignored(), lock_stage():
                take_down()


def show_outputs(endpoint: str, *, everything: bool) -> int:
    """Prints all outputs as JSON, or the most important ones as shell commands."""
    if not OUTPUTS_FILE.is_file():
        raise StageError("no stage is up; start one with: make up")
    text = OUTPUTS_FILE.read_text()
    if everything:
        print(text, end="")
        return 0
    outputs = json.loads(text)
    settings = environment_for_a_person(endpoint) | {name.upper(): outputs[name] for name in OUTPUTS_SHOWN}
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")
    print("# all outputs, as JSON: make outputs ARGS=--all")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("python -m local.stage", description="The local stage.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("up", help="start it and leave it running")
    actions.add_parser("down", help="stop it")
    showing = actions.add_parser("outputs", help="print its most important outputs")
    showing.add_argument("--all", action="store_true", help="print all outputs, as JSON")
    running = actions.add_parser("run", help="run a command against it; start it if needed")
    using = actions.add_parser("use", help="run a command against it; do not apply Terraform if it is up")
    for each in (running, using):
        each.add_argument("--early", action="store_true", help="start the command while the stage starts")
        each.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD …")
    options = parser.parse_args(arguments)
    given = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    endpoint, ours = given or DEFAULT_ENDPOINT, not given
    interrupt_on_signals()
    try:
        match options.action:
            case "up":
                return up(endpoint, ours=ours)
            case "down":
                return down()
            case "outputs":
                return show_outputs(endpoint, everything=options.all)
            case _:
                command = options.command[1:] if options.command[:1] == ["--"] else options.command
                if not command:
                    parser.error("run needs a command, as in: python -m local.stage run -- pytest")
                as_it_is = options.action == "use"
                return run(command, endpoint, ours=ours, as_it_is=as_it_is, early=options.early)
    except (StageError, TerraformError, package.PackageError) as error:
        print(error, file=sys.stderr)
        return 1
    except Interrupted as interruption:
        return interruption.exit_code


if __name__ == "__main__":
    sys.exit(main())
