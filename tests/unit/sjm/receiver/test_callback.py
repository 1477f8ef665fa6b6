"""One callback is one POST, whatever the network does."""

import socket
import threading

import pytest

from sjm.receiver import callback
from sjm.receiver.callback import post
from tests.unit.sjm.receiver.manager import Manager, Reply

BODY = {"status": "success", "summary": "ß \ud800"}


def url(manager: Manager, execution_id: str = "x") -> str:
    return f"{manager.url}/callback/{execution_id}/1"


def test_an_answer_is_its_status_and_its_object(manager: Manager) -> None:
    manager.script("x", Reply(410, body=b'{"detail": "over", "errors": [1]}'))
    answer = post(url(manager), BODY, 10, "Root=1-2-3")

    assert (answer.status, answer.is_gone, answer.is_taken, answer.is_worth_repeating) == (
        410,
        True,
        False,
        False,
    )
    assert answer.reason == "HTTP 410: over [1]"
    (received,) = manager.callbacks()
    assert received.body == BODY
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-amzn-trace-id"] == "Root=1-2-3"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff"])
def test_a_body_that_is_no_object_is_left_out(manager: Manager, body: bytes) -> None:
    manager.script("x", Reply(200, body=body))
    answer = post(url(manager), BODY, 10)

    assert (answer.is_taken, answer.body) == (True, {})
    assert "x-amzn-trace-id" not in manager.callbacks()[0].headers


def test_a_status_counts_even_if_its_body_breaks_off(manager: Manager) -> None:
    manager.script("x", Reply(200, {"Content-Length": "1000"}, b"{"))

    assert post(url(manager), BODY, 10).is_taken


@pytest.mark.parametrize("status", [301, 302, 303, 307, 408, 425, 429, 500, 502, 503, 504])
def test_a_redirect_is_not_followed_and_is_no_answer(manager: Manager, status: int) -> None:
    manager.script("x", Reply(status, {"Location": f"{manager.url}/elsewhere"}))
    answer = post(url(manager), BODY, 10)

    assert (answer.status, answer.is_taken, answer.is_worth_repeating) == (status, False, True)
    assert len(manager.callbacks()) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 410, 415])
def test_a_refusal_is_final(manager: Manager, status: int) -> None:
    manager.script("x", status)

    assert not post(url(manager), BODY, 10).is_worth_repeating


def test_nobody_answers(manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        timed_out = post(f"http://127.0.0.1:{port}/callback/secret", BODY, 0.05)
    refused = post(f"http://127.0.0.1:{port}/callback/secret", BODY, 10)
    manager.script("x", 0)
    closed = post(url(manager), BODY, 10)

    for answer in (timed_out, refused, closed):
        assert (answer.status, answer.is_worth_repeating) == (0, True)
        assert answer.reason.startswith("no answer: ")
        assert "secret" not in answer.reason


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "callback", "http://[::1/callback", "http://a b/"]
)
def test_an_address_that_is_none_is_no_answer_and_is_not_shown(address: str) -> None:
    answer = post(address, BODY, 10)

    assert answer.status == 0
    assert address not in answer.reason.replace("the callback URL", "")


def test_an_answer_that_is_not_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert post(f"http://127.0.0.1:{server.getsockname()[1]}/x", BODY, 10).status == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("7", 7),
        (" 7 ", 7),
        ("soon", 0),
        ("-7", 0),
        ("9" * 40, 0),
        ("Mon, 23 Nov 2026 02:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 01:00:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float) -> None:
    assert callback._seconds(value, lambda: 1795399200.0) == seconds


@pytest.mark.parametrize(
    "address", ["http://a.example/secret path", "http://a.example/secret\n", "http://a:x/secret"]
)
def test_a_part_of_an_address_is_not_shown_either(address: str) -> None:
    answer = post(address, BODY, 10)

    assert answer.status == 0
    assert "secret" not in answer.reason


def test_an_answer_that_is_nested_too_deeply_counts(manager: Manager) -> None:
    manager.script("x", Reply(200, body=b"[" * 60_000))

    assert post(url(manager), BODY, 10).is_taken


@pytest.mark.parametrize("trace_header", ["Root=1\r\nx: y", "Root=\u20ac"])
def test_a_trace_that_no_header_can_hold_is_left_out(manager: Manager, trace_header: str) -> None:
    assert post(url(manager), BODY, 10, trace_header).is_taken
    assert "x-amzn-trace-id" not in manager.callbacks()[0].headers


def test_an_interim_status_is_no_answer() -> None:
    assert callback.CallbackAnswer(103).is_worth_repeating
