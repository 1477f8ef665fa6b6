"""TLS: the certificate must match the name and not the address, and errors are explained."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobmanager.targets import tls
from jobmanager.targets.webhook import NoAnswer, post
from tests.unit.functions.certificates import Holder, issued, server_context
from tests.unit.functions.target import Wire

ROOT = issued("root")
BETWEEN = issued("between", ROOT)
EXPIRED_BETWEEN = issued("expired between", ROOT, days=(-3, -1))
STRANGER = issued("stranger")
NAME = "billing.example"


@pytest.fixture(autouse=True)
def trusts_the_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the system trust one more authority."""
    original = ssl.create_default_context

    def trusting() -> ssl.SSLContext:
        context = original()
        context.load_verify_locations(cadata=ROOT.pem.decode())
        return context

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    tls.context.cache_clear()
    yield
    tls.context.cache_clear()


@pytest.fixture
def as_server(tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    return partial(server_context, tmp_path)


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def post_to(wire: Wire, name: str = NAME) -> int:
    url = f"https://{name}:{wire.port}/jobs"
    return post(url, b"{}", {}, 10, resolve=here).status


def refusal(server: ssl.SSLContext, name: str = NAME) -> str:
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"], tls=server) as wire:
        with pytest.raises(NoAnswer) as refused:
            post_to(wire, name)
        assert wire.requests == []
    return str(refused.value).removeprefix("the target was not reached: ")


def test_a_webhook_is_encrypted_for_the_owner_of_the_name(as_server: Callable[..., ssl.SSLContext]) -> None:
    server = as_server(issued("billing", BETWEEN, [NAME]), BETWEEN)
    asked_for: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked_for.append(name)
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"], tls=server) as wire:
        assert post_to(wire, f"{NAME}.") == 202
    assert asked_for == [NAME]
    assert f"\r\nHost: {NAME}:{wire.port}\r\n".encode() in wire.requests[0]


CHAINS: dict[str, tuple[list[Holder], str]] = {
    "expired": (
        [issued("billing", BETWEEN, [NAME], (-3, -1)), BETWEEN],
        "its certificate, or one that signed it, has expired",
    ),
    "signed by an expired one": (
        [issued("billing", EXPIRED_BETWEEN, [NAME]), EXPIRED_BETWEEN],
        "its certificate, or one that signed it, has expired",
    ),
    "not valid yet": (
        [issued("billing", BETWEEN, [NAME], (1, 3)), BETWEEN],
        "its certificate, or one that signed it, is not valid yet",
    ),
    "of an unknown issuer, with its certificate": (
        [issued("billing", STRANGER, [NAME]), STRANGER],
        "its certificate was signed by an unknown issuer, at last by a certificate that is self-signed",
    ),
    "of an unknown issuer, without": (
        [issued("billing", between := issued("between", STRANGER), [NAME]), between],
        "its certificate was signed by an unknown issuer",
    ),
    "self-signed": (
        [issued("billing", None, [NAME])],
        "its certificate is self-signed: its issuer is unknown",
    ),
    "of an incomplete chain": (
        [issued("billing", BETWEEN, [NAME])],
        "it sends its own certificate alone, and its issuer is unknown: the chain is incomplete, or ends in"
        " an authority that is not trusted",
    ),
    "for another name": (
        [issued("billing", BETWEEN, ["other.example"]), BETWEEN],
        "its certificate is for another name",
    ),
    "for no name": (
        [issued("billing", BETWEEN, ["127.0.0.1"]), BETWEEN],
        "its certificate is for another name",
    ),
    "signed by one that may not sign": (
        [issued("billing", other := issued("other", ROOT, ["other.example"]), [NAME]), other],
        "its certificate is not valid: ",
    ),
}


@pytest.mark.parametrize(("chain", "why"), CHAINS.values(), ids=CHAINS)
def test_an_invalid_certificate_is_explained(
    as_server: Callable[..., ssl.SSLContext], chain: list[Holder], why: str
) -> None:
    found = refusal(as_server(*chain))
    assert found.startswith(why) if why.endswith(" ") else found == why


def test_an_address_needs_a_certificate_too(as_server: Callable[..., ssl.SSLContext]) -> None:
    answers = [b"HTTP/1.1 202 Accepted\r\n\r\n"]
    own = as_server(issued("billing", BETWEEN, ["127.0.0.1"]), BETWEEN)
    with Wire(answers, tls=own) as wire:
        assert post_to(wire, "127.0.0.1") == 202
    other = as_server(issued("billing", BETWEEN, ["127.0.0.2", NAME]), BETWEEN)
    assert refusal(other, "127.0.0.1") == "its certificate is not for its address"


UNDERSCORES = {
    "a_b.billing.example": ["*.billing.example"],
    "_.billing.example": ["x.example", "*.BILLING.example"],
    "a_b.exact.example": ["a_b.exact.example"],
    "a.b_c.billing.example": ["*.b_c.billing.example"],
}


@pytest.mark.parametrize(("name", "names"), UNDERSCORES.items())
def test_a_name_with_an_underscore_is_reached_as_curl_reaches_it(
    as_server: Callable[..., ssl.SSLContext], name: str, names: list[str]
) -> None:
    server = as_server(issued("billing", BETWEEN, names), BETWEEN)
    asked_for: list[str | None] = []
    server.sni_callback = lambda _, found, __: asked_for.append(found)
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"], tls=server) as wire:
        assert post_to(wire, name) == 202
    assert asked_for == [name]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a_b.billing.example", ["*.other.example"]),
        ("a_b.billing.example", ["*.example"]),
        ("a_b.billing.example", ["a*.billing.example", "*_b.billing.example", "a-b.billing.example"]),
        ("a_b.c.billing.example", ["*.billing.example", "*.*.billing.example"]),
        ("a_b.example", ["*", "*.", "example"]),
        ("a_b", ["*", "*."]),
        ("a_b.example", ["*.example.", ".example"]),
    ],
)
def test_a_name_with_an_underscore_is_still_checked(
    as_server: Callable[..., ssl.SSLContext], name: str, names: list[str]
) -> None:
    assert (
        refusal(as_server(issued(name, BETWEEN, names), BETWEEN), name)
        == "its certificate is for another name"
    )
    stranger = as_server(issued("billing", STRANGER, [name]), STRANGER)
    assert "an unknown issuer" in refusal(stranger, name)
    expired = as_server(issued("billing", BETWEEN, [name], (-3, -1)), BETWEEN)
    assert "has expired" in refusal(expired, name)


