"""Builds the functions' zips: one for each functions/<function>/handler.py.

A zip contains the function's own files, the package jobmanager, and the third-party packages that
functions/requirements.txt and functions/<function>/requirements.txt lock, all at its root. For Lambda, the
packages are Linux x86-64 wheels on whatever machine you build. For the local stage, `--platform native` takes
the wheels of this machine.

A zip also contains each module in compiled form. Lambda's /var/task is read-only, so Python could not cache
what it compiles there, and every cold start would compile its modules again.

Zips with equal locks have everything in common but the function's own files. So the common part is compressed
once, and copied into each zip.

Equal sources give equal bytes, so Terraform sees a change only if there is one: names are sorted, first those
of the common part, times and permissions are fixed, and files that differ between installations are left out.
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
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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


def vendor_key(requirements: Path, target: Target) -> str:
    """The name of the packages of a lock. Equal locks share one installation."""
    digest = hashlib.sha256(target.identity.encode())
    for argument in target.pip_arguments:
        digest.update(b"\0" + argument.encode())
    digest.update(b"\0" + requirements.read_bytes())
    return digest.hexdigest()[:16]


def install_third_party(requirements: Path, target: Target, vendor_directory: Path) -> Path:
    """Installs the packages of a lock, unless they are installed. Returns their directory."""
    place = vendor_directory / vendor_key(requirements, target)
    if place.is_dir():
        return place
    vendor_directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=vendor_directory, prefix="installing-") as scratch:
        content = Path(scratch) / "content"
        content.mkdir()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--no-compile", "--target", str(content)]
        command += [*target.pip_arguments, "--requirement", str(requirements)]
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
    """The function's own files, by their names in the zip."""
    directory = functions_directory / function
    return {
        name: path
        for name, path in files_under(directory)
        if not (path.parent == directory and path.name.startswith("requirements."))
    }


def shared_files(functions_directory: Path) -> dict[str, Path]:
    """The files of jobmanager, by their names in each zip."""
    return dict(files_under(functions_directory / "_shared" / SHARED_PACKAGE, f"{SHARED_PACKAGE}/"))


class CommonParts:
    """The parts that zips have in common: jobmanager and third-party packages. Makes each part once."""

    def __init__(self, shared: Mapping[str, Path], scratch: Path) -> None:
        self.shared = shared
        self._scratch = scratch
        self._made: dict[tuple[Path, ...], tuple[Path, set[str]]] = {}

    def for_function(self, function: str, installed: tuple[Path, ...]) -> tuple[Path, set[str]]:
        """Returns a zip of jobmanager and the packages in these directories, and the names in it."""
        if installed not in self._made:
            third_party = dict(chain.from_iterable(map(files_under, installed)))
            check_apart(function, self.shared, third_party)
            files = {**self.shared, **third_party}
            path = self._scratch / f"{len(self._made)}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                add_files(archive, files)
            self._made[installed] = path, set(files)
        return self._made[installed]


def check_apart(function: str, own: Iterable[str], common: Container[str]) -> None:
    """Raises PackageError if two files of a zip would have the same name."""
    for name in own:
        if name in common:
            raise PackageError(
                f"{function}: both the project and the package {SHARED_PACKAGE} or a third-party package have"
                f" a file {name}; rename the project's"
            )


def inputs_digest(files: Mapping[str, Path], installed: Iterable[Path]) -> str:
    """A digest of all that decides a zip's content: files, third-party packages, this program, Python."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(f"{' '.join(each.name for each in installed)} {sys.version}".encode())
    for name in sorted(files):
        digest.update(b"\0" + name.encode() + b"\0" + hashlib.sha256(files[name].read_bytes()).digest())
    return digest.hexdigest()


def write_zip(path: Path, common: Path, files: Mapping[str, Path]) -> None:
    """Writes a zip of the common part and these files. Equal content gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        shutil.copyfile(common, scratch)
        with zipfile.ZipFile(scratch, "a") as archive:
            add_files(archive, files)
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def add_files(archive: zipfile.ZipFile, files: Mapping[str, Path]) -> None:
    """Adds files under their names, and each module in compiled form, too. Raises SyntaxError."""
    for name in sorted(files):
        content = files[name].read_bytes()
        add_entry(archive, name, content)
        if name.endswith(".py"):
            add_entry(archive, name_of_compiled(name), compiled(name, content))


def add_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Adds a file whose entry is the same in every build."""
    entry = zipfile.ZipInfo(name, EARLIEST_ZIP_TIME)
    entry.external_attr = FILE_MODE << 16
    entry.create_system = 3  # Unix, also when Windows builds
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content, compresslevel=6)


def build(
    function: str, target: Target, common: CommonParts, *, functions_directory: Path, build_directory: Path
) -> Built:
    """Builds one function's zip, unless nothing changed since the last build."""
    path = build_directory / target.directory / f"{function}.zip"
    known = path.with_name(f".{path.name}.inputs")
    locks = requirement_files(functions_directory, function)
    installed = tuple(install_third_party(lock, target, build_directory / "vendor") for lock in locks)
    files = own_files(functions_directory, function)
    digest = inputs_digest({**common.shared, **files}, installed)
    if path.is_file() and known.is_file() and known.read_text() == digest:
        return Built(function, path, changed=False)
    try:
        common_part, common_names = common.for_function(function, installed)
        check_apart(function, files, common_names)
        write_zip(path, common_part, files)
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
    with tempfile.TemporaryDirectory() as scratch:
        common = CommonParts(shared_files(functions_directory), Path(scratch))
        return [
            build(
                function,
                target,
                common,
                functions_directory=functions_directory,
                build_directory=build_directory,
            )
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
