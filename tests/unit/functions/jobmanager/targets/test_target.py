"""Hostile targets are refused when a job is saved, and again when its service is notified."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise, product
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

import pytest

from jobmanager.core.errors import NotificationUndelivered
from jobmanager.delivery import notification
from jobmanager.delivery.notification import Rejected, send
from jobmanager.executions.record import Execution
from jobmanager.jobs.validation import job_errors
from jobmanager.targets import connection
from jobmanager.targets import target as web_target
from jobmanager.targets.address_kind import LOOPBACK, PRIVATE, forbidden_kind
from tests.unit.functions.target import Wire

PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

FORBIDDEN_IPV4 = {
    "loopback": ["127.0.0.1", "127.0.1.1", "127.255.255.254"],
    "metadata": ["169.254.169.254", "169.254.170.2"],
    "link-local": ["169.254.0.1", "169.254.169.253"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "unspecified": ["0.0.0.0", "0.1.2.3"],
    "multicast": ["224.0.0.1", "239.255.255.250"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.8", "192.88.99.1"],
    "benchmark": ["198.18.0.1", "198.19.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1"],
}
FORBIDDEN_IPV6 = {
    "loopback": ["::1", "0:0:0:0:0:0:0:1"],
    "metadata": ["fd00:ec2::254", "fd00:ec2::23"],
    "link-local": ["fe80::1", "febf::1"],
    "private": ["fc00::1", "fd12:3456:789a::1", "fec0::1"],
    "unspecified": ["::"],
    "multicast": ["ff02::1", "ff0e::1"],
    "reserved": ["64:ff9b:1::a00:1", "2001::1", "2001:20::1", "100::1", "4000::1", "5f00::1", "::808:808"],
    "benchmark": ["2001:2::1"],
    "documentation": ["2001:db8::1", "3fff::1"],
}
EMBEDDING: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "compatible": lambda v4: v4,
    "translated": lambda v4: 0xFFFF << 48 | v4,
    "NAT64": lambda v4: 0x64FF9B << 96 | v4,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
}
INSIDE = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1"]


def embedded(form: str, v4: str) -> str:
    return str(IPv6Address(EMBEDDING[form](int(IPv4Address(v4)))))


def in_numbers(v4: str) -> dict[str, list[str]]:
    number, (a, b, c, d) = int(IPv4Address(v4)), map(int, v4.split("."))
    return {
        "decimal": [str(number)],
        "octal": [f"0{number:o}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"000{a:o}.{b}.{c}.{d}"],
        "hex": [f"0x{number:x}", f"0X{number:X}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0x{a:x}.{b}.{c}.{d}"],
        "short dotted": [f"{a}.{(b << 16) + (c << 8) + d}", f"{a}.{b}.{(c << 8) + d}"],
        "trailing dot": [f"{v4}."],
    }


# Names, and the addresses to which an attacker could make them resolve. They stand for any registered name.
NAMES = {
    "localhost": ["127.0.0.1"],
    "localhost.": ["::1", "127.0.0.1"],
    "LOCALHOST.localdomain": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "metadata": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "intranet": ["10.1.2.3"],
    "xn--e1afmkfd.nip.io": ["10.1.2.3"],
    "both.nip.io": [PUBLIC, "10.1.2.3"],
    "both6.nip.io": [PUBLIC_6, PUBLIC, "fd00::1"],
    "zoned.nip.io": ["fe80::1%eth0"],
    "nonsense.nip.io": ["not an address"],
}
ODD = {
    "userinfo": [
        "https://billing.example@127.0.0.1/",
        "https://u:p@127.0.0.1/",
        "https://127.0.0.1@billing.example/",
        "https://billing.example:443@10.0.0.1/",
        "https://@127.0.0.1/",
        "https://billing.example%40127.0.0.1/",
    ],
    "percent-encoded": [
        "https://%31%32%37.0.0.1/",
        "https://127%2e0%2e0%2e1/",
        "https://localhos%74/",
        "https://[::1%25lo]/",
        "https://127.0.0.1%00.billing.example/",
        "https://billing.example%2f@10.0.0.1/",
    ],
    "unicode digits and IDNA": [
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
        "https://127\u30020\u30020\u30021/",
        "https://\u24db\u24de\u24d2alhost/",
        "https://b\u00fccher.example/",
        "https://loc\u00adalhost/",
        "https://billing.example\uff0f@127.0.0.1/",
        "https://\u0661\u0662\u0667.0.0.1/",
    ],
    "brackets": [
        "https://[127.0.0.1]/",
        "https://[::1/",
        "https://::1/",
        "https://::1]/",
        "https://[::1]billing.example/",
        "https://billing.example[::1]/",
        "https://[::1].billing.example/",
        "https://[]/",
        "https://[v1.fe80]/",
        "https://[fe80::1%eth0]/",
        "https://[::ffff:0x7f.0.0.1]/",
        "https://[[::1]]/",
        "https://[2130706433]/",
    ],
    "ports": [
        "https://127.0.0.1:0/",
        "https://billing.example:0/",
        "https://billing.example:65536/",
        "https://billing.example:-1/",
        "https://billing.example:+443/",
        "https://billing.example:443:22/",
        "https://billing.example:0x1bb/",
        "https://billing.example:\u0664\u0664\u0663/",
        "https://127.0.0.1:/",
        "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    ],
    "backslashes": [
        "https:\\\\127.0.0.1/",
        "https://127.0.0.1\\@billing.example/",
        "https://billing.example\\@127.0.0.1/",
        "https:/\\127.0.0.1/",
        "https://billing.example/\\..\\",
    ],
    "blanks and controls": [
        "https://127.0.0.1\t/",
        "https://127.0\n.0.1/",
        "ht\ntps://127.0.0.1/",
        " https://127.0.0.1/",
        "https://127.0.0.1 /",
        "https://billing.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "https://billing.example\r\nx: y/",
        "\x00https://127.0.0.1/",
        "https://127.0.0.1\x00.billing.example/",
        "https://billing.example\u2028/",
        "https://billing.example\x7f/",
    ],
    "labels": [
        "https://.127.0.0.1/",
        "https://127..0.0.1/",
        "https://./",
        "https://../",
        "https://billing..example/",
        "https://.billing.example/",
        "https://billing.example../",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 126}example/",
        "https://-billing.example/",
        "https://billing-.example/",
        "https://billing.example.1/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://0x/",
        "https://*/",
    ],
    "slashes": ["https:127.0.0.1/", "https:/127.0.0.1/", "https:///127.0.0.1/", "//127.0.0.1/", "127.0.0.1"],
    "schemes": [
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "ftp://127.0.0.1/",
        "dict://127.0.0.1:11211/",
        "ldap://127.0.0.1/",
        "unix:///var/run/docker.sock",
        "javascript:alert(1)",
        "data:,x",
        "jar:https://127.0.0.1!/",
        "",
    ],
}


def hostile() -> list[tuple[str, str]]:
    """Every hostile target with its kind."""
    hosts = [(kind, v4) for kind, those in FORBIDDEN_IPV4.items() for v4 in those]
    hosts += [(kind, f"[{v6}]") for kind, those in FORBIDDEN_IPV6.items() for v6 in those]
    hosts += [(form, f"[{embedded(form, v4)}]") for form, v4 in product(EMBEDDING, INSIDE)]
    hosts += [("mapped, dotted", f"[::ffff:{v4}]") for v4 in INSIDE]
    hosts += [(way, text) for v4 in INSIDE for way, texts in in_numbers(v4).items() for text in texts]
    hosts += [("short dotted", host) for host in ("127.1", "127.0.1", "10.1", "0", "0x0", "1")]
    hosts += [("name", name) for name in NAMES]
    urls = [(kind, f"{scheme}://{host}/") for scheme, (kind, host) in product(("https", "http"), hosts)]
    return urls + [(kind, url) for kind, those in ODD.items() for url in those]


HOSTILE = hostile()


def generous(host: str, port: int) -> list[str]:
    """A resolver that accepts every notation that any resolver accepts, and resolves every harmless name."""
    for name, addresses in NAMES.items():
        if host.lower() == name.lower():
            return addresses
    try:
        return [socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))]
    except OSError:
        return [host if ":" in host else PUBLIC]


class Spy:
    """Replaces connect: records the addresses, and connects to a service that answers 204."""

    opened: ClassVar[list[socket.socket]] = []

    def __init__(
        self, answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n", dead: tuple[str, ...] = ()
    ) -> None:
        self.places: list[tuple[str, int]] = []
        self._answer, self._dead = answer, dead

    def __call__(self, place: tuple[str, int]) -> socket.socket:
        self.places.append(place)
        if place[0] in self._dead:
            raise ConnectionRefusedError
        ours, self._far = socket.socketpair()
        self.opened.append(self._far)
        self._far.sendall(self._answer)
        return ours

    def received(self) -> list[str]:
        """The lines of the request that the service received."""
        return self._far.recv(65_536).decode().split("\r\n")


def deliver(
    url: str, resolve: web_target.Resolver, connect: connection.Connect = connection.begin_connecting
) -> None:
    record = {
        "service_name": "billing",
        "execution_id": "id",
        "invocation_type": "http",
        "invocation_target": url,
        "async": True,
    }
    send(cast(Execution, record), {"payload": "x"}, resolve, connect)


def errors_of_put(url: str, resolve: web_target.Resolver) -> list[str]:
    """The errors of a PUT with this target."""
    body = {"schedule": "rate(1 hour)", "invocation_type": "http", "invocation_target": url}
    errors = job_errors(body, resolve)
    assert {error["pointer"] for error in errors} <= {"/invocation_target"}
    return [error["detail"] for error in errors]


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Allows the same addresses as a stage on AWS. Allows http, so that only the address decides."""
    monkeypatch.setenv("ALLOW_PRIVATE_TARGETS", "false")
    monkeypatch.setenv("ALLOW_LOOPBACK_TARGETS", "false")
    monkeypatch.setenv("ALLOW_HTTP_TARGETS", "true")
    monkeypatch.setattr(notification, "valid_secrets", lambda *_: [])
    yield
    while Spy.opened:
        Spy.opened.pop().close()


