"""The pytest plugin, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sjm.rehearsal.receivers import SECRET, AcceptsOldWebhooks, Receiver

SOURCE = Path(__file__).resolve().parents[4] / "sjm" / "src"
TESTS = """
import os
import sys
import pytest

URL, SECRET = os.environ["RECEIVER"], os.environ["WEBHOOK_SECRET"]
SCENES = ["good", "test", "stale"]


@pytest.fixture(scope="module")
def card(sjm_rehearsal):
    return sjm_rehearsal(URL, only=SCENES, secret=SECRET)


def test_whole(card):
    card.assert_passed()


def test_scene(card, sjm_scene):
    sjm_scene(card)
"""
UNUSED = """
import sys


def test_nothing_of_it_was_imported():
    assert "sjm.rehearsal.pytest_plugin" in sys.modules
    assert not [name for name in sys.modules if name.startswith("sjm.") and "rehearsal" not in name]
    assert "sjm.rehearsal.playing" not in sys.modules
"""


def run_pytest(directory: Path, text: str, url: str = "") -> tuple[int, str]:
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "sjm.rehearsal.pytest_plugin",
            "-p",
            "no:cacheprovider",
            "-rA",
        ],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "RECEIVER": url,
            "WEBHOOK_SECRET": SECRET,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_good_receiver_passes(tmp_path: Path) -> None:
    with Receiver() as receiver:
        code, out = run_pytest(tmp_path, TESTS, receiver.url)

    assert code == 0, out
    assert "PASSED test_it.py::test_scene[stale]" in out
    assert "it is not for this job, or was left out" in out


def test_a_faulty_receiver_fails_with_what_to_do(tmp_path: Path) -> None:
    with AcceptsOldWebhooks() as receiver:
        code, out = run_pytest(tmp_path, TESTS, receiver.url)

    assert code == 1, out
    assert "FAILED test_it.py::test_whole - AssertionError: http://127.0.0.1" in out
    assert "FAILED test_it.py::test_scene[stale]" in out
    assert "PASSED test_it.py::test_scene[good]" in out
    assert "differs from your clock by more than five minutes" in out
    assert "docs/api.md#signatures" in out
    assert "verdict.py" not in out  # the test is shown, and not what it called
    assert SECRET not in out


def test_who_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    code, out = run_pytest(tmp_path, UNUSED)

    assert code == 0, out


@pytest.mark.parametrize("option", ["--fixtures", "--collect-only"])
def test_pytest_lists_it(tmp_path: Path, option: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "sjm.rehearsal.pytest_plugin", "-q", option],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "RECEIVER": "",
            "WEBHOOK_SECRET": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert ("sjm_rehearsal" if option == "--fixtures" else "test_scene[heartbeats]") in done.stdout
