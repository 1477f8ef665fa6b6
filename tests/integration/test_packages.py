"""Each function's zip holds every import that Lambda's runtime does not have, and imports quickly."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.cold_starts import MOST_RATIO, cold_starts
from local import lambda_python
from local.quick_starts.emulator import Template
from tools import package

FUNCTIONS = package.functions_in(package.PROJECT / "functions")

# Every other import slows each cold start; `make bench ARGS=cold_starts` measures it.
OURS = {"handler", "jobmanager"}
RUNTIME = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}
LIBRARIES = {"aws_lambda_powertools", "aws_xray_sdk", "typing_extensions", "wrapt"}
OF_JSONSCHEMA = {"attr", "attrs", "jsonschema", "jsonschema_specifications", "referencing", "rpds"}
CHECKS_SCHEMAS = {"put_limit", "receive_callback", "validate_job"}
SENDS_WEBHOOKS = {"notify_service", "route_alerts", "run_execution", "test_job", "test_target"}
NEEDLESS = {"asyncio", "unittest"}

PRINTS_ITS_MODULES = """
import handler, json, sys
assert callable(handler.handler)
print(json.dumps([name for name, module in sys.modules.items() if getattr(module, "__file__", None)]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lambda_python.make(tmp_path_factory.mktemp("runtime") / "python")


@pytest.fixture(scope="module")
def template(python: Path) -> Iterator[Template]:
    """Forks processes that have imported boto3 already, because that takes most of the time."""
    template = Template(str(python))
    yield template
    template.close()


@pytest.fixture(scope="module")
def zips() -> dict[str, Path]:
    built = package.build_all(
        package.NATIVE,
        functions_directory=package.PROJECT / "functions",
        build_directory=package.PROJECT / "build",
    )
    return {zip_.function: zip_.path for zip_ in built}


@pytest.mark.samples(12)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_is_imported_from_its_zip_alone_and_imports_nothing_unexpected(
    function: str, template: Template, zips: dict[str, Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(zips[function]) as archive:
        archive.extractall(tmp_path)
    script = tmp_path / "prints_its_modules.py"
    script.write_text(PRINTS_ITS_MODULES)

    environment = {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1", "LAMBDA_TASK_ROOT": str(tmp_path)}
    with closing(template.process(str(script), tmp_path, environment)) as process:
        printed, errors = process.stdout.read(), process.stderr.read()

    assert printed, errors
    modules = set(json.loads(printed))
    assert not modules & NEEDLESS
    beyond_python = (
        {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"__main__", "__mp_main__"}
    )
    expected = OURS | RUNTIME | LIBRARIES | (OF_JSONSCHEMA if function in CHECKS_SCHEMAS else set())
    expected |= {"h11"} if function in SENDS_WEBHOOKS else set()
    assert beyond_python <= expected


@pytest.mark.samples(0)
def test_no_cold_start_takes_more_than_1_5_times_as_long_as_bare_boto3() -> None:
    found = cold_starts(rounds=2, rounds_if_in_doubt=9, functions=FUNCTIONS)

    assert [each.function for each in found if each.is_slow] == []
    assert sorted(each.function for each in found) == sorted(FUNCTIONS)
    assert MOST_RATIO == 1.5


def test_every_zip_is_within_lambdas_size_limits(zips: dict[str, Path]) -> None:
    """Lambda accepts 50 MB zipped and 250 MB unzipped.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    assert zips.keys() == set(FUNCTIONS)
    for function, path in zips.items():
        with zipfile.ZipFile(path) as archive:
            unzipped = sum(file.file_size for file in archive.infolist())
        assert 0 < path.stat().st_size <= 50 * 1024 * 1024, function
        assert unzipped <= 250 * 1024 * 1024, function