def test_there_are_at_least_200_hostile_targets() -> None:
    assert len({url for _, url in HOSTILE}) >= 200


@pytest.mark.parametrize(("kind", "url"), HOSTILE, ids=[f"{kind}: {url!a}" for kind, url in HOSTILE])
def test_a_hostile_target_is_neither_saved_nor_reached(kind: str, url: str) -> None:
    spy = Spy()

    assert errors_of_put(url, generous)
    with pytest.raises(Rejected):
        deliver(url, generous, spy)
    assert spy.places == []


ADDRESSES = [
    (kind, a) for table in (FORBIDDEN_IPV4, FORBIDDEN_IPV6) for kind, those in table.items() for a in those
]


@pytest.mark.parametrize(("kind", "address"), ADDRESSES)
def test_one_forbidden_address_among_several_is_enough_to_refuse(kind: str, address: str) -> None:
    for answers in ([address], [PUBLIC, address], [address, PUBLIC_6]):
        spy = Spy()
        with pytest.raises(Rejected, match=f"{kind} address") as rejected:
            deliver("https://billing.example/", lambda *_, found=answers: found, spy)
        assert spy.places == []
        assert address not in str(rejected.value)
        (detail,) = errors_of_put("https://billing.example/", lambda *_, found=answers: found)
        assert f"billing.example resolves to {address}, a" in detail
        assert f"{kind} address" in detail


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6, embedded("NAT64", PUBLIC), "100.63.0.1", "172.32.0.1"])
def test_a_public_address_is_reached(address: str) -> None:
    spy = Spy()
    assert errors_of_put("https://billing.example/", lambda *_: [address]) == []
    deliver("http://billing.example/", lambda *_: [address], spy)
    assert spy.places == [(address, 80)]


