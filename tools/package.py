"""Builds the functions' zips: one for each functions/<function>/handler.py.

A zip contains the function's own files, the package jobmanager, and the third-party packages that
functions/requirements.txt and functions/<function>/requirements.txt lock, all at its root. For Lambda, the
packages are Linux x86-64 wheels on whatever machine you build. For the local stage, `--platform native` takes
the wheels of this machine.

A zip also contains each module in compiled form. Lambda's /var/task is read-only, so Python could not cache
what it compiles there, and every cold start would compile its modules again.

Equal sources give equal bytes, so Terraform sees a change only if there is one: names are sorted, times and
permissions are fixed, and files that differ between installations are left out.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bytecode import CACHE_TAG, compiled, name_of_compiled

PROJECT = Path(__file__).resolve().parent.parent

SHARED_PACKAGE = "jobmanager"
EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644

EXCLUDED_DIRECTORIES = {"__pycache__", "benchmarks", "bin", "tests"}
# ".min.js" and ".min.css" are Swagger UI. Of tzdata, zoneinfo reads neither ".zi" nor ".tab".
EXCLUDED_SUFFIXES = (".pyc", ".pyo", ".pyi", ".c", ".min.js", ".min.css", ".zi", ".tab")
# A zip contains the modules directly in these packages, and only the listed subpackages. No function uses the
# others, which would double the zip's size.
INCLUDED_SUBPACKAGES = {
    ("aws_lambda_powertools",): {
        "exceptions",
        "logging",
        "metrics",
        "middleware_factory",
        "shared",
        "tracing",
        "utilities",
        "warnings",
    },
    ("aws_lambda_powertools", "utilities"): {"jmespath_utils", "typing"},
    ("aws_xray_sdk", "ext"): {"botocore", "httplib", "resources"},
}
# A zip keeps the version and the licence of each distribution, and nothing else of its metadata.
INCLUDED_DIST_INFO = ("METADATA", "LICENSE", "LICENCE", "NOTICE", "COPYING", "AUTHORS", "licenses")


class PackageError(Exception):
    """The zips cannot be built. The message says why."""


@dataclass(frozen=True)
class Target:
    """Where the zips will run. This decides which wheels they need."""

    name: str
    directory: str
    pip_arguments: tuple[str, ...]
    identity: str
    cache_tag: str


LAMBDA = Target(
    name="lambda",
    directory="lambda",
    pip_arguments=(
        "--only-binary=:all:",
        "--platform=manylinux2014_x86_64",
        "--platform=manylinux_2_28_x86_64",
        "--python-version=3.13",
        "--implementation=cp",
    ),
    identity="lambda-python3.13-x86_64",
    cache_tag="cpython-313",
)
NATIVE = Target(
    name="native",
    directory="local",
    pip_arguments=(),
    identity=f"{sys.platform}-{platform.machine()}-python{sys.version_info.major}.{sys.version_info.minor}",
    cache_tag=CACHE_TAG,
)
TARGETS = {target.name: target for target in (LAMBDA, NATIVE)}


@dataclass(frozen=True)
class Built:
    """One zip, and whether this build changed it."""

    function: str
    path: Path
    changed: bool


def functions_in(functions_directory: Path) -> list[str]:
    """The names of all functions, sorted."""
    return sorted(handler.parent.name for handler in functions_directory.glob("[!_]*/handler.py"))


def requirement_files(functions_directory: Path, function: str) -> list[Path]:
    """The locks whose packages a function's zip contains."""
    candidates = [
        functions_directory / "requirements.txt",
        functions_directory / function / "requirements.txt",
    ]
    return [candidate for candidate in candidates if candidate.is_file()]


