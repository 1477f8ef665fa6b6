"""A forked function process behaves like a new Python process."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="functions are forked on Linux only")

PRINTS_ITS_SURROUNDINGS = """
import json, os, sys, subprocess
print("on stderr", file=sys.stderr)
asked = sys.stdin.readline()
print(json.dumps({
    "asked": asked, "environment": dict(os.environ), "directory": os.getcwd(), "arguments": sys.argv,
    "path": sys.path[0], "name": __name__, "file": __file__, "boto3": "boto3" in sys.modules,
    "ours": [name for name in sys.modules if name.split(".")[0] in ("local", "jobmanager")],
    "descriptors": len(os.listdir("/proc/self/fd")), "child": subprocess.run(["true"]).returncode,
}))
"""
WAITS = "import sys; print('ready', flush=True); sys.stdin.readline()"


@pytest.fixture(scope="module")
def template() -> Iterator[Any]:
    from local.quick_starts.emulator import Template

    template = Template(sys.executable)
    yield template
    template.close()


@pytest.fixture
def forked(template: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    processes: list[Any] = []

    def fork(script: str, **environment: str) -> Any:
        path = (
            tmp_path / f"script{len(processes)}.py"
        )  # an earlier process may still be about to read its own
        path.write_text(script)
        processes.append(template.process(str(path), tmp_path, environment))
        return processes[-1]

    yield fork
    for process in processes:
        process.close()


def test_a_forked_process_has_its_own_environment_directory_arguments_and_streams(
    forked: Any, tmp_path: Path
) -> None:
    process = forked(PRINTS_ITS_SURROUNDINGS, OWN="1")
    process.stdin.write("hello\n")
    process.stdin.flush()
    found = json.loads(process.stdout.readline())

    script = str(tmp_path / "script0.py")
    assert found == {
        "asked": "hello\n",
        "environment": {"OWN": "1"},
        "directory": str(tmp_path),
        "arguments": [script],
        "path": str(tmp_path),
        "name": "__main__",
        "file": script,
        "boto3": True,
        "ours": [],
        "descriptors": 5,  # three streams, the pipe that reports its end, and the directory that it lists
        "child": 0,
    }
    assert process.stderr.read() == "on stderr\n"
    assert process.wait(timeout=60) == 0


def test_a_forked_process_runs_until_it_ends_or_is_stopped(forked: Any, tmp_path: Path) -> None:
    ends, terminated, killed = (forked(WAITS) for _ in range(3))
    for process in (ends, terminated, killed):
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)

    ends.stdin.close()
    terminated.terminate()
    killed.kill()

    for process in (ends, terminated, killed):
        assert process.wait(timeout=60) == 0
        assert process.poll() == 0
        process.kill()  # does nothing, because the process has ended


def test_forked_processes_do_not_affect_each_other(forked: Any, tmp_path: Path) -> None:
    forked("import os, sys, csv; os.environ['A'] = '1'; sys.path.append('a')").wait(60)
    script = "import os, sys; print(os.environ.get('A'), 'csv' in sys.modules, 'a' in sys.path)"
    process = forked(script)

    assert process.stdout.read() == "None False False\n"


def test_zips_share_the_packages_that_they_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ministack.core import lambda_runtime

    from local.quick_starts.emulator import unpack_each_zip_once

    monkeypatch.setattr(lambda_runtime, "zipfile", zipfile)
    unpack_each_zip_once(tmp_path / "unpacked")
    common = {"package/__init__.py": "WORD = 'shared'", "package/inner/module.py": "", "single.py": ""}
    versions = (
        {**common, "handler.py": "import package, single; print(package.WORD)"},
        {**common, "handler.py": "import package.inner.module; print(package.WORD)"},
        {
            **common,
            "handler.py": "import package; print(package.WORD)",
            "package/__init__.py": "WORD = 'own'",
        },
    )
    unpacked = [tmp_path / name for name in ("first", "second", "third")]
    for place, files in zip(unpacked, versions, strict=True):
        with zipfile.ZipFile(f"{place}.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        place.mkdir()
        with lambda_runtime.zipfile.ZipFile(f"{place}.zip") as archive:
            archive.extractall(place)
    printed = [
        subprocess.run([sys.executable, "handler.py"], cwd=place, capture_output=True, text=True, check=True)
        for place in unpacked
    ]
    assert [each.stdout.strip() for each in printed] == ["shared", "shared", "own"]
    inits = [(place / "package" / "__init__.py").stat().st_ino for place in unpacked]
    assert inits[0] == inits[1] != inits[2]
    assert len({(place / "single.py").stat().st_ino for place in unpacked}) == 1
