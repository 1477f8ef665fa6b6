"""The WSGI door, by the standard's own check."""

import io
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from sjm.receiver import Receiver
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import Answered, Manager, encoded, signed


def call(
    jobs: Receiver, content: bytes, headers: dict[str, str], *, method: str = "POST", **environ: Any
) -> Answered:
    sent: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "CONTENT_LENGTH": str(len(content)),
        "CONTENT_TYPE": "application/json",
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(content),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
        **environ,
    }
    sent.pop("HTTP_CONTENT_TYPE", None)
    setup_testing_defaults(sent)
    begun: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        begun.append((status, headers))

    is_checkable = sent["CONTENT_LENGTH"].isdecimal()
    application: Any = validator(jobs.wsgi()) if is_checkable else jobs.wsgi()
    answer = application(sent, start_response)
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    ((status, sent_headers),) = begun
    return Answered(int(status.split()[0]), dict(sent_headers), body)


def test_a_webhook_is_taken(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: run.trace_header)
    notification = manager.notification(payload="ß € 🎉")
    content = encoded(notification)
    answer = call(jobs, content, {**signed(content), "x-amzn-trace-id": "Root=1"})

    assert (answer.status, answer.json) == (202, {"outcome": "accepted"})
    assert manager.wait_for_result(notification["execution_id"])["summary"] == "Root=1"


def test_a_webhook_that_comes_in_chunks_is_taken(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    content = encoded(manager.notification())
    chunks: dict[str, Any] = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}

    assert call(jobs, content, signed(content), **chunks).status == 202
    assert call(jobs, b"x" * 1_100_000, {}, **chunks).status == 413


def test_what_is_no_webhook_is_refused(make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    get = call(jobs, b"", {}, method="GET")
    assert (get.status, get.headers["allow"]) == (405, "POST")
    assert call(jobs, b"", {}).status == 401
    assert call(jobs, b"", {}, CONTENT_LENGTH="").status == 401
    assert call(jobs, b"", {}, CONTENT_LENGTH="many").status == 400
    assert call(jobs, b"", {}, CONTENT_LENGTH="2000000").status == 413
    assert call(jobs, b"{}", {}).json["error"]
    assert call(jobs, b"{}", {}, CONTENT_LENGTH="-1").status == 400
