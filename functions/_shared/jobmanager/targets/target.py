"""Checks the target of a webhook, when a job is saved and again before each notification.

A host name may resolve to any address, and to a different one each time. So each call resolves the name once,
checks every address, and connects to one of the checked addresses.
"""

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

from jobmanager.core.settings import setting
from jobmanager.targets.address_kind import LOOPBACK, PRIVATE, forbidden_kind

type Resolver = Callable[[str, int], list[str]]

_MAX_RESOLVE_SECONDS = 3.0
_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "such as https://billing.example/jobs/nightly"
_NOT_A_PLACE = f"the URL's host or port is not valid; expected a URL {_EXAMPLE}"
_AUTHORITY = re.compile(r"[^/?#]*//([^/?#]*)")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{0,5})?")
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
    """The target's name does not resolve, now."""


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

    @property
    def authority(self) -> str:
        """The Host header: the name, and the port unless it is the scheme's default."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"


def web_target(url: str) -> WebTarget:
    """Parses a target; raises TargetRefused if servers and resolvers could read it differently."""
    _refuse_common_mistakes(url)
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        scheme, place, path, query, _ = parts
    except ValueError:
        # The error's own text may repeat a secret.
        raise NotAnAddress(_NOT_A_PLACE) from None
    if not host or not _PLACE.fullmatch(place) or port == 0:
        raise NotAnAddress(_NOT_A_PLACE)
    if not _is_host(host):
        raise NotAnAddress(
            "the URL's host is neither a name, nor an IPv4 address of four decimal numbers,"
            f" nor an IPv6 address in brackets; expected a URL {_EXAMPLE}"
        )
    if scheme == "http" and setting("ALLOW_HTTP_TARGETS") != "true":
        raise TargetRefused("the target is not https, but this stage calls only https")
    request_target = quote(path or "/", _SAFE_IN_PATHS) + (
        f"?{quote(query, _SAFE_IN_PATHS)}" if query else ""
    )
    return WebTarget(scheme, host, port or _PORTS[scheme], request_target)


def _refuse_common_mistakes(url: str) -> None:
    """Raises NotAnAddress with an explanation of each mistake. No message repeats a possible password."""
    authority = _AUTHORITY.match(url)
    if authority and "@" in authority[1]:
        raise NotAnAddress(
            "the URL has a user name or a password; expected none, because everyone who may read the job sees"
            " it. To know that a webhook is genuine, let the service verify its signature"
        )
    scheme, colon, _ = url.partition("://")
    if not colon:
        raise NotAnAddress(f"the URL has no scheme; expected a URL that begins with https://, {_EXAMPLE}")
    if scheme.lower() not in _PORTS:
        raise NotAnAddress(f"the URL's scheme is neither https nor http; expected a URL {_EXAMPLE}")
    if authority and not authority[1].isascii():
        expected = _in_punycode(authority[1].partition(":")[0])
        raise NotAnAddress(
            "the host has characters outside ASCII; expected "
            + (f"its punycode, {expected}" if expected else f"a name {_EXAMPLE}")
        )
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise NotAnAddress(
            "the URL has a blank, a backslash, a control character or a character outside ASCII;"
            " expected them percent-encoded, as in %20"
        )


def _in_punycode(host: str) -> str | None:
    """Encodes a name as IDNA 2008 does, without its tables; None if the result is not a name."""
    from unicodedata import normalize

    labels = [
        label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"
        for label in normalize("NFKC", host).lower().replace("\u3002", ".").split(".")
    ]
    name = ".".join(labels)
    return name if "xn--" in name and _is_host(name) else None


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
    """Returns the addresses of a target; raises AddressForbidden if one is forbidden, or TargetUnresolved."""
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
    except NotAnAddress as error:
        return str(error)
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


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
