"""Sends one POST to a checked address: no redirects, no proxies, limited time and size."""

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
    TargetUnresolved,
    WebTarget,
    checked_addresses,
    open_socket,
    system_resolver,
    tls,
    web_target,
)

MAX_ANSWER_BYTES = 512 * 1024
_HEADERS = {
    "content-type": "application/json",
    "user-agent": "serverless-job-manager",
    "connection": "close",
}


class NoAnswer(Exception):
    """The target did not answer. The message reveals no address of the manager's network."""


class AnswerTimedOut(NoAnswer):
    """The target was reached, but did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """The answer of a target. The body is read only on request, and None if it is too large."""

    status: int
    media_type: str = ""
    body: bytes | None = b""
    is_whole: bool = True
    """Whether the whole body arrived."""


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    within_seconds: float,
    wants_body: bool = False,
    resolve: Resolver = system_resolver,
    connect: Connect = socket.create_connection,
) -> Answer:
    """Sends JSON once. Raises TargetRefused if this stage does not call the target, and NoAnswer."""
    target = web_target(url)
    try:
        addresses = checked_addresses(target, resolve)
    except TargetUnresolved as error:
        raise NoAnswer(str(error)) from None
    until = monotonic() + within_seconds
    with web_request("POST", url) as request:
        try:
            opened = open_socket(target, addresses, until, connect)
        except OSError as error:
            raise NoAnswer(f"the target was not reached: {type(error).__name__}") from None
        sent = {**_HEADERS, **request.headers, **headers}
        try:
            answer = _answer(target, opened, content, sent, until, wants_body)
        except (OSError, HTTPException) as error:
            if monotonic() > until or isinstance(error, TimeoutError):
                raise AnswerTimedOut(f"the target did not answer within {within_seconds:g} seconds") from None
            raise NoAnswer(f"the target was not reached: {type(error).__name__}") from None
        request.record_status(answer.status)
        return answer


def _answer(
    target: WebTarget,
    opened: socket.socket,
    content: bytes,
    headers: Mapping[str, str],
    until: float,
    wants_body: bool,
) -> Answer:
    """Sends the request over ``opened``, so that http.client does not resolve the name again."""
    connection = (
        HTTPSConnection(target.name, target.port, context=tls())
        if target.scheme == "https"
        else HTTPConnection(target.name, target.port)
    )
    connection.auto_open = 0
    connection.sock = opened
    # The timeout of a socket restarts with each byte. The timer cuts off a server that drips its answer.
    timer = Timer(until - monotonic(), _shut_down, (opened,))
    timer.daemon = True
    timer.start()
    try:
        # A server may answer and close the connection before it has read the whole request.
        with suppress(BrokenPipeError):
            connection.request("POST", target.path, content, dict(headers))
        with connection.getresponse() as response:
            answer = _read(response) if wants_body else Answer(response.status)
        if monotonic() > until:
            raise TimeoutError
        return answer
    finally:
        timer.cancel()
        connection.close()
        opened.close()


def _read(response: HTTPResponse) -> Answer:
    """Reads the body. If the connection breaks, the status still counts as an answer."""
    media_type = response.headers.get_content_type() if "content-type" in response.headers else ""
    try:
        body = response.read(MAX_ANSWER_BYTES + 1)
    except (OSError, HTTPException):
        return Answer(response.status, media_type, is_whole=False)
    if len(body) > MAX_ANSWER_BYTES:
        return Answer(response.status, media_type, None)
    # If a body of known length ends early, read() raises nothing, but ``length`` is not 0.
    return Answer(response.status, media_type, body, is_whole=not response.length)


def _shut_down(opened: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
