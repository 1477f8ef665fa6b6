"""Serves the console on loopback until you stop it."""

import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from sjm.client import Manager
from sjm.console.access import Access
from sjm.console.app import create_app

HOST = "127.0.0.1"


class PortTaken(OSError):
    """Another program listens on the port. The message says what to do."""


def bind(port: int) -> socket.socket:
    """A socket on loopback; 0 is any free port. Raises PortTaken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"Port {port} cannot be used: {error.strerror}. Choose another one, or 0.") from error
    return listener


def serve(
    manager: Manager,
    stage: str,
    *,
    port: int = 0,
    opens_browser: bool = True,
    announce: Callable[[str], None],
) -> None:
    """Serves the console until SIGINT or SIGTERM.

    Args:
        manager: The client of the stage.
        stage: The stage's name, as pages show it.
        port: The port; 0 is any free one.
        opens_browser: Whether to open the console in your browser.
        announce: Gets the URL that opens the console, once.

    Raises:
        PortTaken: Another program listens on the port.
    """
    listener = bind(port)
    access = Access(listener.getsockname()[1])
    config = uvicorn.Config(
        create_app(manager, stage, access),
        lifespan="off",
        log_level="warning",
        access_log=False,  # a log of requests would hold the key
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    listener.listen()
    announce(access.url)
    if opens_browser:
        webbrowser.open(access.url)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])
