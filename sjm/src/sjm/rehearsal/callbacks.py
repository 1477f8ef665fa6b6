"""Serves the callback URLs of executions over HTTP."""

import json
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from sjm.rehearsal import callback_body
from sjm.rehearsal.answers import Reply
from sjm.rehearsal.execution import Execution

_PATH = "/callback/"
_MAX_BODY_BYTES = 10 * 1024 * 1024  # as an HTTP API has it
_LOOPBACK = "127.0.0.1"
_IDLE_SECONDS = 10


class PortTaken(Exception):
    """Somebody else listens on the port for callbacks."""


class CallbackServer:
    """A server for callbacks, while it is entered. With ``host`` it listens on all interfaces."""

    def __init__(self, host: str | None, port: int) -> None:
        self._executions: dict[str, Execution] = {}  # by their tokens
        self._by_id: dict[str, Execution] = {}
        self._stopping = False
        handler = type("Handler", (_Handler,), {"find": self._executions.get, "find_by_id": self._by_id.get})
        try:
            self._server = _Server(("" if host else _LOOPBACK, port), handler)
        except OSError as error:
            raise PortTaken(f"port {port} for callbacks: {error.strerror or error}") from None
        self._url = f"http://{host or _LOOPBACK}:{self._server.server_address[1]}{_PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def register(self, token: str, execution: Execution) -> str:
        """Serves the callbacks of an execution from now on; returns their URL."""
        self._executions[token] = self._by_id[execution.id] = execution
        if self._stopping:
            execution.stop()
        return f"{self._url}{token}"

    def stop_executions(self) -> None:
        """Lets everybody who waits for a callback raise Stopped."""
        self._stopping = True
        for execution in list(self._executions.values()):
            execution.stop()

    def __enter__(self) -> "CallbackServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def server_bind(self) -> None:
        """Does not look up the name of this machine, which takes seconds where no DNS answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A receiver that hangs up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    find: Callable[[str], Execution | None]
    find_by_id: Callable[[str], Execution | None]
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_POST(self) -> None:
        """Takes a callback."""
        content = self._content()
        if content is None:
            return
        token = self.path.partition("?")[0].removeprefix(_PATH)
        execution = type(self).find(token)
        if execution is None:
            self._note(403, "it is not the whole callback_url")
            self._answer(Reply(403), {"status": 403, "detail": "This callback token is not one of ours."})
            return
        body, refused = self._parsed(content)
        self._answer(*execution.receive(token, body, refused))

    def _refuse_method(self) -> None:
        """Answers as the API does where it has no such route."""
        if self._content() is None:
            return
        self._note(404, f"expected POST, not {self.command}")
        self._answer(Reply(404), {"message": "Not Found"})

    def _note(self, status: int, reason: str) -> None:
        """Lets the execution know that is named in the URL, so that the report card can say it."""
        if meant := type(self).find_by_id(self.path.removeprefix(_PATH).partition(".")[0]):
            meant.refuse(status, reason)

    do_GET = do_PUT = do_PATCH = do_DELETE = _refuse_method

    def _parsed(self, content: bytes) -> tuple[Any, tuple[int, str] | None]:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return None, (415, f"expected Content-Type: application/json, not {kind or 'nothing'}")
        try:
            return callback_body.parse(content), None
        except ValueError as error:
            return None, (400, f"the body is not JSON: {error}")

    def _content(self) -> bytes | None:
        """Reads the body, also one in chunks. None if it is too large or breaks off."""
        try:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                return self._chunks()
            length = int(self.headers.get("content-length") or 0)
            if 0 <= length <= _MAX_BODY_BYTES:
                content = self.rfile.read(length)
                return content if len(content) == length else None
        except (ValueError, OSError):
            pass
        self.close_connection = True
        return None

    def _chunks(self) -> bytes | None:
        content = b""
        while size := int(self.rfile.readline(100).partition(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline(100)
            if len(content) > _MAX_BODY_BYTES:
                return None
        while self.rfile.readline(65_536).strip():
            pass
        return content

    def _answer(self, reply: Reply, document: dict[str, Any]) -> None:
        self.close_connection = True
        if reply.status is None:
            return
        content = json.dumps(document).encode()
        kind = "application/json" if reply.status == 200 else "application/problem+json"
        with suppress(OSError):
            self.send_response(reply.status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.send_header("connection", "close")
            if reply.retry_after_seconds is not None:
                self.send_header("retry-after", str(reply.retry_after_seconds))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log: the path is a secret."""
