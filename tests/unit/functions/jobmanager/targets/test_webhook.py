"""What counts as the answer to a webhook, also if it is not clean HTTP."""

import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate

import pytest

from jobmanager.delivery.sync_answer import result_of
from jobmanager.targets import webhook
from jobmanager.targets.webhook import Answer, AnswerTimedOut, NoAnswer, post
from tests.unit.functions.target import Wire

OK = b"HTTP/1.1 200 OK\r\n"
CONTENT = b'{"state": "cursor-42"}'
WHOLE = OK + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
SHORT = 0.5
"""A short time limit in seconds, for answers that are cut off."""


def ask(wire: Wire, within_seconds: float = 60, wants_body: bool = False) -> Answer:
    return post(wire.url, b'{"payload": "x"}', {"webhook-id": "1"}, within_seconds, wants_body)


def ask_until_cut_off(wire: Wire, wants_body: bool = False) -> Answer:
    """Asks for an answer that takes all the time it gets, with more time if its beginning came too late."""
    for within_seconds in (SHORT, 5):
        with suppress(NoAnswer):
            return ask(wire, within_seconds, wants_body)
    return ask(wire, wants_body=wants_body)


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
    "199": b"HTTP/1.1 199 Own\r\n\r\n",
    "103 with malformed headers": b"HTTP/1.1 103 Early Hints\r\nthis is: fine\r\nthis is not\r\n\r\n",
    "several": b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
}


@pytest.mark.parametrize("pause", [0.0, 0.1])
@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
def test_an_interim_answer_is_not_the_answer(interim: bytes, pause: float) -> None:
    with Wire([interim, pause, WHOLE]) as wire:
        answer = ask(wire, wants_body=True)
    assert (answer.status, result_of(answer)) == (200, {"state": "cursor-42"})
    with Wire([interim, pause, b"HTTP/1.1 404 Not Found\r\n\r\n"]) as wire:
        assert ask(wire).status == 404


def test_an_interim_answer_alone_is_no_answer() -> None:
    with Wire([INTERIM["103"]]) as wire, pytest.raises(NoAnswer, match="before it answered"):
        ask(wire)
    with (
        Wire([INTERIM["103"]], ends="never") as wire,
        pytest.raises(AnswerTimedOut, match=r"within 0\.5 seconds"),
    ):
        ask(wire, SHORT)


