"""Classifies IP addresses: webhooks may reach the internet, but nothing in the manager's own network.

The standard library's ``is_global`` is not enough. It accepts multicast, 6to4 relays, site-local and
IPv4-compatible addresses, and it checks only some of the IPv4 addresses that are embedded in IPv6 addresses.
"""

from collections.abc import Set
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# The kinds that a stage may allow. No service runs at any other kind of address; metadata addresses hand out
# credentials. Loopback has a setting of its own: a service runs there only beside an emulator, while on
# Lambda the interface of Lambda's runtime does.
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
PRIVATE = frozenset({"private", "shared"})
LOOPBACK = frozenset({"loopback"})

_UNREADABLE = "unreadable"

# The first range that contains an address gives its kind.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
_RANGES: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(text), kind)
    for kind, texts in (
        ("metadata", ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::/32")),
        ("unspecified", ("0.0.0.0/8", "::/128")),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("shared", ("100.64.0.0/10",)),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
        ("documentation", ("2001:db8::/32", "3fff::/20")),
        ("benchmark", ("198.18.0.0/15", "2001:2::/48")),
        ("reserved", ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "64:ff9b:1::/48", "2001::/23")),
    )
    for text in texts
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# These ranges are equivalent to the IPv4 address in their last 32 bits: IPv4-mapped and NAT64.
_IPV4_AT_THE_END = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# These ranges may route to an IPv4 address inside them, at an offset in bits from their end:
# IPv4-compatible, IPv4-translated, 6to4.
_IPV4_INSIDE = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("2002::/16"), 80),
)


def forbidden_kind(text: str, allowed: Set[str]) -> str | None:
    """Returns the kind of an address that webhooks must not reach, such as ``loopback``; else None.

    ``allowed`` holds the kinds of PRIVATE and LOOPBACK that this stage calls. A text that is not an address,
    or has a zone id, is ``unreadable``, which is forbidden.
    """
    if "%" in text:
        return _UNREADABLE
    try:
        kind = _kind(ip_address(text))
    except ValueError:
        return _UNREADABLE
    return None if kind in allowed & (PRIVATE | LOOPBACK) else kind


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    for known, kind in _RANGES:
        if address in known:
            return kind
    if isinstance(address, IPv6Address):
        if any(address in network for network in _IPV4_AT_THE_END):
            return _kind(_ipv4_in(address, 0))
        for network, shift in _IPV4_INSIDE:
            if address in network and (inside := _kind(_ipv4_in(address, shift))):
                return inside
        if address not in _GLOBAL_UNICAST:
            return "reserved"
    return None if address.is_global else "reserved"


def _ipv4_in(address: IPv6Address, shift: int) -> IPv4Address:
    return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
