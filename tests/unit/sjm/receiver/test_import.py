"""Importing the receiver is cheap, because it imports little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sjm.receiver.spool import Spool
from tests.unit.sjm.receiver.manager import Manager

ROOT = Path(__file__).resolve().parents[4]
# Each of these costs about as much as the receiver itself, or needs to be installed.
HEAVY = {
    "asyncio",
    "base64",
    "boto3",
    "botocore",
    "dataclasses",
    "email",
    "hashlib",
    "http",
    "inspect",
    "json",
    "pathlib",
    "socket",
    "sqlite3",
    "ssl",
    "tempfile",
    "urllib",
    "uuid",
}


def imported(statement: str) -> set[str]:
    """The modules that a statement imports, beside those with which Python starts."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "sjm" / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_it_imports_nothing_heavy_and_nothing_else_of_the_package() -> None:
    modules = imported("import sjm.receiver; jobs = sjm.receiver.Receiver(secrets=None)")

    assert {name.split(".")[0] for name in modules} & HEAVY == set()
    assert {name for name in modules if name.startswith("sjm.")} >= {"sjm.receiver.receiver"}
    assert {name.split(".")[1] for name in modules if name.startswith("sjm.")} == {"receiver"}


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_door_imports_what_it_needs(door: str) -> None:
    modules = imported(f"from sjm.receiver import Receiver; Receiver(secrets=None).{door}()")

    assert f"sjm.receiver.doors.{door}" in modules
    assert "boto3" not in modules


SENDS = """
import os, sys, threading, time
from sjm.receiver import Receiver
directory = sys.argv[1]
start, before = threading.Thread.start, set()

def started(thread):
    before.update(sys.modules)
    start(thread)

threading.Thread.start = started
jobs = Receiver(secrets=None, spool=directory)
while os.listdir(directory):
    time.sleep(0.01)
jobs.close()
print(*(set(sys.modules) - before))
"""


def test_the_thread_of_the_spool_imports_nothing_because_a_fork_meanwhile_would_keep_the_lock(
    manager: Manager, tmp_path: Path
) -> None:
    document = {"name": "x", "callback_url": f"{manager.url}/callback/x/1", "body": None}
    Spool(tmp_path).begin("x", 1, document).let_go()
    done = subprocess.run(
        [sys.executable, "-c", SENDS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "sjm" / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert manager.results()[0]["error"]["name"] == "Interrupted"
    assert done.stdout.split() == []