def test_switching_protocols_is_an_answer() -> None:
    """It is neither a success nor retried, because no HTTP follows a 101."""
    with Wire([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00"]) as wire:
        assert ask(wire).status == 101


BROKEN = {
    "nothing": b"",
    "a beginning": b"HTT",
    "without a status": b"HTTP/1.1 ",
    "half a status": b"HTTP/1.1 20",
    "without an end": b"HTTP/1.1 200",
    "with a phrase and without an end": b"HTTP/1.1 200 OK",
    "half of its end": b"HTTP/1.1 200 OK\r",
}


@pytest.mark.parametrize("ends", ["close", "reset"])
@pytest.mark.parametrize("says", BROKEN.values(), ids=BROKEN)
def test_a_status_line_that_breaks_off_is_no_answer(says: bytes, ends: str) -> None:
    with Wire([says], "reset" if ends == "reset" else "close") as wire:
        with pytest.raises(NoAnswer, match="closed the connection before it answered") as silence:
            ask(wire)
        assert not isinstance(silence.value, AnswerTimedOut)


NOT_HTTP = {
    "TLS": b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    "another protocol": b"220 mail.example ESMTP\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "an empty line": b"\r\n\r\n",
    "a page": b"<html>\n<body>200 OK</body>\n</html>\n",
    "an endless line": b"HTTP/1.1 200 " + b"x" * 500_000,
}


@pytest.mark.parametrize("says", NOT_HTTP.values(), ids=NOT_HTTP)
def test_an_answer_that_is_not_http_is_no_answer_and_is_not_quoted(says: bytes) -> None:
    with Wire([says], "never") as wire, pytest.raises(NoAnswer) as unreached:
        ask(wire)
    assert str(unreached.value) == "the target was not reached: what it answered is not HTTP/1.1"


# Bytes after a status line, and whether a body after them is still read.
AFTER_A_STATUS_LINE: dict[str, tuple[bytes, bool]] = {
    "150 header lines": (b"".join(b"X-Line-%d: y\r\n" % number for number in range(150)), True),
    "a header line of 70 KB": (b"Set-Cookie: a=" + b"x" * 70_000 + b"\r\n", True),
    "a header line without a colon": (b"this is no header\r\n", False),
    "a header name with a blank": (b"Not A Name: x\r\n", False),
    "a header line with only a colon": (b": x\r\n", False),
    "a null in a header": (b"X-Null: a\x00b\r\n", False),
    "two lengths": (b"Content-Length: 3\r\nContent-Length: 4\r\n", False),
    "a length that is not a number": (b"Content-Length: many\r\n", False),
    "two encodings": (b"Transfer-Encoding: gzip, chunked\r\n", False),
    "300 KB of headers": (b"X-Line: yyyyyyyyyyyyyyyyyyy\r\n" * 10_000, False),
}


@pytest.mark.parametrize("status", [202, 404, 503])
@pytest.mark.parametrize(("head", "is_read"), AFTER_A_STATUS_LINE.values(), ids=AFTER_A_STATUS_LINE)
def test_after_a_status_line_the_answer_counts_whatever_its_headers(
    head: bytes, is_read: bool, status: int
) -> None:
    with Wire([b"HTTP/1.1 %d Whatever\r\n" % status, head, b"\r\n"]) as wire:
        assert ask(wire).status == status
    with Wire([WHOLE.replace(OK, OK + head)]) as wire:
        answer = ask(wire, wants_body=True)
    assert answer.status == 200
    if is_read:
        assert result_of(answer) == {"state": "cursor-42"}
    else:
        assert answer.unread


@pytest.mark.parametrize("ends", ["close", "reset", "never"])
@pytest.mark.parametrize("head", [b"", b"X-One: 1\r\n", b"X-One: 1\r\nX-Tw"])
@pytest.mark.parametrize("status", [202, 404, 503])
def test_after_a_status_line_the_answer_counts_even_if_nothing_follows(
    status: int, head: bytes, ends: str
) -> None:
    with Wire([b"HTTP/1.1 %d Whatever\r\n" % status + head]) as wire:
        wire.ends = ends  # type: ignore[assignment]
        answer = ask_until_cut_off(wire) if ends == "never" else ask(wire)
    assert answer.status == status


def test_endless_headers_are_cut_off_and_the_answer_counts() -> None:
    drops: list[bytes | float] = [b"X-Line: y\r\n", 0.1]
    with Wire([OK, *drops * 5000]) as wire:
        began = time.monotonic()
        assert ask_until_cut_off(wire).status == 200
        assert time.monotonic() - began < 250


def test_a_status_line_that_arrives_byte_by_byte_is_cut_off() -> None:
    with Wire([part for byte in OK for part in (bytes([byte]), 4.0)]) as wire:
        began = time.monotonic()
        with pytest.raises(AnswerTimedOut, match=r"did not answer within 0\.5 seconds"):
            ask(wire, SHORT)
        assert time.monotonic() - began < 4 * len(OK) / 2


def test_endless_interim_answers_are_not_read_forever() -> None:
    with Wire([INTERIM["103"] * 100_000]) as wire, pytest.raises(NoAnswer, match="is not HTTP"):
        ask(wire)


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t"])
def test_many_blanks_in_a_header_are_parsed_quickly(blank: bytes) -> None:
    """h11's patterns take time that grows with the square of a run of blanks, if no match follows."""
    line = b"X-Blank:" + blank * (100_000 // len(blank)) + b"\x00\r\n\r\n"
    with Wire([OK, line]) as wire:
        began = time.process_time()
        answer = ask(wire, wants_body=True)
        assert time.process_time() - began < 5
    assert answer.status == 200
    assert answer.unread


def test_an_answer_counts_even_if_the_request_was_not_read() -> None:
    """A firewall may refuse a request after its headers, and close the connection."""
    with Wire([b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]) as wire:
        wire.reads = False
        answer = post(wire.url, b"x" * 3_000_000, {}, 60)
    assert answer.status == 403


def chunked(content: bytes, size: int = 7) -> bytes:
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


FRAMED = {
    "by length": b"Content-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT),
    "by the connection's end": b"\r\n" + CONTENT,
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n" + chunked(CONTENT),
    "in chunks, with a trailer": b"Transfer-Encoding: chunked\r\n\r\n"
    + chunked(CONTENT)[:-2]
    + b"X: y\r\n\r\n",
    "with more than its length": b"Content-Length: %d\r\n\r\n%b and more" % (len(CONTENT), CONTENT),
}


@pytest.mark.parametrize("framed", FRAMED.values(), ids=FRAMED)
def test_a_body_is_read_with_each_framing(framed: bytes) -> None:
    with Wire([OK + b"Content-Type: application/json\r\n" + framed]) as wire:
        assert result_of(ask(wire, wants_body=True)) == {"state": "cursor-42"}


@pytest.mark.parametrize(
    ("framed", "ends", "why"),
    [
        (b"Content-Length: 900\r\n\r\n" + CONTENT, "close", "it broke off before its end"),
        (b"Content-Length: 900\r\n\r\n" + CONTENT, "reset", "it broke off before its end"),
        (b"Content-Length: 900\r\n\r\n" + CONTENT, "never", "it had not ended in time"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", "close", "it broke off before its end"),
        (b"Transfer-Encoding: chunked\r\n\r\nfive\r\n{}", "close", "its chunks are not as HTTP/1.1 has them"),
        (b"Content-Length: 600000\r\n\r\n" + b" " * 600_000, "close", "it is larger than 524288 bytes"),
    ],
)
def test_a_body_that_is_not_read_has_a_reason(framed: bytes, ends: str, why: str) -> None:
    with Wire([OK + b"Content-Type: application/json\r\n" + framed]) as wire:
        wire.ends = ends  # type: ignore[assignment]
        asked = ask_until_cut_off if ends == "never" else ask
        answer = asked(wire, wants_body=True)
    assert (answer.status, answer.body, answer.unread) == (200, b"", why)


@pytest.mark.parametrize("status", [204, 404, 503])
def test_a_body_that_is_not_needed_is_not_waited_for(status: int) -> None:
    with Wire([b"HTTP/1.1 %d Whatever\r\nContent-Length: 900\r\n\r\n" % status], "never") as wire:
        began = time.monotonic()
        assert ask(wire, 80, wants_body=True).status == status
        assert time.monotonic() - began < 40


def test_a_webhook_names_the_content_types_that_it_accepts() -> None:
    with Wire([OK, b"\r\n"]) as wire:
        ask(wire)
        (request,) = wire.requests
    lines = request.split(b"\r\n")
    assert lines[0] == b"POST /jobs HTTP/1.1"
    assert lines[1] == b"Host: 127.0.0.1:%d" % wire.port
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:-2])}
    assert headers == {
        b"host": b"127.0.0.1:%d" % wire.port,
        b"accept": b"application/json, */*;q=0.1",
        b"accept-encoding": b"identity",
        b"connection": b"close",
        b"content-length": b"16",
        b"content-type": b"application/json",
        b"user-agent": b"serverless-job-manager",
        b"webhook-id": b"1",
    }


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    now = 1_795_435_200.0
    monkeypatch.setattr(webhook, "time", lambda: now)
    yield now


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"30", 30),
        (b" 0", 0),
        (b"99999999", 99_999_999),
        (b"Mon, 23 Nov 2026 12:01:30 GMT", 90),
        (b"Monday, 23-Nov-26 12:01:30 GMT", 90),
        (b"Mon Nov 23 12:01:30 2026", 90),
        (b"Mon, 23 Nov 2026 11:00:00 GMT", 0),
        (b"-5", 0),
        (b"1.5", 0),
        (b"soon", 0),
        (b"", 0),
        (b"9" * 5000, 0),
        (b"Mon, 99 Nov 99999999 12:01:30 GMT", 0),
        (b"Mon, 23 Nov 2026 12:01:30", 90),
        (b"x" * 100_000, 0),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(header: bytes, seconds: float, noon: float) -> None:
    with Wire([b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\n\r\n" % header]) as wire:
        assert ask(wire).retry_after_seconds == seconds


def test_retry_after_as_a_date_an_hour_ahead_is_an_hour() -> None:
    in_an_hour = formatdate(time.time() + 3600, usegmt=True).encode()
    with Wire([b"HTTP/1.1 429 Slow Down\r\nretry-after: %b\r\n\r\n" % in_an_hour]) as wire:
        assert 3000 < ask(wire).retry_after_seconds <= 3600
