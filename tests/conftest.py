"""For all tests: turns X-Ray off, which needs Lambda, saves CPU time, and prints the figures of tests."""

import gc
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

from local.terraform_provider import FEW_COLLECTIONS
from tests import exhaustive

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"
os.environ.update(FEW_COLLECTIONS)  # for Terraform, which many tests run
# By default garbage is collected with every 2,000 new objects: a twentieth of the CPU time of unit tests.
gc.set_threshold(50_000, 20, 100)

# Hypothesis fails tests that are slow. They are, on a busy machine.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

pytest_plugins = ["pytester", "tests.grants", "tests.lanes"]

_NICENESS = 2
"""Of pytest-xdist's workers. The stage goes first, because most tests wait for it."""


def pytest_configure(config: pytest.Config) -> None:
    """Decides once which samples are drawn. pytest-xdist's workers find that in the environment."""
    os.environ.setdefault(exhaustive.DRAWN_BY, exhaustive.drawn_by(config))
    if hasattr(config, "workerinput"):
        os.nice(_NICENESS)


def pytest_report_header() -> list[str]:
    by = os.environ[exhaustive.DRAWN_BY]
    return [f"samples: {exhaustive.DRAWN_BY}={by} draws the same"] if by else []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Compiles all tests once. Otherwise each of pytest-xdist's workers would compile them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:xdist"]
    subprocess.run(
        command, cwd=config.rootpath, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cases that are not drawn."""
    if not_drawn := exhaustive.left_out(items, os.environ[exhaustive.DRAWN_BY]):
        config.hook.pytest_deselected(items=not_drawn)
        kept = set(items).difference(not_drawn)
        items[:] = [item for item in items if item in kept]


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
