"""The Python package: what is in it, and that it works where nothing else is installed."""

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.unit.sjm.rehearsal.receivers import SECRET, Receiver
from tests.unit.sjm.stand_in import CREDENTIALS, REGION, StandIn

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "sjm"
VERSION = (ROOT / "terraform" / "version.txt").read_text().strip()
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
# What the extra `client` brings. It is pure Python, so other versions of Python run these files too.
BOTOCORE = ("botocore", "dateutil", "jmespath", "six", "urllib3")
# What the extra `cli` brings too.
OF_THE_COMMAND = ("click", "markdown_it", "mdurl", "pygments", "rich", "yaml")
# What pytest brings, on Python 3.11 and later.
PYTEST = ("_pytest", "iniconfig", "packaging", "pluggy", "py", "pygments", "pytest")
NAMES = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    "AWS_REGION": REGION,
}

# One worker builds once.
pytestmark = pytest.mark.xdist_group("python_package")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "uv", *arguments, "--no-config", "--no-cache")


def built(directory: Path) -> Path:
    """The directory, with what `make package-python` builds without a network."""
    done = run("make", "--silent", "package-python", f"PYTHON_PACKAGES={directory}")
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("packages") / "python")


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    (found,) = packages.glob("*.whl")
    return found


@pytest.fixture(scope="module", params=["3.11", "3.13"])
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of this version in an environment with only the wheel."""
    version = request.param
    found = uv("python", "find", version)
    if found.returncode != 0:
        is_ours = f"{sys.version_info.major}.{sys.version_info.minor}" == version
        assert not is_ours, found.stderr
        pytest.skip(f"there is no Python {version} on this machine")
    environment: Path = tmp_path_factory.mktemp("environment") / version
    made = uv("venv", "--python", found.stdout.strip(), environment)
    assert made.returncode == 0, made.stderr
    interpreter = environment / "bin" / "python"
    installed = uv("pip", "install", "--python", interpreter, wheel)
    assert installed.returncode == 0, installed.stderr
    return interpreter


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_version_is_that_of_the_project(wheel: Path) -> None:
    assert PROJECT["project"]["version"] == VERSION
    assert metadata(wheel)["Version"] == VERSION
    assert f"serverless_job_manager-{VERSION}-py3-none-any.whl" in (ROOT / "docs" / "client.md").read_text()


def test_uv_has_the_build_backend_built_in() -> None:
    """Only then does `make package-python` need no network."""
    (locked,) = re.findall(r"^uv==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)

    (wanted,) = PROJECT["build-system"]["requires"]
    assert PROJECT["build-system"]["build-backend"] == "uv_build"
    assert Requirement(wanted).name == "uv_build"
    assert Requirement(wanted).specifier.contains(locked)
    # A registry may not have the newest one, and pip installs the checkout all the same.
    assert Requirement(wanted).specifier.contains("0.12.0")


def test_the_wheel_has_every_file_of_the_package_and_the_licences(wheel: Path) -> None:
    source = PACKAGE / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
        (licence,) = (archive.read(name) for name in files if name.endswith("dist-info/licenses/LICENSE"))

    assert {name for name in files if ".dist-info/" not in name} == wanted
    # Scripts of others come with their licence.
    vendor = "sjm/console/static/vendor"
    assert {"sjm/py.typed", f"{vendor}/htmx.min.js", f"{vendor}/htmx.LICENSE.txt"} <= wanted
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_has_the_sources_the_readme_and_the_licence(packages: Path) -> None:
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2]: member for member in archive if member.isfile()}

    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/sjm/py.typed",
        "src/sjm/client/manager.py",
    } <= files.keys()
    assert files["LICENSE"].size == (ROOT / "LICENSE").stat().st_size


def test_the_core_has_no_dependencies(wheel: Path) -> None:
    described = metadata(wheel)

    # Each is of an extra, and the extras are those of the project file.
    assert all("; extra == " in each for each in described.get_all("Requires-Dist") or [])
    assert described.get_all("Provides-Extra") == sorted(PROJECT["project"]["optional-dependencies"])
    assert described["Requires-Python"] == ">=3.11"
    assert "Manager(stage=" in str(described.get_payload())


def test_two_builds_are_the_same(wheel: Path, tmp_path: Path) -> None:
    (again,) = built(tmp_path / "again").glob("*.whl")

    assert again.read_bytes() == wheel.read_bytes()


def test_it_is_imported_where_nothing_else_is_installed(python: Path) -> None:
    listed = uv("pip", "list", "--python", python, "--format", "freeze")
    done = run(
        python, "-I", "-c", "import sjm, sjm.client; print(sjm.__version__, sjm.client.Manager.__module__)"
    )

    assert re.match(rf"serverless-job-manager==?{VERSION}|serverless-job-manager @", listed.stdout), listed
    assert len(listed.stdout.split("\n")) == 2
    assert (done.stdout, done.stderr) == (f"{VERSION} sjm.client.manager\n", "")


def test_the_receiver_works_where_nothing_else_is_installed(python: Path, tmp_path: Path) -> None:
    """From a webhook to its result. Only the manager's stand-in is not of the wheel."""
    code = f"""
import asyncio, sjm
from sjm.receiver import DynamoDBSeen, Receiver, Run, Success
from tests.unit.sjm.receiver.manager import SECRET, deliver, running_manager

assert "site-packages" in sjm.__file__
with running_manager() as manager, Receiver(secrets=[SECRET], spool={str(tmp_path / "spool")!r}) as jobs:

    @jobs.job("nightly")
    def nightly(run: Run) -> Success:
        for _ in run.track([1, 2]):
            run.heartbeat()
        return Success(state="4712")

    @jobs.job("coroutine")
    async def coroutine(run: Run) -> str:
        await asyncio.sleep(0)
        return "awaited"

    for job_name in ("nightly", "coroutine"):
        notification = manager.notification(job_name)
        print([deliver(jobs, notification).outcome for _ in range(2)])
        print(manager.wait_for_result(notification["execution_id"]))
    print(deliver(jobs, manager.notification("coroutine", sync=True)).body.decode())
    print(jobs.wsgi().__name__, jobs.asgi().__name__, jobs.close())
try:
    DynamoDBSeen("seen").claim("x", 1)
except ImportError as error:
    print(error)
"""
    done = run(python, "-P", "-W", "error", "-c", code, PYTHONPATH=str(ROOT))

    assert done.stdout.splitlines() == [
        "['accepted', 'duplicate']",
        "{'status': 'success', 'state': '4712'}",
        "['accepted', 'duplicate']",
        "{'status': 'success', 'summary': 'awaited'}",
        '{"summary": "awaited"}',
        "application application True",
        'DynamoDBSeen needs boto3: pip install "serverless-job-manager[dynamodb]"',
    ], done.stderr
    assert done.stderr == ""


