"""For all tests: turns X-Ray off, which needs Lambda, saves CPU time, and prints the figures of tests."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.terraform_provider import FEW_COLLECTIONS

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"
os.environ.update(FEW_COLLECTIONS)
# By default garbage is collected with every 2,000 new objects: a twentieth of the CPU time of unit tests.
gc.set_threshold(50_000, 20, 100)

pytest_plugins = ["tests.grants"]

_TESTS_OF_TERRAFORM = Path(__file__).parent / "unit" / "terraform"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Compiles all tests once. Otherwise each of pytest-xdist's workers would compile them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:xdist"]
    subprocess.run(
        command, cwd=config.rootpath, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests that need no stage first, because it may still start, and then the slow ones."""
    long = {path for path in {item.path for item in items} if path.is_relative_to(_TESTS_OF_TERRAFORM)}
    items.sort(key=lambda item: _place_in_order(item, long))


def _place_in_order(item: pytest.Item, long: set[Path]) -> int:
    if item.path in long:
        return 0
    return 1 if item.get_closest_marker("slow") else 2


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