@pytest.mark.parametrize("kind", [*FORBIDDEN_IPV4, *FORBIDDEN_IPV6])
def test_a_stage_can_open_only_private_shared_and_loopback_addresses(kind: str) -> None:
    everything = set(FORBIDDEN_IPV4) | set(FORBIDDEN_IPV6)
    for address in FORBIDDEN_IPV4.get(kind, []) + FORBIDDEN_IPV6.get(kind, []):
        assert forbidden_kind(address, set()) == kind
        assert forbidden_kind(address, PRIVATE) == (None if kind in ("private", "shared") else kind)
        assert forbidden_kind(address, LOOPBACK) == (None if kind == "loopback" else kind)
        assert (forbidden_kind(address, everything) is None) == (kind in ("private", "shared", "loopback"))
    for form in EMBEDDING:
        assert forbidden_kind(embedded(form, "169.254.169.254"), PRIVATE | LOOPBACK)


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_a_stage_that_opens_loopback_alone_reaches_nothing_else_of_its_network(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the local stage does: a mistyped address must not reach out of a laptop or a CI machine."""
    monkeypatch.setenv("ALLOW_LOOPBACK_TARGETS", "true")
    for address in FORBIDDEN_IPV4[kind] + FORBIDDEN_IPV6.get(kind, []):
        for answers in ([address], ["127.0.0.1", address], [address, "::1"]):
            spy = Spy()
            assert (
                f"{kind} address"
                in errors_of_put("http://billing.example/", lambda *_, found=answers: found)[0]
            )
            with pytest.raises(Rejected, match=f"{kind} address"):
                deliver("http://billing.example/", lambda *_, found=answers: found, spy)
            assert spy.places == []
    for address in ("127.0.0.1", "::1"):
        spy = Spy()
        deliver("http://billing.example/", lambda *_, found=address: [found], spy)
        assert spy.places == [(address, 80)]


# Addresses that no webhook may reach, even from inside a VPC, because no service answers there.
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
# https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
AROUND_A_FUNCTION = {
    "the runtime's interface": "http://127.0.0.1:9001/2018-06-01/runtime/init/error",
    "its other address": "http://169.254.100.1:9001/2018-06-01/runtime/invocation/next",
    "X-Ray's daemon": "http://169.254.79.129:2000/GetSamplingRules",
    "metadata": "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "metadata by IPv6": "http://[fd00:ec2::254]/latest/meta-data/",
    "credentials of a container": "http://169.254.170.2/v2/credentials/",
    "the VPC's resolver": "http://169.254.169.253:53/",
    "the VPC's resolver by IPv6": "http://[fd00:ec2::253]:53/",
    "time": "http://169.254.169.123:123/",
}


@pytest.mark.parametrize("url", AROUND_A_FUNCTION.values(), ids=AROUND_A_FUNCTION)
@pytest.mark.parametrize("by_name", [False, True])
def test_interfaces_around_the_function_are_unreachable_even_in_a_vpc(
    url: str, by_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOW_PRIVATE_TARGETS", "true")
    address = urlsplit(url).hostname
    target = "http://inside.billing.example/" if by_name else url
    spy = Spy()

    assert errors_of_put(target, lambda *_: [address])
    with pytest.raises(Rejected, match="which this stage does not call"):
        deliver(target, lambda *_: [address], spy)
    assert spy.places == []


def test_a_private_name_is_reached_at_the_first_address_family_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name has addresses of both families, but the subnet routes only IPv4."""
    monkeypatch.setenv("ALLOW_PRIVATE_TARGETS", "true")
    found = ["fd12:3456::10", "10.20.0.10"]
    spy = Spy(dead=("fd12:3456::10",))
    assert errors_of_put("http://billing.internal/", lambda *_: found) == []
    deliver("http://billing.internal/", lambda *_: found, spy)
    assert spy.places == [(address, 80) for address in found]


def test_a_name_that_resolves_to_a_forbidden_address_after_the_put_is_not_called() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    spy = Spy()

    assert errors_of_put("https://billing.example/", lambda *_: next(answers)) == []
    with pytest.raises(Rejected, match="a loopback address"):
        deliver("https://billing.example/", lambda *_: next(answers), spy)
    assert spy.places == []


def test_a_name_is_resolved_once_per_call_so_that_it_cannot_change_after_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("resolved by another resolver")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    spy = Spy()
    deliver("http://billing.example/", rebinding, spy)
    assert asked == ["billing.example"]
    assert spy.places == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://Billing.example", "billing.example", "/"),
        ("http://billing.example.:8080/a?b=c#d", "billing.example:8080", "/a?b=c"),
        (f"http://[{PUBLIC_6}]:81/", f"[{PUBLIC_6}]:81", "/"),
        (f"http://{PUBLIC}/a/../%2e", PUBLIC, "/a/../%2e"),
        ('http://billing.example/{"a"}', "billing.example", "/%7B%22a%22%7D"),
    ],
)
def test_the_host_header_has_the_targets_name(url: str, host: str, path: str) -> None:
    spy = Spy()
    deliver(url, lambda *_: [PUBLIC], spy)
    lines = spy.received()
    assert lines[0] == f"POST {path} HTTP/1.1"
    assert f"Host: {host}" in lines
    assert lines[-1] == '{"payload": "x"}'


