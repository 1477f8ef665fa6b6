"""A service's webhook that runs on this machine."""

import json
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
