"""One POST to a web target: to a checked address, without redirects or proxies, bounded in time and size.

h11 parses the answer. The standard library's client takes an interim answer such as 103 for the final one,
and fails after a hundred header lines. Once the final status line has arrived, the answer counts, even if the
rest is invalid: the service has decided, and may have done its work. So the status line is read separately,
and ``Answer.unread`` explains any error in the rest.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from time import monotonic, time

import h11

from jobmanager.runtime.tracing import web_request
from jobmanager.targets.connection import Connect, begin_connecting, open_socket
from jobmanager.targets.target import (
    Resolver,
    TargetUnresolved,
    WebTarget,
    checked_addresses,
    system_resolver,
    web_target,
)
from jobmanager.targets.tls import what_went_wrong

MAX_ANSWER_BYTES = 512 * 1024
_MAX_HEAD_BYTES = 128 * 1024
"""The limit of everything before the body: interim answers, the status line, headers."""

_READ_AT_ONCE_BYTES = 16 * 1024
_HEADERS = {
    # Some firewalls refuse requests without Accept. Some services answer 406 unless it accepts any type.
    "accept": "application/json, */*;q=0.1",
    "accept-encoding": "identity",
    "content-type": "application/json",
    "user-agent": "serverless-job-manager",
    "connection": "close",
}
_END_OF_LINE = re.compile(rb"\n")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
# h11's time for a run of blanks in a header line may grow with the square of its length.
_MANY_BLANKS = re.compile(rb"[ \t]{1024}")
_SECONDS = re.compile(r"[0-9]{1,9}")
_MALFORMED = "its headers are not as HTTP/1.1 has them"


class NoAnswer(Exception):
    """The target did not answer. The message reveals nothing about our network."""


class AnswerTimedOut(NoAnswer):
    """The target was reached, but did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """The answer of a target.

    Names of headers are in lower case. The values of a repeated header are joined by commas. The body is read
    only if the caller wants it and the status is 2xx. If it could not be read, ``unread`` says why.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    unread: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def retry_after_seconds(self) -> float:
        """The seconds in Retry-After; 0 without that header, or if it is invalid.

        https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
        """
        value = self.headers.get("retry-after", "")
        if _SECONDS.fullmatch(value):
            return float(value)
        from email.utils import mktime_tz, parsedate_tz

        try:
            date = parsedate_tz(value)
            return max(0.0, mktime_tz(date) - time()) if date else 0.0
        except (ValueError, OverflowError):
            return 0.0


class _HungUp(Exception):
    """The other side closed the connection."""


class _Unreadable(Exception):
    """The answer is not read. The message says why."""


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    within_seconds: float,
    wants_body: bool = False,
    resolve: Resolver = system_resolver,
    connect: Connect = begin_connecting,
    hides_path: bool = False,
) -> Answer:
    """POSTs JSON once. Raises TargetRefused if this stage does not call the target, and NoAnswer.

    ``hides_path`` keeps the path out of traces, for URLs that are a secret.
    """
    target = web_target(url)
    try:
        addresses = checked_addresses(target, resolve)
    except TargetUnresolved as error:
        raise NoAnswer(str(error)) from None
    until = monotonic() + within_seconds
    with web_request("POST", f"{target.scheme}://{target.authority}/" if hides_path else url) as request:
        try:
            opened = open_socket(target, addresses, until, connect)
        except OSError as error:
            raise NoAnswer(f"the target was not reached: {what_went_wrong(error)}") from None
        sent = {**_HEADERS, **request.headers, **headers}
        try:
            answer = _exchange(target, opened, content, sent, until, wants_body)
        except TimeoutError:
            raise AnswerTimedOut(f"the target did not answer within {within_seconds:g} seconds") from None
        except (ConnectionError, _HungUp):
            raise NoAnswer("the target closed the connection before it answered") from None
        except OSError as error:
            raise NoAnswer(f"the target was not reached: {what_went_wrong(error)}") from None
        except (_Unreadable, h11.RemoteProtocolError):
            raise NoAnswer("the target was not reached: what it answered is not HTTP/1.1") from None
        finally:
            opened.close()
        request.record_status(answer.status)
        return answer


def _exchange(
    target: WebTarget,
    opened: socket.socket,
    content: bytes,
    headers: Mapping[str, str],
    until: float,
    wants_body: bool,
) -> Answer:
    """Sends the request on a connection to a checked address, and reads the answer."""
    connection = h11.Connection(h11.CLIENT)
    all_headers = [("Host", target.authority), ("content-length", str(len(content))), *headers.items()]
    request = h11.Request(method="POST", target=target.path, headers=all_headers)
    parts = [connection.send(part) for part in (request, h11.Data(content), h11.EndOfMessage())]
    incoming = _Incoming(opened, until)
    # A service that answers before it has read everything may have closed the connection.
    with suppress(ConnectionError, ssl.SSLError):
        opened.settimeout(incoming.seconds_left())
        opened.sendall(b"".join(part or b"" for part in parts))
    answer = Answer(_final_status(incoming))
    try:
        answer = replace(answer, headers=_headers(connection, incoming))
        if wants_body and answer.is_success:
            answer = replace(answer, body=_body(connection, incoming))
    except TimeoutError:
        return replace(answer, unread="it had not ended in time")
    except (OSError, _HungUp):
        return replace(answer, unread="it broke off before its end")
    except _Unreadable as error:
        return replace(answer, unread=str(error))
    return answer


class _Incoming:
    """Reads from a connection, until a deadline."""

    def __init__(self, opened: socket.socket, until: float) -> None:
        self._opened = opened
        self._until = until
        self._buffer = bytearray()
        self._taken = 0

    def seconds_left(self) -> float:
        """Returns the seconds until the deadline; raises TimeoutError if it has passed."""
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def more(self) -> bytes:
        """Returns the next bytes that have arrived; nothing at the connection's end."""
        return self._take(len(self._buffer)) if self._buffer else self._receive()

    def look(self, end: re.Pattern[bytes]) -> bytes:
        """Waits for this end, and returns the bytes up to it. Raises _HungUp and _Unreadable."""
        searched_from = 0
        while not (found := end.search(self._buffer, searched_from)):
            if self._taken + len(self._buffer) > _MAX_HEAD_BYTES:
                raise _Unreadable(f"its headers are larger than {_MAX_HEAD_BYTES} bytes")
            searched_from = max(0, len(self._buffer) - 2)
            came = self._receive()
            if not came:
                raise _HungUp
            self._buffer += came
        return bytes(self._buffer[: found.end()])

    def take(self, end: re.Pattern[bytes]) -> bytes:
        """Returns the same as :meth:`look`, and continues after it."""
        return self._take(len(self.look(end)))

    def _receive(self) -> bytes:
        # A socket's timeout restarts each time that data arrives.
        self._opened.settimeout(self.seconds_left())
        return self._opened.recv(_READ_AT_ONCE_BYTES)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._taken += count
        return taken


