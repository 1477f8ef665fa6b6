"""Checks the target of a webhook, when a job is saved and again before each notification.

A host name may resolve to any address, and to a different one each time. So each call resolves the name once,
checks every address, and connects to one of the checked addresses.
"""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from time import monotonic
from urllib.parse import quote, urlsplit

from jobmanager.core.settings import setting
from jobmanager.targets.address_kind import LOOPBACK, PRIVATE, forbidden_kind

type Resolver = Callable[[str, int], list[str]]
type Connect = Callable[[tuple[str, int], float], socket.socket]

_MAX_RESOLVE_SECONDS = 3.0
_MAX_CONNECT_SECONDS = 3.0
_PORTS = {"http": 80, "https": 443}
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{0,5})?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# The last label of what some resolvers accept as an IPv4 address: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_HOST_CHARACTERS = 253
_SAFE_IN_PATHS = "!$%&'()*+,/:;=?@[]~"


class TargetRefused(Exception):
    """This stage does not call the target. The message reveals no address of the manager's network."""


class NotAnAddress(TargetRefused):
    """The target is not a URL that this project accepts."""


class AddressForbidden(TargetRefused):
    """The target resolves to an address that this stage does not call; ``address`` is the first such one."""

    def __init__(self, address: str, kind: str) -> None:
        super().__init__(f"the target leads to {_with_article(kind)} address, which this stage does not call")
        self.address = address
        self.kind = kind


class TargetUnresolved(Exception):
    """The target's host name does not resolve at the moment."""


@dataclass(frozen=True)
class WebTarget:
    """The parts of a target. ``host`` is a name or an address, in lower case and without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """The host for TLS and the Host header, without a dot at its end, which only resolvers understand."""
        return self.host.removesuffix(".")


def web_target(url: str) -> WebTarget:
    """Parses a target; raises TargetRefused for URLs that servers and resolvers could read differently."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise NotAnAddress(
            "the target is not a web address: expected printable ASCII without spaces and backslashes"
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        scheme, netloc, path, query, _ = parts
    except ValueError as error:
        raise NotAnAddress(f"the target is not a web address: {error}") from None
    if scheme not in _PORTS or not host or not _NETLOC.fullmatch(netloc) or port == 0:
        raise NotAnAddress(
            "the target is not a web address: expected http(s)://host, or http(s)://host:port, and a path"
        )
    if not _is_host(host):
        raise NotAnAddress(
            "the target's host is invalid: expected a name, an IPv4 address of four decimal numbers,"
            " or an IPv6 address in brackets"
        )
    if scheme == "http" and setting("ALLOW_HTTP_TARGETS") != "true":
        raise TargetRefused("the target is not https, but this stage calls only https")
    request_target = quote(path or "/", _SAFE_IN_PATHS) + (
        f"?{quote(query, _SAFE_IN_PATHS)}" if query else ""
    )
    return WebTarget(scheme, host, port or _PORTS[scheme], request_target)


def _is_host(host: str) -> bool:
    if ":" in host:
        return _is_address(IPv6Address, host)
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _is_address(IPv4Address, host)
    return len(host) <= _MAX_HOST_CHARACTERS and all(_LABEL.fullmatch(label) for label in labels)


def _is_address(kind: Callable[[str], object], host: str) -> bool:
    try:
        kind(host)
    except AddressValueError:
        return False
    return True


def system_resolver(host: str, port: int) -> list[str]:
    """Returns the addresses of a host in the order to try them; raises OSError if none is found in time.

    getaddrinfo has no timeout, so it runs in a thread that is abandoned if it takes too long.
    """
    addresses: list[str] = []
    failure: list[Exception] = [TimeoutError("no answer in time")]

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as error:
            failure[0] = error
        else:
            addresses.extend([str(socket_address[0]) for *_, socket_address in found])

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(_MAX_RESOLVE_SECONDS)
    if not addresses:
        raise OSError(str(failure[0]))
    return list(addresses)


def checked_addresses(target: WebTarget, resolve: Resolver = system_resolver) -> list[str]:
    """Resolves a target to its addresses.

    Raises AddressForbidden if any of them is forbidden, TargetUnresolved if there are none.
    """
    try:
        addresses = list(dict.fromkeys(resolve(target.host, target.port)))
    except OSError:
        addresses = []
    if not addresses:
        raise TargetUnresolved("the target's name does not resolve")
    allowed = _allowed_kinds()
    for address in addresses:
        if kind := forbidden_kind(address, allowed):
            raise AddressForbidden(address, kind)
    return addresses


def _allowed_kinds() -> frozenset[str]:
    """Returns the kinds of addresses that this stage calls besides public ones."""
    private = PRIVATE if setting("ALLOW_PRIVATE_TARGETS") == "true" else frozenset[str]()
    return private | LOOPBACK if setting("ALLOW_LOOPBACK_TARGETS") == "true" else private


def target_error(url: str, resolve: Resolver = system_resolver) -> str | None:
    """Returns the error in the target of a job that is about to be saved; None if the target is valid."""
    try:
        target = web_target(url)
    except NotAnAddress:
        return "expected an absolute http(s) URL, such as https://billing.example/jobs/nightly"
    except TargetRefused:
        return "expected https, because this stage calls only https"
    try:
        checked_addresses(target, resolve)
    except AddressForbidden as error:
        verb = "is" if error.address == target.host else f"resolves to {error.address},"
        return (
            f"{target.host} {verb} {_with_article(error.kind)} address, which this stage does not call;"
            " expected a host with public addresses only"
        )
    except TargetUnresolved:
        return f"{target.host} does not resolve; expected a host that can be reached when the job is saved"
    return None


def open_socket(
    target: WebTarget, addresses: list[str], until: float, connect: Connect = socket.create_connection
) -> socket.socket:
    """Connects to the first of these addresses that accepts; raises OSError if none does before ``until``.

    Pass the checked addresses. The name is not resolved again; only TLS still uses it.
    """
    error = OSError("no time was left to connect")
    for address in addresses:
        seconds = min(_MAX_CONNECT_SECONDS, until - monotonic())
        if seconds <= 0:
            break
        try:
            opened = connect((address, target.port), seconds)
        except OSError as refused:
            error = refused
        else:
            opened.settimeout(max(0.001, until - monotonic()))
            return _encrypted(opened, target) if target.scheme == "https" else opened
    raise error


def _encrypted(opened: socket.socket, target: WebTarget) -> socket.socket:
    try:
        return tls().wrap_socket(opened, server_hostname=target.name)
    except BaseException:
        opened.close()
        raise


@cache
def tls() -> ssl.SSLContext:
    """The TLS settings of webhooks: the system's CAs are trusted, and the certificate must match the name."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
