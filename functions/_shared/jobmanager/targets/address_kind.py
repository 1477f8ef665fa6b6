"""What kind of place an IP address is: webhooks reach the internet, and not what is around the manager.

The standard library's ``is_global`` is not enough: it takes multicast, 6to4 relays, site-local and
IPv4-compatible addresses for global, and looks at few of the IPv4 addresses inside IPv6 ones.
"""

from collections.abc import Set
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# What a stage may open to webhooks. Nothing else has ever been the home of a service: least of all
# metadata, which hands out credentials. Loopback is apart: a service lives there only beside an emulator, and
# on Lambda its runtime's own interface does.
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
PRIVATE = frozenset({"private", "shared"})
LOOPBACK = frozenset({"loopback"})

_UNREADABLE = "unreadable"

# The first range that holds an address names it.
# https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
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

# These stand for the IPv4 address at their end: IPv4-mapped, and what a NAT64 gateway translates.
_IPV4_AT_THE_END = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# These may lead to the IPv4 address inside them, so far from their end: -compatible, -translated, 6to4.
_IPV4_INSIDE = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("2002::/16"), 80),
)


def forbidden_kind(text: str, opened: Set[str]) -> str | None:
    """The kind of an address that webhooks must not reach, such as ``loopback``; None for one that they may.

    ``opened``: those of PRIVATE and LOOPBACK that this stage calls. What is no address at all, or has a zone
    id, is ``unreadable``, and forbidden.
    """
    if "%" in text:
        return _UNREADABLE
    try:
        kind = _kind(ip_address(text))
    except ValueError:
        return _UNREADABLE
    return None if kind in opened & (PRIVATE | LOOPBACK) else kind


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
