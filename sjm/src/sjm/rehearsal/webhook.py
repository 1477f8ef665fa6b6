"""One POST to the receiver, with the manager's headers, without redirects or proxies."""

import http.client
import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from urllib.parse import SplitResult, urlsplit

MAX_ANSWER_BYTES = 512 * 1024
HEADERS = {
    "accept": "application/json, */*;q=0.1",
    "accept-encoding": "identity",
    "content-type": "application/json",
    "user-agent": "serverless-job-manager",
    "connection": "close",
}


class UrlInvalid(ValueError):
    """The manager would not call this URL. The message says why."""


class NoAnswer(Exception):
    """The receiver did not answer. The message says why."""


@dataclass(frozen=True)
class Answer:
    """The answer of the receiver. The body is read only if it was wanted and the status is 2xx."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    unread: str = ""

    def retry_after_seconds(self, now: datetime) -> float:
        """The seconds until the receiver wants to be notified again: a number or a date; 0 without one."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdecimal() and len(value) < 10:
            return float(value)
        with suppress(ValueError, TypeError, OverflowError):
            return max(0.0, (parsedate_to_datetime(value).astimezone(UTC) - now).total_seconds())
        return 0.0


def check_url(url: str) -> None:
    """Raises UrlInvalid unless it is an absolute http or https URL without a user or a password."""
    expected = "expected a URL such as https://billing.example/jobs/nightly"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UrlInvalid(f"{error}: {expected}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UrlInvalid(expected)
    if "@" in parts.netloc:
        raise UrlInvalid("a target's URL has no user name or password; webhooks are signed instead")
    if any(not "!" <= each <= "~" for each in url):
        raise UrlInvalid(f"encode every character that is not visible ASCII: {expected}")


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    within_seconds: float,
    *,
    wants_body: bool = False,
    loses_answer: bool = False,
) -> Answer | None:
    """POSTs once. Raises NoAnswer.

    With ``loses_answer`` it hangs up when the answer comes, as if the answer were lost, and returns None.
    """
    until = monotonic() + within_seconds
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=within_seconds)
    try:
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", _authority(parts))
        for name, value in {"content-length": str(len(content)), **HEADERS, **headers}.items():
            connection.putheader(name, value)
        # It may have answered and hung up before it has read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(content)
        if loses_answer:
            _wait_for_answer(connection, until)
            return None
        return _read(connection, until, wants_body)
    except TimeoutError:
        raise NoAnswer(f"it did not answer within {within_seconds:g} seconds") from None
    except ssl.SSLError as error:
        raise NoAnswer(f"TLS failed: {error.reason or error}") from None
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError) as error:
        why = "it closed the connection before it answered"
        is_closed = isinstance(error, http.client.RemoteDisconnected | ConnectionError)
        raise NoAnswer(why if is_closed else "what it answered is not HTTP/1.1") from None
    except OSError as error:
        raise NoAnswer(f"it was not reached: {error.strerror or error}") from None
    finally:
        connection.close()


def _authority(parts: SplitResult) -> str:
    """The Host header: the name, and the port unless it is the scheme's default."""
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = 443 if parts.scheme == "https" else 80
    return f"{name}" if parts.port in (None, default) else f"{name}:{parts.port}"


def _read(connection: http.client.HTTPConnection, until: float, wants_body: bool) -> Answer:
    _socket_of(connection).settimeout(_left(until))
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    with response:
        if not wants_body or not 200 <= response.status < 300:
            return Answer(response.status, headers)
        try:
            body = response.read(MAX_ANSWER_BYTES + 1)
        except (http.client.HTTPException, OSError):
            return Answer(response.status, headers, unread="it broke off before its end")
        if len(body) > MAX_ANSWER_BYTES:
            return Answer(response.status, headers, unread=f"it is larger than {MAX_ANSWER_BYTES} bytes")
        return Answer(response.status, headers, body)


def _wait_for_answer(connection: http.client.HTTPConnection, until: float) -> None:
    came, _, _ = select.select([_socket_of(connection)], [], [], _left(until))
    if not came:
        raise TimeoutError


def _socket_of(connection: http.client.HTTPConnection) -> socket.socket:
    if connection.sock is None:
        raise ConnectionResetError
    found: socket.socket = connection.sock
    return found


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
