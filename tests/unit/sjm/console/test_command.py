"""The command ``sjm console``, as a process of its own."""

import signal
import socket
from urllib.request import HTTPCookieProcessor, build_opener

from tests.unit.sjm.console.console_server import console_command
from tests.unit.sjm.console.stage_server import StageServer


def test_the_command_serves_until_it_is_stopped(stage_server: StageServer) -> None:
    with console_command(stage_server) as process:
        assert process.stdout
        url = process.stdout.readline().removeprefix("The console is at ").strip()
        with build_opener(HTTPCookieProcessor()).open(url, timeout=60) as page:
            assert b"Running now" in page.read()
        process.send_signal(signal.SIGINT)
        rest, messages = process.communicate(timeout=60)

    assert url.startswith("http://127.0.0.1:")
    assert rest == ""
    assert messages.startswith("It opens once, in one browser. Press Ctrl-C to stop it.\n")
    assert "Traceback" not in messages
    assert process.returncode == 130


def test_a_port_that_is_taken_is_said(stage_server: StageServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with console_command(stage_server, "--port", port) as process:
            _, messages = process.communicate(timeout=60)

    assert f"Port {port} cannot be used: Address already in use. Choose another one, or 0." in messages
    assert process.returncode == 2
