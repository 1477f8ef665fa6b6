"""Terraform for the local environment, with an AWS provider that needs no Terraform registry.

By default, the local stage uses version 3.39.0 of Terraform's AWS provider, because a package on the Python
index contains it. On Linux x86-64, this module always takes it from there. It checks the package's hash,
unpacks it once, and lays it out as a filesystem mirror. Elsewhere, Terraform gets it from the registry.

With PROVIDER=installed, the local stage uses the newest version from 5.100 on that Terraform itself finds, by
your own CLI configuration or in the registry.
"""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
LOCAL = PROJECT / ".local"
ENVIRONMENT = PROJECT / "terraform" / "environments" / "local"
# Replaces the environment's file of that name if the provider is the packaged one.
PACKAGED_FILE = Path("packaged_provider") / "provider.tf"
REQUIREMENTS = PROJECT / "requirements" / "provider.txt"

PACKAGED, INSTALLED = "packaged", "installed"

PROVIDER_VERSION = "3.39.0"
PROVIDER_ZIP = f"terraform-provider-aws_{PROVIDER_VERSION}_linux_amd64.zip"
PROVIDER_DIRECTORY = Path("registry.terraform.io/hashicorp/aws") / PROVIDER_VERSION / "linux_amd64"

# With less garbage collection, Terraform takes a quarter less CPU time and about 0.3 GB more memory.
FEW_COLLECTIONS = {"GOGC": "400"}

# How Terraform's commands find a provider that runs already.
ATTACH = "TF_REATTACH_PROVIDERS"

CLI_CONFIGURATION = """\
# Written by local/terraform_provider.py.
provider_installation {{
  filesystem_mirror {{
    path    = "{mirror}"
    include = ["hashicorp/aws"]
  }}
  direct {{
    exclude = ["hashicorp/aws"]
  }}
}}
"""


# Each root for AWS is validated as a copy with this override, which Terraform merges into the block it names:
# https://developer.hashicorp.com/terraform/language/files/override
COPIES = LOCAL / "terraform-copies"
LOCAL_PROVIDER = f"""\
terraform {{
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "= {PROVIDER_VERSION}"
    }}
  }}
}}
"""


class TerraformError(Exception):
    """Terraform, or something that it needs, is missing or failed. The message says why."""


def chosen_provider() -> str:
    """The provider of the local stage, from the environment variable PROVIDER."""
    provider = os.environ.get("PROVIDER") or PACKAGED
    if provider not in (PACKAGED, INSTALLED):
        raise TerraformError(f"PROVIDER={provider} is unknown; unset it, or set PROVIDER={INSTALLED}")
    return provider


def provider_file(provider: str) -> Path:
    """The local environment's file that configures a provider."""
    return ENVIRONMENT / (PACKAGED_FILE if provider == PACKAGED else PACKAGED_FILE.name)


def provider_blocks(provider: str) -> str:
    """The provider's configuration, for a root that also has the environment's variables and locals."""
    return provider_file(provider).read_text().partition("\nlocals {")[0]


def has_packaged_provider() -> bool:
    """Whether the packaged provider runs on this machine."""
    return sys.platform == "linux" and platform.machine() in {"x86_64", "AMD64"}


def mirror() -> Path:
    """The mirror's directory. Fills it if needed."""
    directory = LOCAL / "terraform-mirror"
    place = directory / PROVIDER_DIRECTORY
    if place.is_dir():
        return directory
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="filling-") as scratch:
        wheel = _downloaded_wheel(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(PROVIDER_ZIP)]
            provider_zip = archive.extract(name, scratch)
        unpacked = Path(scratch) / "provider"
        with zipfile.ZipFile(provider_zip) as archive:
            archive.extractall(unpacked)
        for file in unpacked.iterdir():
            file.chmod(0o755)
        try:
            unpacked.rename(place)
        except OSError:
            if not place.is_dir():  # another process was faster
                raise
    return directory