def _final_status(incoming: _Incoming) -> int:
    """Skips interim answers. Raises _HungUp, _Unreadable, RemoteProtocolError; OSError as a socket does."""
    while True:
        status = _status_of(incoming.look(_END_OF_LINE))
        # After a 101, which no request asks for, the service sends no more HTTP.
        if status >= 200 or status == 101:
            return status
        incoming.take(_END_OF_HEAD)


def _status_of(line: bytes) -> int:
    """The status in a status line, which h11 parses as an answer without headers."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    asks_for_101 = [("host", "-"), ("upgrade", "-"), ("connection", "upgrade")]
    connection.send(h11.Request(method="GET", target="/", headers=asks_for_101))
    connection.receive_data(line + b"\n")
    event = connection.next_event()
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise _Unreadable("it has no status line")
    return event.status_code


def _headers(connection: h11.Connection, incoming: _Incoming) -> dict[str, str]:
    """Reads the headers of the final answer."""
    head = incoming.take(_END_OF_HEAD)
    if _MANY_BLANKS.search(head):
        raise _Unreadable(_MALFORMED)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        is_of_coding = error.error_status_hint == HTTPStatus.NOT_IMPLEMENTED
        why = "its Transfer-Encoding is another than chunked" if is_of_coding else _MALFORMED
        raise _Unreadable(why) from None
    found: dict[str, str] = {}
    if isinstance(event, h11.Response):
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _body(connection: h11.Connection, incoming: _Incoming) -> bytes:
    """Reads the body of the answer, after its headers."""
    body = bytearray()
    came: bytes | None = None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                came = incoming.more()
                connection.receive_data(came)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_ANSWER_BYTES:
                    raise _Unreadable(f"it is larger than {MAX_ANSWER_BYTES} bytes")
            else:
                return bytes(body)
    except h11.RemoteProtocolError:
        if came == b"":
            raise _HungUp from None
        raise _Unreadable("its chunks are not as HTTP/1.1 has them") from None
