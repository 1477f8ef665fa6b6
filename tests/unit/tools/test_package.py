"""Builds zips of tiny functions: what a zip contains, that it is reproducible, and when it is rebuilt."""

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tools import package
from tools.package import LAMBDA, NATIVE, Built, PackageError

TAG = sys.implementation.cache_tag
TREE = {
    "_shared/jobmanager/__init__.py": "WORD = 'shared'\n",
    "_shared/jobmanager/schemas/job.schema.json": "{}",
    "_shared/jobmanager/__pycache__/__init__.cpython-313.pyc": "compiled",
    "greet/handler.py": "from jobmanager import WORD\n\ndef handler(event, context):\n    return WORD\n",
    "greet/requirements.in": "",
    "part/handler.py": "def handler(event, context):\n    return None\n",
    "no_function/notes.txt": "",
}


class Workshop:
    """A project of two functions, with third-party packages that are already installed."""

    def __init__(self, directory: Path) -> None:
        self.functions = directory / "functions"
        self.build = directory / "build"
        for name, content in TREE.items():
            self.write(name, content)

    def write(self, name: str, content: str) -> Path:
        path = self.functions / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def vendor(self, function: str, name: str, content: str) -> None:
        lock = self.write(f"{function}/requirements.txt", f"# what {function} needs\n")
        path = self.build / "vendor" / package.vendor_key(lock, LAMBDA) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def build_all(self) -> dict[str, Built]:
        zips = package.build_all(LAMBDA, functions_directory=self.functions, build_directory=self.build)
        return {built.function: built for built in zips}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "a path with spaces")


def names_in(built: Built) -> list[str]:
    with zipfile.ZipFile(built.path) as archive:
        return archive.namelist()


def test_each_handler_becomes_a_zip_with_the_shared_package(workshop: Workshop) -> None:
    zips = workshop.build_all()

    assert list(zips) == ["greet", "part"]
    assert names_in(zips["greet"]) == [
        "jobmanager/__init__.py",
        f"jobmanager/__pycache__/__init__.{TAG}.pyc",
        "jobmanager/schemas/job.schema.json",
        "handler.py",
        f"__pycache__/handler.{TAG}.pyc",
    ]


def test_a_zip_has_the_packages_of_the_common_lock_and_of_its_functions_own(workshop: Workshop) -> None:
    workshop.vendor(".", "everywhere.py", "")
    workshop.vendor("part", "only_there.py", "")
    zips = workshop.build_all()
    modules = {"everywhere.py", "only_there.py", "handler.py"}
    assert modules.intersection(names_in(zips["greet"])) == {"everywhere.py", "handler.py"}
    assert modules.intersection(names_in(zips["part"])) == modules


def test_python_runs_the_zip(workshop: Workshop, tmp_path: Path) -> None:
    with zipfile.ZipFile(workshop.build_all()["greet"].path) as archive:
        archive.extractall(tmp_path / "task")

    code = "import handler, json; print(json.dumps(handler.handler({}, None)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "task", capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == "shared"


def test_zips_leave_out_tests_caches_and_scripts_of_third_party_packages(workshop: Workshop) -> None:
    for name in (
        "library/__init__.py",
        "library/tests/test_it.py",
        "library/__pycache__/x.pyc",
        "library/typing.pyi",
        "library/zoneinfo/Europe/Berlin",
        "library/zoneinfo/tzdata.zi",
        "library/zoneinfo/zone1970.tab",
        "library-1.0.dist-info/METADATA",
        "library-1.0.dist-info/RECORD",
        "library-1.0.dist-info/licenses/LICENSE",
        "bin/library",
    ):
        workshop.vendor("greet", name, "")

    assert [name for name in names_in(workshop.build_all()["greet"]) if name.startswith(("lib", "bin"))] == [
        "library-1.0.dist-info/METADATA",
        "library-1.0.dist-info/licenses/LICENSE",
        "library/__init__.py",
        f"library/__pycache__/__init__.{TAG}.pyc",
        "library/zoneinfo/Europe/Berlin",
    ]