def test_proxy_settings_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    spy = Spy()
    deliver("http://billing.example/", lambda *_: [PUBLIC], spy)
    assert spy.places == [(PUBLIC, 80)]


def test_a_redirect_to_an_internal_address_is_not_followed() -> None:
    spy = Spy(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\n\r\n")
    with pytest.raises(Rejected, match="HTTP 307"):
        deliver("http://billing.example/", lambda *_: [PUBLIC], spy)
    assert spy.places == [(PUBLIC, 80)]


def test_the_next_address_is_tried_if_one_does_not_answer() -> None:
    spy = Spy(dead=(PUBLIC_6,))
    deliver("http://billing.example/", lambda *_: [PUBLIC_6, PUBLIC], spy)
    assert spy.places == [(PUBLIC_6, 80), (PUBLIC, 80)]


def test_http_is_refused_unless_the_stage_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_HTTP_TARGETS", "false")
    spy = Spy()
    assert errors_of_put("http://billing.example/", generous) == [
        "expected https, because this stage calls only https"
    ]
    assert errors_of_put("https://billing.example/", generous) == []
    with pytest.raises(Rejected, match="not https"):
        deliver("http://billing.example/", generous, spy)
    assert spy.places == []


def test_an_unresolvable_name_is_refused_by_a_put_and_retried_by_a_notification() -> None:
    def silent(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    (detail,) = errors_of_put("https://gone.example/", silent)
    assert detail.startswith("gone.example does not resolve; expected")
    with pytest.raises(NotificationUndelivered, match="does not resolve"):
        deliver("https://gone.example/", silent, Spy())


def test_a_slow_resolver_is_an_error_after_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    late = threading.Event()
    monkeypatch.setattr(web_target, "_MAX_RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: late.wait(60) and [])
    with pytest.raises(OSError, match="no answer in time"):
        web_target.system_resolver("slow.example", 443)
    late.set()


def test_the_systems_resolver_returns_all_addresses_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 1, 6, "", (PUBLIC_6, 443, 0, 0)), (socket.AF_INET, 1, 6, "", (PUBLIC, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert web_target.system_resolver("billing.example", 443) == [PUBLIC_6, PUBLIC]


@pytest.fixture
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_LOOPBACK_TARGETS", "true")


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.usefixtures("on_loopback")
def test_an_answer_that_does_not_begin_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "ANSWER_WITHIN_SECONDS", 0.3)
    drops: list[bytes | float] = [b"0", 0.05]
    with Wire([b"HTTP/1.1 2", *drops * 2000]) as wire:
        began = time.monotonic()
        with pytest.raises(NotificationUndelivered, match=r"did not answer within 0\.3 seconds"):
            deliver(f"http://billing.example:{wire.port}/", here)
        assert time.monotonic() - began < 50


@pytest.mark.usefixtures("on_loopback")
def test_an_endless_answer_is_not_read() -> None:
    drops: list[bytes | float] = [b"x" * 65_536, 0.05]
    with Wire([b"HTTP/1.1 200 OK\r\n\r\n", *drops * 2000]) as wire:
        began = time.monotonic()
        deliver(f"http://billing.example:{wire.port}/", here)
        assert time.monotonic() - began < 50


# On Linux, all addresses of 127.0.0.0/8 are this machine.
LIVING, *DEAD = [f"127.0.0.{number}" for number in range(1, 8)]


@pytest.fixture
def fill_queues() -> Iterator[Callable[[int], None]]:
    """Makes the dead addresses ignore connections to a port, by filling their queues of connections."""
    with ExitStack() as opened:

        def fill(port: int) -> None:
            for address in DEAD:
                opened.enter_context(socket.create_server((address, port), backlog=0))
                for _ in range(4):
                    waiting = opened.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex((address, port))

        yield fill


@pytest.mark.usefixtures("on_loopback")
@pytest.mark.parametrize("order", [[*DEAD, LIVING], [*DEAD[:3], LIVING, *DEAD[3:]]])
def test_a_living_address_is_reached_in_time_even_if_dead_ones_come_first(
    order: list[str], fill_queues: Callable[[int], None]
) -> None:
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"]) as wire:
        fill_queues(wire.port)
        deliver(f"http://billing.example:{wire.port}/", lambda *_: order)
    assert len(wire.requests) == 1


@pytest.mark.usefixtures("on_loopback")
def test_a_call_to_only_dead_addresses_times_out(
    fill_queues: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification, "ANSWER_WITHIN_SECONDS", 0.7)
    with Wire([]) as wire:
        fill_queues(wire.port)
        began = time.monotonic()
        with pytest.raises(NotificationUndelivered, match="was not reached: TimeoutError"):
            deliver(f"http://billing.example:{wire.port}/", lambda *_: DEAD)
        assert 0.7 <= time.monotonic() - began < 50


@pytest.mark.usefixtures("on_loopback")
def test_an_address_that_refuses_connections_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_HEAD_START_SECONDS", 60.0)
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"]) as wire:
        deliver(f"http://billing.example:{wire.port}/", lambda *_: [*DEAD, LIVING])
    assert len(wire.requests) == 1


class Racing:
    """Replaces connect: records when connections began, and completes at most one of them."""

    def __init__(self, lives: str = "", now: Callable[[], float] = time.monotonic) -> None:
        self.begun: dict[str, float] = {}
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lives = lives
        self._now = now

    def __call__(self, place: tuple[str, int]) -> socket.socket:
        self.begun[place[0]] = self._now()
        ours, theirs = pair = socket.socketpair()
        self.pairs.append(pair)
        ours.setblocking(False)
        if place[0] == self._lives:
            theirs.sendall(b"HTTP/1.1 202 Accepted\r\n\r\n")
        else:
            with suppress(BlockingIOError):
                while True:  # until it is not writable
                    ours.send(b"x" * 65_536)
        return ours


@pytest.fixture
def race_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The time of a race, which passes only while the race waits for its connections."""
    now = time.monotonic()

    class Waiting(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            nonlocal now
            ready = super().select(0)
            if not ready:
                now += timeout or 0
            return ready

    monkeypatch.setattr(connection, "monotonic", lambda: now)
    monkeypatch.setattr(selectors, "DefaultSelector", Waiting)
    return lambda: now


def test_addresses_start_a_quarter_of_a_second_apart_and_the_families_take_turns(
    race_clock: Callable[[], float],
) -> None:
    """RFC 8305, sections 4 and 5."""
    sixes = ["2606:2800:21f::1", "2606:2800:21f::2", "2606:2800:21f::3"]
    fours = ["93.184.215.1", "93.184.215.2"]
    race = Racing(fours[1], race_clock)
    deliver("http://billing.example/", lambda *_: sixes + fours, race)
    assert [*race.begun] == [sixes[0], fours[0], sixes[1], fours[1]]
    for earlier, later in pairwise(race.begun.values()):
        assert later - earlier == pytest.approx(0.25)
    assert all(ours.fileno() == -1 for ours, _ in race.pairs), "all are closed, the winner's too"
    for _, theirs in race.pairs:
        theirs.close()


def test_a_bad_address_among_good_ones_is_not_raced_but_refused() -> None:
    race = Racing(lives=PUBLIC)
    with pytest.raises(Rejected, match="a private address"):
        deliver("http://billing.example/", lambda *_: [PUBLIC, PUBLIC_6, "10.0.0.1"], race)
    assert race.begun == {}


# Invalid URLs, each with a part of its error message.
INVALID_URLS = {
    "https://ann:s3cret@billing.example/jobs": "the URL has a user name or a password; expected none",
    "https://s3cret@billing.example": "the URL has a user name or a password; expected none",
    "https://ann:s3cr\u00e9t@billing.example:x/": "the URL has a user name or a password; expected none",
    "https://ann:s3cret@b\u00fccher.example/": "the URL has a user name or a password; expected none",
    "http://ann:s3cret@[::1/": "the URL has a user name or a password; expected none",
    "billing.example/s3cret": "the URL has no scheme; expected a URL that begins with https://",
    "billing.example:443/s3cret": "the URL has no scheme; expected a URL that begins with https://",
    "//billing.example/s3cret": "the URL has no scheme; expected a URL that begins with https://",
    "ann:s3cret@billing.example/": "the URL has no scheme; expected a URL that begins with https://",
    "ftp://billing.example/s3cret": "the URL's scheme is neither https nor http; expected a URL such as https://",
    "https://billing.example:s3cret/": "the URL's host or port is not valid",
    "https://billing.example:99999/s3cret": "the URL's host or port is not valid",
    "https:///s3cret": "the URL's host or port is not valid",
    "https://B\u00dcCHER.example/s3cret": "expected its punycode, xn--bcher-kva.example",
    "https://b\u00fccher.example:8443": "expected its punycode, xn--bcher-kva.example",
    "https://stra\u00dfe.example/": "expected its punycode, xn--strae-oqa.example",
    "https://\u65e5\u672c\u8a9e\u3002jp/": "expected its punycode, xn--wgv71a119e.jp",
    "https://\uff11\uff12\uff17.0.0.1/": "the host has characters outside ASCII; expected a name such as",
    "https://billing.example/\u00e4?t=s3cret": "percent-encoded",
    "https://billing.example/a b": "percent-encoded",
    "https://\ud800.example/": "the host has characters outside ASCII",
}


@pytest.mark.parametrize(("url", "expected"), INVALID_URLS.items(), ids=map(ascii, INVALID_URLS))
def test_an_invalid_url_is_explained_without_its_password(url: str, expected: str) -> None:
    (detail,) = errors_of_put(url, generous)
    assert expected in detail
    assert "s3cr" not in detail
    with pytest.raises(Rejected) as rejected:
        deliver(url, generous, Spy())
    assert expected in str(rejected.value)
    assert "s3cr" not in str(rejected.value)
