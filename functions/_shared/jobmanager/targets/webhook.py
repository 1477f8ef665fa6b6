"""One POST to a web target: to a checked address, without redirects or proxies, bounded in time and size."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Timer
from time import monotonic

from jobmanager.runtime.tracing import web_request
from jobmanager.targets.target import (
    Connect,
    Resolver,
    TargetUnknown,
    WebTarget,
    checked_addresses,
    open_socket,
    system_resolver,
    tls,
    web_target,
)

MOST_ANSWER_BYTES = 512 * 1024
_HEADERS = {
    "content-type": "application/json",
    "user-agent": "serverless-job-manager",
    "connection": "close",
}


class Unreached(Exception):
    """The target did not answer. The message is fit for those who may not know our network."""


class Unanswered(Unreached):
    """The target was reached, but did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """What a target answered. The body is read only if it was asked for, and None if it was too large."""

    status: int
    media_type: str = ""
    body: bytes | None = b""
    is_whole: bool = True
    """Whether all of it came that was announced."""


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    within_seconds: float,
    wants_body: bool = False,
    resolve: Resolver = system_resolver,
    connect: Connect = socket.create_connection,
) -> Answer:
    """POSTs JSON once. Raises TargetRefused if this stage does not call the target, and Unreached."""
    target = web_target(url)
    try:
        addresses = checked_addresses(target, resolve)
    except TargetUnknown as error:
        raise Unreached(str(error)) from None
    until = monotonic() + within_seconds
    with web_request("POST", url) as request:
        try:
            opened = open_socket(target, addresses, until, connect)
        except OSError as error:
            raise Unreached(f"the target was not reached: {type(error).__name__}") from None
        sent = {**_HEADERS, **request.headers, **headers}
        try:
            answer = _answer(target, opened, content, sent, until, wants_body)
        except (OSError, HTTPException) as error:
            if monotonic() > until or isinstance(error, TimeoutError):
                raise Unanswered(f"the target did not answer within {within_seconds:g} seconds") from None
            raise Unreached(f"the target was not reached: {type(error).__name__}") from None
        request.answered(answer.status)
        return answer


def _answer(
    target: WebTarget,
    opened: socket.socket,
    content: bytes,
    headers: Mapping[str, str],
    until: float,
    wants_body: bool,
) -> Answer:
    """The connection is that of a checked address, so http.client is kept from making one of the name."""
    connection = (
        HTTPSConnection(target.name, target.port, context=tls())
        if target.scheme == "https"
        else HTTPConnection(target.name, target.port)
    )
    connection.auto_open = 0
    connection.sock = opened
    # Timeouts of a socket begin anew with each byte; a server that drips its answer is cut off by the clock.
    clock = Timer(until - monotonic(), _cut, (opened,))
    clock.daemon = True
    clock.start()
    try:
        # Who has answered before reading it all may have hung up.
        with suppress(BrokenPipeError):
            connection.request("POST", target.path, content, dict(headers))
        with connection.getresponse() as response:
            answer = _read(response) if wants_body else Answer(response.status)
        if monotonic() > until:
            raise TimeoutError
        return answer
    finally:
        clock.cancel()
        connection.close()
        opened.close()


def _read(response: HTTPResponse) -> Answer:
    """Whoever breaks off has answered nevertheless: the status is there."""
    media_type = response.headers.get_content_type() if "content-type" in response.headers else ""
    try:
        body = response.read(MOST_ANSWER_BYTES + 1)
    except (OSError, HTTPException):
        return Answer(response.status, media_type, is_whole=False)
    if len(body) > MOST_ANSWER_BYTES:
        return Answer(response.status, media_type, None)
    # Of a body of known length, read() tells an early end by nothing else.
    return Answer(response.status, media_type, body, is_whole=not response.length)


def _cut(opened: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
