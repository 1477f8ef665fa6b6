"""Every test: no X-Ray segments, as there is no Lambda around the code."""

import os
import sys

os.environ["AWS_XRAY_SDK_ENABLED"] = "false"

pytest_plugins = ["tests.grants"]


def pytest_unconfigure() -> None:
    """The recorder opens a socket when it is imported, and leaves closing it to the interpreter's end."""
    core = sys.modules.get("aws_xray_sdk.core")
    if core is not None:
        core.xray_recorder.emitter._socket.close()
