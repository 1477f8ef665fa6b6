"""Each function's zip carries all that the function imports beyond what Lambda's runtime has."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from local import lambda_python
from tools import package

FUNCTIONS = package.functions_in(package.PROJECT / "functions")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lambda_python.make(tmp_path_factory.mktemp("runtime") / "python")


@pytest.fixture(scope="module")
def zips() -> dict[str, Path]:
    built = package.build_all(
        package.NATIVE,
        functions_directory=package.PROJECT / "functions",
        build_directory=package.PROJECT / "build",
    )
    return {zip_.function: zip_.path for zip_ in built}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_is_imported_from_its_zip_alone(
    function: str, python: Path, zips: dict[str, Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(zips[function]) as archive:
        archive.extractall(tmp_path)

    command = [str(python), "-c", "import handler; assert callable(handler.handler)"]
    environment = {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
