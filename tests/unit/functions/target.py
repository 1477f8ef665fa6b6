"""A service's webhook that runs on this machine."""

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self


class Target(ThreadingHTTPServer):
    """A webhook that answers with the statuses in ``script``, then with 202.

    It answers after ``seconds``, with ``content``. ``missing``: how many bytes its content-length overstates.
    """

    def __init__(self) -> None:
        self.script: list[int] = []
        self.seconds = 0.0
        self.content_type: str | None = "application/json"
        self.content = b""
        self.missing = 0
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                target.bodies.append(json.loads(content))
                target.requests.append((dict(self.headers.items()), content))
                status = target.script.pop(0) if target.script else 202
                self.send_response(status)
                if status == 302:
                    self.send_header("location", target.url)
                if target.content_type is not None:
                    self.send_header("content-type", target.content_type)
                self.send_header("content-length", str(len(target.content) + target.missing))
                time.sleep(target.seconds)
                with suppress(OSError):
                    self.end_headers()
                    self.wfile.write(target.content)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/jobs"


_LENGTH = re.compile(rb"content-length: ([0-9]+)", re.IGNORECASE)


class Wire:
    """A service that sends given bytes on each connection, even if they are not valid HTTP."""

    def __init__(
        self,
        says: Sequence[bytes | float],
        ends: Literal["close", "reset", "never"] = "close",
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        """``says``: the bytes to send, and pauses in seconds. ``ends``: how the connection then ends."""
        self.requests: list[bytes] = []
        self.arrived_at: list[float] = []
        self.says_first: list[Sequence[bytes | float]] = []
        """Sent instead of ``says``, each on one connection."""
        self.says, self.ends, self.tls, self.reads = says, ends, tls, True
        self._over = threading.Event()
        self._listening = socket.create_server((address, 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jobs"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        # Closing the socket does not wake a thread that waits for a connection. A connection does.
        with suppress(OSError):
            socket.create_connection(self._listening.getsockname(), 1).close()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            near, _ = self._listening.accept()
            if self._over.is_set():
                near.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(near,)))
            self._threads[-1].start()

    def _serve(self, near: socket.socket) -> None:
        near.settimeout(60)
        # The manager closes some connections early, as it should.
        with near, suppress(OSError):
            if self.tls is None:
                self._talk(near)
            else:
                with self.tls.wrap_socket(near, server_side=True) as encrypted:
                    self._talk(encrypted)

    def _talk(self, near: socket.socket) -> None:
        request = b""
        while self.reads and not _is_whole(request):
            part = near.recv(65_536)
            if not part:
                return
            request += part
        self.arrived_at.append(time.monotonic())
        self.requests.append(request)
        for part_or_pause in self.says_first.pop(0) if self.says_first else self.says:
            if isinstance(part_or_pause, bytes):
                near.sendall(part_or_pause)
            elif self._over.wait(part_or_pause):
                return
        if self.ends == "reset":
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.ends == "never":
            self._over.wait(300)


def _is_whole(request: bytes) -> bool:
    head, blank, body = request.partition(b"\r\n\r\n")
    announced = _LENGTH.search(head)
    return bool(blank) and (announced is None or len(body) >= int(announced[1]))
