"""For all tests: turns X-Ray off, which needs Lambda, saves CPU time, and prints the figures of tests."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.terraform_provider import FEW_COLLECTIONS

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"
os.environ.update(FEW_COLLECTIONS)  # for Terraform, which many tests run
# By default garbage is collected with every 2,000 new objects: a twentieth of the CPU time of unit tests.
gc.set_threshold(50_000, 20, 100)

pytest_plugins = ["tests.grants"]

_TESTS_OF_TERRAFORM = Path(__file__).parent / "unit" / "terraform"
_TESTS_ON_THE_STAGE = Path(__file__).parent / "integration"
_COMPUTING_ON_THE_STAGE = {"test_docs.py", "test_packages.py"}
# The part of the mixed tests after which those that wait have all begun.
_ENDS_OF_WAITING = 0.8


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Compiles all tests once. Otherwise each of pytest-xdist's workers would compile them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:xdist"]
    subprocess.run(
        command, cwd=config.rootpath, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests so that the processors are never idle and no long test comes last.

    Long tests that need no stage come first, because it may still start, then slow ones and those in chains.
    The rest is mixed: of the tests that wait for the stage and those that compute, some run at any time.
    """
    of_terraform: list[pytest.Item] = []
    slow: list[pytest.Item] = []
    waiting: list[pytest.Item] = []
    computing: list[pytest.Item] = []
    for item in items:
        is_waiting = _waits(item)
        if item.path.is_relative_to(_TESTS_OF_TERRAFORM):
            of_terraform.append(item)
        elif item.get_closest_marker("slow") or (is_waiting and item.get_closest_marker("xdist_group")):
            slow.append(item)
        else:
            (waiting if is_waiting else computing).append(item)
    mixed = [
        *((_ENDS_OF_WAITING * number / len(waiting), item) for number, item in enumerate(waiting)),
        *((number / len(computing), item) for number, item in enumerate(computing)),
    ]
    mixed.sort(key=lambda placed: placed[0])
    items[:] = [*of_terraform, *slow, *(item for _, item in mixed)]


def _waits(item: pytest.Item) -> bool:
    """Whether a test mostly waits for the stage."""
    return item.path.is_relative_to(_TESTS_ON_THE_STAGE) and item.path.name not in _COMPUTING_ON_THE_STAGE


def pytest_collection_finish() -> None:
    """Keeps what was collected out of garbage collections."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Closes the socket that the X-Ray recorder opens on import and does not close itself."""
    core = sys.modules.get("aws_xray_sdk.core")
    if core is not None:
        core.xray_recorder.emitter._socket.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests recorded as the property ``figures``, including tests in pytest-xdist's workers."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name == "figures":
                        terminalreporter.write_line(str(value))
