"""A WSGI application (PEP 3333)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sjm.receiver.answer import Answer, refusal
from sjm.receiver.notification import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sjm.receiver.receiver import Receiver

    WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def wsgi(receiver: Receiver) -> WsgiApplication:
    """An application that takes webhooks at every path."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = _answer(receiver, environ)
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, list(answer.headers.items()))
        return [answer.body]

    return application


def _answer(receiver: Receiver, environ: dict[str, Any]) -> Answer:
    if environ.get("REQUEST_METHOD") != "POST":
        return refusal(405, "a notification is a POST", {"allow": "POST"})
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = -1
    if length < 0:  # read(-1) would read whatever comes
        return refusal(400, "Content-Length: expected a number")
    if length > MAX_BYTES:
        return refusal(413, f"the body has {length} bytes: expected at most {MAX_BYTES}")
    body = environ["wsgi.input"]
    if not length and environ.get("wsgi.input_terminated"):  # sent in chunks
        length = MAX_BYTES + 1
    return receiver.receive(body.read(length) if length else b"", _headers(environ))


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