def test_zips_contain_only_the_used_subpackages_of_large_libraries(workshop: Workshop) -> None:
    for name in (
        "aws_lambda_powertools/__init__.py",
        "aws_lambda_powertools/event_handler/router.py",
        "aws_lambda_powertools/logging/logger.py",
        "aws_lambda_powertools/logging/formatters/datadog.py",
        "aws_lambda_powertools/utilities/__init__.py",
        "aws_lambda_powertools/utilities/parser/models.py",
        "aws_lambda_powertools/utilities/typing/lambda_context.py",
    ):
        workshop.vendor("greet", name, "")

    included = [name for name in names_in(workshop.build_all()["greet"]) if name.startswith("aws_")]

    assert [name.removeprefix("aws_lambda_powertools/") for name in included if name.endswith(".py")] == [
        "__init__.py",
        "logging/formatters/datadog.py",
        "logging/logger.py",
        "utilities/__init__.py",
        "utilities/typing/lambda_context.py",
    ]


def test_the_same_sources_give_the_same_bytes(workshop: Workshop, tmp_path: Path) -> None:
    other = Workshop(tmp_path / "elsewhere")
    for path in other.functions.rglob("*.py"):
        path.chmod(0o700)
        os.utime(path, (1, 1))

    first, second = workshop.build_all(), other.build_all()

    assert {name: built.path.read_bytes() for name, built in first.items()} == {
        name: built.path.read_bytes() for name, built in second.items()
    }


def test_only_changed_functions_are_rebuilt(workshop: Workshop) -> None:
    workshop.build_all()
    workshop.write("greet/handler.py", "def handler(event, context):\n    return 'changed'\n")

    assert {name: built.changed for name, built in workshop.build_all().items()} == {
        "greet": True,
        "part": False,
    }

    workshop.write("_shared/jobmanager/__init__.py", "WORD = 'changed'\n")

    assert all(built.changed for built in workshop.build_all().values())
    assert not any(built.changed for built in workshop.build_all().values())


def test_a_function_is_rebuilt_if_its_lock_changes(workshop: Workshop) -> None:
    workshop.build_all()
    workshop.write("part/requirements.txt", "# now with a lock\n")

    assert {name: built.changed for name, built in workshop.build_all().items()} == {
        "greet": False,
        "part": True,
    }


def test_the_zip_of_a_removed_function_is_deleted(workshop: Workshop) -> None:
    workshop.build_all()
    (workshop.functions / "part" / "handler.py").unlink()
    workshop.build_all()

    assert [path.name for path in (workshop.build / "lambda").glob("*.zip")] == ["greet.zip"]


@pytest.mark.parametrize("name", ["handler.py", "jobmanager/__init__.py"])
def test_two_files_with_the_same_name_are_an_error(name: str, workshop: Workshop) -> None:
    workshop.vendor("greet", name, "")

    with pytest.raises(PackageError, match=rf"greet: both the project and .* have a file {re.escape(name)};"):
        workshop.build_all()


def test_a_lock_that_pip_rejects_is_an_error(workshop: Workshop) -> None:
    workshop.write("part/requirements.txt", "without-a-hash==1.0\n")

    with pytest.raises(PackageError, match="could not install"):
        workshop.build_all()


def test_source_that_does_not_compile_is_an_error_with_its_place(workshop: Workshop) -> None:
    workshop.write("part/handler.py", "def handler(event, context)\n")

    with pytest.raises(PackageError, match=r"part: .*handler\.py, line 1"):
        workshop.build_all()


def test_another_python_than_lambdas_is_an_error(workshop: Workshop) -> None:
    other = replace(LAMBDA, cache_tag="cpython-399")

    with pytest.raises(PackageError, match=f"runs cpython-399, but this Python is {TAG}"):
        package.build_all(other, functions_directory=workshop.functions, build_directory=workshop.build)


def test_lambda_and_this_machine_never_share_wheels(workshop: Workshop) -> None:
    lock = workshop.write("requirements.txt", "")

    assert package.vendor_key(lock, LAMBDA) != package.vendor_key(lock, NATIVE)


@pytest.mark.parametrize(
    "lock",
    sorted((package.PROJECT / "functions").rglob("requirements.txt")),
    ids=lambda lock: lock.parent.name,
)
def test_the_locks_pin_by_hash_and_leave_out_packages_of_the_lambda_runtime(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    pins = [line for line in lines if not line.startswith(" ")]

    assert all("==" in pin for pin in pins)
    assert len(lines) > len(pins)
    assert not any(
        pin.startswith(("boto", "s3transfer", "jmespath", "six", "python-dateutil")) for pin in pins
    )
    assert "://" not in lock.read_text()