def environment_with(packages: tuple[str, ...], directory: Path, server: StandIn) -> dict[str, str]:
    """An environment with these packages of ours, of which the directory gets links, and the stand-in."""
    for name in packages:
        spec = find_spec(name)
        assert spec and spec.origin
        source = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
        (directory / source.name).symlink_to(source)
    return {
        "PYTHONPATH": str(directory),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SJM_URL": server.url,
        **NAMES,
    }


def test_the_command_works(python: Path, server: StandIn, tmp_path: Path) -> None:
    sjm = python.with_name("sjm")
    without = run(sjm, "--help")
    environment = environment_with(BOTOCORE + OF_THE_COMMAND, tmp_path, server)
    version, helped, listed = (
        run(sjm, *arguments, PYTHONWARNINGS="error", **environment)
        for arguments in (["--version"], ["--help"], ["jobs", "list"])
    )

    assert (without.returncode, "serverless-job-manager[cli]" in without.stderr) == (2, True)
    assert (version.stdout, version.stderr) == (f"sjm {VERSION}\n", "")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "executions" in helped.stdout
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.startswith("JOB ")


def test_pytest_finds_the_plugin_and_rehearses_without_an_extra(
    python: Path, server: StandIn, tmp_path: Path
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_receiver.py").write_text(
        "import os\n"
        "def test_receiver(sjm_rehearsal):\n"
        "    url, secret = os.environ['RECEIVER'], os.environ['SECRET']\n"
        "    sjm_rehearsal(url, secret=secret, only=['good', 'test']).assert_passed()\n"
    )
    with Receiver() as receiver:
        options = ("-W", "error", "-p", "no:cacheprovider", "-q")
        given = {"RECEIVER": receiver.url, "SECRET": SECRET, **environment_with(PYTEST, tmp_path, server)}
        done = run(python, "-m", "pytest", *options, tests, **given)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_it_calls_the_api_with_botocore(python: Path, server: StandIn, tmp_path: Path) -> None:
    code = "from sjm.client import Manager\nwith Manager() as m: print(m.get_job('a', 'b')['version'])"
    done = run(python, "-W", "error", "-c", code, **environment_with(BOTOCORE, tmp_path, server))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().isdecimal()
    assert server.received[0].headers["user-agent"].startswith(f"sjm/{VERSION} python/")
