"""Takes scripts of others from the npm registry: for the console, and for the tests of its pages.

    python -m tools.console_assets            the console's, which `make package-python` packs
    python -m tools.console_assets --tests    those of the browser tests too

requirements/scripts.toml names the packages with their versions and hashes, the files and where each goes. A
file that is in place is left alone, so nothing is fetched then. The registry is npm's public one, or that in
the environment variable npm_config_registry.
"""

import argparse
import base64
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
PINS = PROJECT / "requirements" / "scripts.toml"
CONSOLE, TESTS = "console", "tests"

_REGISTRY = "https://registry.npmjs.org"
_REGISTRY_SETTING = "npm_config_registry"
_TIMEOUT_SECONDS = 60
_MAX_PACKAGE_BYTES = 32 * 1024 * 1024
_MAX_FILE_BYTES = 4 * 1024 * 1024


class AssetError(Exception):
    """A script cannot be taken. The message says why and what to do."""


@dataclass(frozen=True)
class Asset:
    """One file of a package: its path there, where it goes, and the SHA-256 of its content."""

    source: str
    target: Path
    sha256: str

    def is_in_place(self) -> bool:
        """Whether the file is there with the pinned content."""
        try:
            return hashlib.sha256(self.target.read_bytes()).hexdigest() == self.sha256
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class Package:
    """A package of the npm registry in one version. ``integrity`` is its hash in npm's form."""

    name: str
    version: str
    integrity: str
    assets: tuple[Asset, ...]

    def url(self, registry: str) -> str:
        """Where a registry has the package's archive."""
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.split('/')[-1]}-{self.version}.tgz"


def pinned(group: str, pins: Path = PINS, project: Path = PROJECT) -> Package:
    """The package that the file of pins names for ``console`` or ``tests``."""
    described = tomllib.loads(pins.read_text())[group]
    directory = project / described["directory"]
    assets = tuple(
        Asset(source, directory / file["name"], file["sha256"]) for source, file in described["files"].items()
    )
    return Package(described["package"], described["version"], described["integrity"], assets)


def put_in_place(package: Package, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Writes the files of a package that are missing or different. Returns which; fetches only for these."""
    missing = [asset for asset in package.assets if not asset.is_in_place()]
    if not missing:
        return []
    content = _fetched(package, environment.get(_REGISTRY_SETTING) or _REGISTRY)
    _check_integrity(package, content)
    # All are read before the first is written, so that a wrong pin changes nothing.
    for asset, data in [(asset, _extracted(package, content, asset)) for asset in missing]:
        _write(asset.target, data)
    return [asset.target for asset in missing]


def _fetched(package: Package, registry: str) -> bytes:
    parts = urlsplit(registry)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AssetError(f"{_REGISTRY_SETTING} is {registry!r}. Expected the https URL of an npm registry.")
    try:
        with urllib.request.urlopen(package.url(registry), timeout=_TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(_MAX_PACKAGE_BYTES + 1)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise AssetError(
            f"{package.name} {package.version} cannot be fetched from {parts.hostname}: {reason}. Connect to"
            f" the network once, or set {_REGISTRY_SETTING} to a registry that you can reach."
        ) from error
    if len(content) > _MAX_PACKAGE_BYTES:
        raise AssetError(f"{package.name} {package.version} is larger than {_MAX_PACKAGE_BYTES} bytes.")
    return content


def _check_integrity(package: Package, content: bytes) -> None:
    digest = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != package.integrity:
        raise AssetError(
            f"{package.name} {package.version} has the hash {digest}. {PINS.name} expects"
            f" {package.integrity}. Do not use it before you know why."
        )


def _extracted(package: Package, content: bytes, asset: Asset) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        try:
            member = archive.getmember(f"package/{asset.source}")
        except KeyError:
            raise AssetError(f"{package.name} {package.version} has no file {asset.source}.") from None
        file = archive.extractfile(member) if member.isfile() else None
        if file is None or member.size > _MAX_FILE_BYTES:
            raise AssetError(
                f"{asset.source} of {package.name} is no file of at most {_MAX_FILE_BYTES} bytes."
            )
        data = file.read()
    if hashlib.sha256(data).hexdigest() != asset.sha256:
        raise AssetError(f"{asset.source} of {package.name} has another hash than {PINS.name} expects.")
    return data


def _write(target: Path, data: bytes) -> None:
    """Replaces the file at once, so that nobody reads half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the files in place, and names those that it wrote. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Takes the console's scripts from the npm registry.")
    parser.add_argument("--tests", action="store_true", help="also those of the browser tests")
    groups = (CONSOLE, TESTS) if parser.parse_args(arguments).tests else (CONSOLE,)
    try:
        for group in groups:
            package = pinned(group)
            for path in put_in_place(package):
                print(f"{path.relative_to(PROJECT)}: {package.name} {package.version}")
    except AssetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