def test_a_port_without_tls_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(NoAnswer) as refused:
        serve_once(server, lambda near: near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        post(f"https://{NAME}:{server.getsockname()[1]}/", b"{}", {}, 10, resolve=here)
    assert str(refused.value).endswith(": it does not speak TLS on this port")


@pytest.mark.parametrize("reads", [True, False])
def test_a_connection_closed_during_the_handshake_is_explained(reads: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(NoAnswer) as refused:
        serve_once(server, lambda near: near.recv(65_536) if reads else None)
        post(f"https://{NAME}:{server.getsockname()[1]}/", b"{}", {}, 10, resolve=here)
    assert str(refused.value).endswith(": it closed the connection during the TLS handshake")


def test_a_server_that_requires_a_client_certificate_has_not_answered(
    as_server: Callable[..., ssl.SSLContext],
) -> None:
    server = as_server(issued("billing", BETWEEN, [NAME]), BETWEEN)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=ROOT.pem.decode())
    # The network decides whether the alert or the end of the connection arrives first.
    found = refusal(server)
    assert "requires a client certificate" in found or found.endswith("before it answered")


def test_certificates_are_verified_with_what_the_system_trusts() -> None:
    for checks_names in (True, False):
        context = tls.context(checks_names)
        assert context.check_hostname is checks_names
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.cert_store_stats()["x509_ca"] > 1


def serve_once(server: socket.socket, answer: Callable[[socket.socket], object]) -> None:
    def run() -> None:
        near, _ = server.accept()
        with near:
            answer(near)

    threading.Thread(target=run, daemon=True).start()