def _downloaded_wheel(directory: Path) -> Path:
    """Downloads the package, which must have the hash in the lock."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--requirement", str(REQUIREMENTS), "--dest", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TerraformError(f"Terraform's AWS provider could not be downloaded:\n{done.stderr[-2000:]}")
    (wheel,) = directory.glob("*.whl")
    return wheel


def environment_for_terraform(provider: str = PACKAGED) -> dict[str, str]:
    """The environment in which Terraform finds a provider and does not prompt."""
    if shutil.which("terraform") is None:
        raise TerraformError("terraform is not on the PATH; install version 1.10 or later")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    environment |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
    return environment | FEW_COLLECTIONS | provider_environment(provider)


def provider_environment(provider: str = PACKAGED) -> dict[str, str]:
    """The settings that tell Terraform where a provider is. Empty if Terraform uses the registry."""
    if provider == INSTALLED:
        name = "TF_CLI_CONFIG_FILE"
        return {name: os.environ[name]} if name in os.environ else {}
    if not has_packaged_provider():
        return {}
    configuration = LOCAL / "terraform.rc"
    path = mirror().as_posix().replace('"', '\\"')
    write_whole(configuration, CLI_CONFIGURATION.format(mirror=path))
    return {"TF_CLI_CONFIG_FILE": str(configuration)}


@contextlib.contextmanager
def running_provider(provider: str = PACKAGED) -> Iterator[dict[str, str]]:
    """Starts the packaged provider once for many commands. Yields the setting with which they attach to it.

    Terraform starts a provider several times for each command, and `terraform test` starts it for each run.
    Each new process first describes all types of AWS's resources, which is most of the CPU time of a small
    command. A process in debug mode describes them once:
    https://developer.hashicorp.com/terraform/plugin/debugging#starting-a-provider-in-debug-mode

    A process has one configuration at a time, so only one command at a time may attach to it. Run
    `terraform init` without the setting, because it locks the versions only of providers that it installs.
    There is no setting for a provider that Terraform finds by itself. There is also none if the provider ends
    at once: on a busy machine it may need more than the two seconds that its debug mode allows for the start.
    Terraform then starts it as usual.
    """
    if provider != PACKAGED or not has_packaged_provider():
        yield {}
        return
    (program,) = (mirror() / PROVIDER_DIRECTORY).glob("terraform-provider-aws_*")
    with tempfile.TemporaryDirectory(prefix="provider-") as directory:  # has the provider's socket
        environment = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        process = subprocess.Popen(
            [program, "-debug"],
            env={**environment, **FEW_COLLECTIONS, "TMPDIR": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            try:
                address = _address_of(process)
                yield {ATTACH: address} if address else {}
            finally:
                process.kill()


def _address_of(process: subprocess.Popen[str]) -> str:
    """Waits until a provider in debug mode prints where it listens. Empty if it ends before that."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(rf"{ATTACH}='(.*)'", line):
            return found[1]
    return ""


def write_whole(path: Path, text: str) -> None:
    """Writes a file atomically: a process that reads it sees all of the old text or all of the new text."""
    if path.is_file() and path.read_text() == text:
        return
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as scratch:
        scratch.write(text)
    Path(scratch.name).replace(path)


def root_for(provider: str, project: Path | None = None) -> Path:
    """Creates a copy of the local environment for a provider, in a project with all that it uses.

    The copy has its own lock of versions, for the versions that Terraform finds.
    """
    project = project or LOCAL / "terraform-roots" / provider
    shutil.rmtree(project, ignore_errors=True)
    root = _copy(ENVIRONMENT, project / "terraform")
    for definition in PROJECT.glob("*.asl.json"):
        shutil.copy(definition, project)
    for used in ("build", ".venv"):
        (project / used).symlink_to(PROJECT / used)
    if provider == PACKAGED:
        _take_packaged_provider(root)
    return root


def _copy(root: Path, directory: Path) -> Path:
    """Copies all Terraform sources. Returns the copied root's directory."""
    sources = PROJECT / "terraform"
    shutil.copytree(sources, directory, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return directory / root.relative_to(sources)


def _take_packaged_provider(root: Path) -> None:
    """Configures a copied root for the packaged provider."""
    if (root / PACKAGED_FILE).is_file():
        shutil.copy(root / PACKAGED_FILE, root / PACKAGED_FILE.name)
    else:
        (root / "local_provider_override.tf").write_text(LOCAL_PROVIDER)


def schema() -> dict[str, Any]:
    """The packaged provider's schema, from `terraform providers schema -json`."""
    directory = LOCAL / "terraform-schema"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "versions.tf").write_text(LOCAL_PROVIDER)
    with initialised(directory) as run:
        document: dict[str, Any] = json.loads(run("providers", "schema", "-json").stdout)
    return document


