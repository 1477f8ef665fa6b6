"""For all tests: turns X-Ray off, because the code runs outside Lambda, and prints the figures of tests."""

import os
import sys

import pytest

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"

pytest_plugins = ["tests.grants"]


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
