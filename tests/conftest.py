"""Every test: no X-Ray segments, as there is no Lambda around the code; and the figures that some note."""

import os
import sys

import pytest

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"

pytest_plugins = ["tests.grants"]


def pytest_unconfigure() -> None:
    """The recorder opens a socket when it is imported, and leaves closing it to the interpreter's end."""
    core = sys.modules.get("aws_xray_sdk.core")
    if core is not None:
        core.xray_recorder.emitter._socket.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests recorded as the property ``figures``, also those in pytest-xdist's processes."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name == "figures":
                        terminalreporter.write_line(str(value))