@contextlib.contextmanager
def initialised(directory: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs Terraform in a directory that uses the packaged provider, and touches no state.

    Each directory has its own data directory, which is kept for the next time.
    """
    environment = environment_for_terraform()
    name = "-".join(directory.relative_to(PROJECT).parts)
    environment["TF_DATA_DIR"] = str(LOCAL / "terraform-validate" / name)

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["terraform", f"-chdir={directory}", *arguments, "-no-color"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise TerraformError(f"terraform {arguments[0]} in {name}:\n{done.stdout}{done.stderr}")
        return done

    (LOCAL / "terraform-validate").mkdir(parents=True, exist_ok=True)
    with (LOCAL / "terraform-validate" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("init", "-backend=false")
        with running_provider() as attached:
            environment |= attached
            yield run


def roots() -> list[Path]:
    """The root modules, in which Terraform runs."""
    return sorted(file.parent for file in (PROJECT / "terraform" / "environments").glob("*/main.tf"))


def validate() -> int:
    """Validates every root, and with it the whole stage, without touching any state.

    Each root is validated as a copy that pins the packaged provider. A test checks what only a newer version
    knows against that version's schema.
    """
    failed = 0
    for root in roots():
        name = root.relative_to(PROJECT / "terraform")
        problems = problems_of_copy(root)
        failed += bool(problems)
        print(f"terraform validate: {name} {'is not valid' if problems else 'is valid'}")
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    return 1 if failed else 0


def problems_of_copy(root: Path) -> list[str]:
    """The errors of a root, without arguments that only a newer version of the provider knows."""
    shutil.rmtree(COPIES, ignore_errors=True)
    copied = _copy(root, COPIES / "terraform")
    _take_packaged_provider(copied)
    return problems_of(copied, takes_newer=True)


def problems_of(root: Path, *, takes_newer: bool = False) -> list[str]:
    """The errors of a root and of the modules that it uses."""
    with initialised(root) as run:
        document = json.loads(run("validate", "-json", check=False).stdout)
    return [
        f"{place.get('filename', root.name)}, line {place.get('start', {}).get('line', '?')}:"
        f" {found['summary']}: {found['detail']}"
        for found in document["diagnostics"]
        for place in [found.get("range", {})]
        if found["severity"] == "error" and not (takes_newer and _is_newer(found))
    ]


def _is_newer(found: dict[str, Any]) -> bool:
    """Whether the root itself uses something that the local provider does not know. A module must not."""
    is_unknown = found["summary"] in {
        "Unsupported argument",
        "Unsupported block type",
        "Invalid resource type",
    }
    is_of_the_root = "/" not in found.get("range", {}).get("filename", "/")
    of_what = (found.get("snippet") or {}).get("context") or ""
    return is_unknown and is_of_the_root and of_what.startswith(("resource ", "data ", "provider "))


def has_installed_provider() -> bool:
    """Whether Terraform finds a provider of version 5.100 or later by itself, for the local stage."""
    root = root_for(INSTALLED, LOCAL / "terraform-roots" / "probe")
    environment = environment_for_terraform(INSTALLED) | {"TF_DATA_DIR": str(LOCAL / "terraform-data-probe")}
    command = ["terraform", f"-chdir={root}", "init", "-backend=false", "-no-color"]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def main(arguments: Sequence[str]) -> int:
    """The command line: `python -m local.terraform_provider validate`, or `installed`."""
    try:
        match list(arguments):
            case ["validate"]:
                return validate()
            case ["installed"]:
                return 0 if has_installed_provider() else 1
    except TerraformError as error:
        print(error, file=sys.stderr)
        return 1
    print("usage: python -m local.terraform_provider validate|installed", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