def vendor_key(requirements: Sequence[Path], target: Target) -> str:
    """The name of a set of third-party packages. Functions with equal locks share one installation."""
    digest = hashlib.sha256(target.identity.encode())
    for argument in target.pip_arguments:
        digest.update(b"\0" + argument.encode())
    for file in requirements:
        digest.update(b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def install_third_party(requirements: Sequence[Path], target: Target, vendor_directory: Path) -> Path:
    """Installs the packages of the locks, unless they are installed. Returns their directory."""
    place = vendor_directory / vendor_key(requirements, target)
    if place.is_dir():
        return place
    vendor_directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=vendor_directory, prefix="installing-") as scratch:
        content = Path(scratch) / "content"
        content.mkdir()
        if requirements:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--require-hashes", "--no-compile", "--target", str(content)]
            command += target.pip_arguments
            for file in requirements:
                command += ["--requirement", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise PackageError(f"pip could not install the functions' packages:\n{done.stderr[-4000:]}")
        try:
            content.rename(place)
        except OSError:
            if not place.is_dir():  # otherwise, another build installed the same set meanwhile
                raise
    return place


def is_included(relative: Path) -> bool:
    """Whether a file of an installed package, or one of the project's, belongs in a zip."""
    if relative.name.endswith(EXCLUDED_SUFFIXES) or EXCLUDED_DIRECTORIES & set(relative.parts[:-1]):
        return False
    if relative.parts[0].endswith(".dist-info"):
        return len(relative.parts) > 1 and relative.parts[1].startswith(INCLUDED_DIST_INFO)
    directories = relative.parts[:-1]
    return all(
        directories[: len(package)] != package or directories[len(package)] in included
        for package, included in INCLUDED_SUBPACKAGES.items()
        if len(directories) > len(package)
    )


def files_under(directory: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Each file that belongs in a zip: its name in the zip, and its path."""
    for path in directory.rglob("*"):
        relative = path.relative_to(directory)
        if path.is_file() and is_included(relative):
            yield prefix + relative.as_posix(), path


def own_files(functions_directory: Path, function: str) -> dict[str, Path]:
    """The files of the function and of jobmanager, by their names in the zip."""
    files = {
        name: path
        for name, path in files_under(functions_directory / function)
        if not (path.parent == functions_directory / function and path.name.startswith("requirements."))
    }
    shared = functions_directory / "_shared" / SHARED_PACKAGE
    for name, path in files_under(shared, f"{SHARED_PACKAGE}/"):
        if name in files:
            raise PackageError(
                f"{function}: both the function and the package {SHARED_PACKAGE} have a file {name};"
                " rename the function's"
            )
        files[name] = path
    return files


def inputs_digest(files: Mapping[str, Path], vendor: str) -> str:
    """A digest of all that decides a zip's content: files, third-party packages, this program, Python."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(f"{vendor} {sys.version}".encode())
    for name in sorted(files):
        digest.update(b"\0" + name.encode() + b"\0" + hashlib.sha256(files[name].read_bytes()).digest())
    return digest.hexdigest()


def write_zip(path: Path, files: Mapping[str, Path]) -> None:
    """Writes the files under their names. Equal content gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(files):
                content = files[name].read_bytes()
                add_entry(archive, name, content)
                if name.endswith(".py"):
                    add_entry(archive, name_of_compiled(name), compiled(name, content))
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def add_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Adds a file whose entry is the same in every build."""
    entry = zipfile.ZipInfo(name, EARLIEST_ZIP_TIME)
    entry.external_attr = FILE_MODE << 16
    entry.create_system = 3  # Unix, also when Windows builds
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content, compresslevel=6)


def build(function: str, target: Target, *, functions_directory: Path, build_directory: Path) -> Built:
    """Builds one function's zip, unless nothing changed since the last build."""
    path = build_directory / target.directory / f"{function}.zip"
    known = path.with_name(f".{path.name}.inputs")
    requirements = requirement_files(functions_directory, function)
    vendor = install_third_party(requirements, target, build_directory / "vendor")
    files = own_files(functions_directory, function)
    digest = inputs_digest(files, vendor.name)
    if path.is_file() and known.is_file() and known.read_text() == digest:
        return Built(function, path, changed=False)
    for name, third_party in files_under(vendor):
        if name in files:
            raise PackageError(
                f"{function}: both the project and a third-party package have a file {name};"
                " rename the project's"
            )
        files[name] = third_party
    try:
        write_zip(path, files)
    except SyntaxError as error:
        raise PackageError(f"{function}: {error}") from error
    known.write_text(digest)
    return Built(function, path, changed=True)


def remove_stale(directory: Path, functions: Sequence[str]) -> None:
    """Removes the zips of functions that no longer exist."""
    for path in directory.glob("*.zip"):
        if path.stem not in functions:
            path.unlink()
            path.with_name(f".{path.name}.inputs").unlink(missing_ok=True)


def build_all(target: Target, *, functions_directory: Path, build_directory: Path) -> list[Built]:
    """Builds every function's zip for the target. Raises PackageError if this is not the target's Python."""
    if target.cache_tag != CACHE_TAG:
        raise PackageError(
            f"{target.name} runs {target.cache_tag}, but this Python is {CACHE_TAG}. Its compiled modules"
            " would be ignored there, and each cold start would compile again. Run this with"
            f" {target.cache_tag}."
        )
    functions = functions_in(functions_directory)
    if not functions:
        raise PackageError(f"found no <function>/handler.py in {functions_directory}")
    remove_stale(build_directory / target.directory, functions)
    return [
        build(function, target, functions_directory=functions_directory, build_directory=build_directory)
        for function in functions
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds all zips, and prints how many changed."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.package", description="Builds the functions' zips."
    )
    parser.add_argument("--platform", choices=sorted(TARGETS), default=LAMBDA.name)
    parser.add_argument("--from-scratch", action="store_true", help="delete earlier zips first")
    options = parser.parse_args(arguments)
    target = TARGETS[options.platform]
    build_directory = PROJECT / "build"
    if options.from_scratch:
        shutil.rmtree(build_directory / target.directory, ignore_errors=True)
    started = time.monotonic()
    try:
        zips = build_all(target, functions_directory=PROJECT / "functions", build_directory=build_directory)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    changed = sum(zip_.changed for zip_ in zips)
    size = sum(zip_.path.stat().st_size for zip_ in zips) / 1e6
    place = (build_directory / target.directory).relative_to(PROJECT)
    seconds = time.monotonic() - started
    print(f"{place}: {len(zips)} zips, {size:.1f} MB, {changed} rebuilt, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
