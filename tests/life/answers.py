"""Sends an answer to a webhook, byte by byte, in each form that ``tests.life.conduct`` names."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Protocol

MUTE_SECONDS = 12
"""Longer than the manager waits for an answer, or for the result of a sync job with ttl_seconds 10."""

RETRY_AFTER_SECONDS = 4
"""How long a postponing answer asks the manager to wait. Without it, the second try comes sooner."""
_SECONDS_BEFORE_THE_RESET = 1
_INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 102 Processing\r\nX-Progress: 10\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
)

_WITHOUT_RESULT: dict[str, Callable[[], bytes]] = {
    "garble": lambda: b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    "break off in the status line": lambda: b"HTTP/1.1 20",
    "503 for seconds": lambda: _whole(503, {"Retry-After": str(RETRY_AFTER_SECONDS)}),
    "429 until a date": lambda: _whole(
        429, {"Retry-After": formatdate(time.time() + RETRY_AFTER_SECONDS, usegmt=True)}
    ),
    "302": lambda: _whole(302, {"Location": "http://127.0.0.1:9/elsewhere"}),
    "empty": lambda: _whole(204),
    "not json": lambda: _whole(200, {"Content-Type": "text/html"}, b"<html>done</html>"),
    "state of a wrong type": lambda: _json(b'{"state": {"cursor": 7}}'),
    "too large": lambda: _json(json.dumps({"state": "x" * 600_000}).encode()),
}

type Result = Mapping[str, Any]


class Connection(Protocol):
    """The connection on which a webhook arrived."""

    connection: socket.socket

    def write(self, content: bytes) -> None:
        """Sends all of it now."""


def result_of(execution_id: str) -> dict[str, str]:
    """The result of a sync job. No two executions have the same."""
    return {"state": f"of {execution_id[-24:]}", "summary": "café done"}


def send(web: Connection, answer: str, result: Result | None = None) -> None:
    """Sends the answer with this name; ``result`` is the body of those that have one."""
    content = b"" if result is None else json.dumps(result, ensure_ascii=False).encode()
    match answer:
        case "mute" | "too slow":
            time.sleep(MUTE_SECONDS)
        case "crash":
            pass
        case _ if answer in _WITHOUT_RESULT:
            web.write(_WITHOUT_RESULT[answer]())
        case _ if answer.isdecimal():
            web.write(_whole(int(answer)))
        case _:
            _send_success(web, answer, content)


def _send_success(web: Connection, answer: str, content: bytes) -> None:
    """Sends an answer that accepts an async job, or has the result of a sync one."""
    if answer.startswith("slow"):
        time.sleep(5 if content else 3)
    form = answer.removeprefix("accept").removeprefix("result").strip(" ,")
    match form:
        case "after interim answers":
            web.write(_INTERIM + _json(content))
        case "with 150 headers":
            web.write(_json(content, {f"X-Header-{number}": str(number) for number in range(150)}))
        case "with a header of 70 KB":
            web.write(_json(content, {"X-Large": "x" * 70_000}))
        case "with a malformed header":
            web.write(_json(content, {"a name with blanks, and no": "value"}))
        case "then reset":
            web.write(b"HTTP/1.1 200 OK\r\n")
            time.sleep(_SECONDS_BEFORE_THE_RESET)
            reset(web.connection)
        case "with a byte order mark":
            web.write(_json(b"\xef\xbb\xbf" + content))
        case "in gzip":
            web.write(_json(gzip.compress(content), {"Content-Encoding": "gzip"}))
        case "in another charset":
            latin_1 = content.decode().encode("latin-1")
            web.write(_whole(200, {"Content-Type": "application/json; charset=iso-8859-1"}, latin_1))
        case "as text/html":
            web.write(_whole(200, {"Content-Type": "text/html; charset=utf-8"}, content))
        case _:
            web.write(_json(content))


def reset(connection: socket.socket) -> None:
    """Ends a connection with RST. Whatever was not read yet may be lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _json(content: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    status = 200 if content else 202
    return _whole(status, {"Content-Type": "application/json", **(headers or {})}, content)


def _whole(status: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Status"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if status != 204:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content
