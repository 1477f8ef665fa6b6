"""The answer of a sync job is read in many forms. An answer that cannot be read fails with the reason."""

import gzip
import json
import time
import tracemalloc
import zlib

import pytest

from jobmanager.delivery.sync_answer import AnswerInvalid, result_of
from jobmanager.targets.webhook import Answer

RESULT = {"state": "cursor-42 \u00fc", "summary": "done"}
TEXT = json.dumps(RESULT, ensure_ascii=False)
PLAIN = TEXT.encode()


def answer(
    content: bytes,
    content_type: str | None = "application/json",
    encoding: str | None = None,
    status: int = 200,
) -> Answer:
    headers = {"content-type": content_type, "content-encoding": encoding}
    return Answer(status, {name: value for name, value in headers.items() if value is not None}, content)


JSON_TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    'application/json;charset="UTF-8"',
    "APPLICATION/JSON",
    "text/json",
    "application/vnd.billing.v2+json",
    "application/problem+json; charset=utf-8",
]
OTHER_TYPES = [
    "text/html",
    "text/html; charset=utf-8",
    "text/plain",
    "application/octet-stream",
    "json",
    "",
    None,
]


@pytest.mark.parametrize("content_type", [*JSON_TYPES, *OTHER_TYPES])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n\t", b"\xef\xbb\xbf\n"])
def test_a_json_object_is_read_under_any_content_type(content_type: str | None, before: bytes) -> None:
    assert result_of(answer(before + PLAIN, content_type)) == RESULT


ENCODED = {
    "utf-8 with another charset": (TEXT.encode(), "application/json; charset=ISO-8859-1"),
    "utf-8 with ascii as its charset": (TEXT.encode(), "application/json; charset=us-ascii"),
    "utf-8 with an unknown charset": (TEXT.encode(), "application/json; charset=utf8mb4"),
    "latin-1": (TEXT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
    "latin-1 of a page": (TEXT.encode("latin-1"), "text/html"),
    "windows-1252 of a page": (TEXT.replace("done", "done \u2026").encode("cp1252"), "text/html"),
    "windows-1252": (TEXT.encode("cp1252"), "text/json; charset=windows-1252"),
    "utf-16 with a mark": (TEXT.encode("utf-16"), "application/json"),
    "utf-16 without": (TEXT.encode("utf-16-le"), "application/json"),
    "utf-16 with its charset": (TEXT.encode("utf-16-be"), "application/json; charset=utf-16be"),
    "utf-16 with its charset and a mark": (
        ("\ufeff" + TEXT).encode("utf-16-be"),
        "text/json; charset=utf-16be",
    ),
    "utf-32": (TEXT.encode("utf-32"), "application/json"),
}


@pytest.mark.parametrize(("content", "content_type"), ENCODED.values(), ids=ENCODED)
def test_an_answer_in_another_charset_is_read(content: bytes, content_type: str) -> None:
    found = result_of(answer(content, content_type))
    assert {**found, "summary": found["summary"].removesuffix(" \u2026")} == RESULT


@pytest.mark.parametrize("charset", ["gbk", "Shift_JIS", "EUC-KR", "big5", "koi8-r"])
def test_a_named_charset_takes_precedence_over_a_guess(charset: str) -> None:
    """Some texts in these charsets are also valid UTF-8, with another meaning."""
    texts = {"koi8-r": "\u0433\u0434\u0435", "EUC-KR": "\ud55c\uad6d"}
    state = texts.get(charset, "\u65e5\u672c")
    content = f'{{"state": "{state}"}}'.encode(charset)
    assert result_of(answer(content, f"application/json; charset={charset}")) == {"state": state}


PACKED = {
    "gzip": gzip.compress(PLAIN),
    "GZip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN),
    "identity, gzip": gzip.compress(PLAIN),
    "gzip ": gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:]),
    "deflate": zlib.compress(PLAIN),
    "Deflate": zlib.compress(PLAIN)[2:-4],
    "identity": PLAIN,
    "": PLAIN,
}


@pytest.mark.parametrize(("encoding", "content"), PACKED.items(), ids=PACKED)
def test_a_compressed_answer_is_unpacked(encoding: str, content: bytes) -> None:
    assert result_of(answer(content, encoding=encoding)) == RESULT


BOMB = b'{"state": "' + b" " * 60_000_000 + b'"}'


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_decompression_bomb_is_not_unpacked(encoding: str) -> None:
    packed = gzip.compress(BOMB) if encoding == "gzip" else zlib.compress(BOMB)
    assert len(packed) < 524_288
    tracemalloc.start()
    try:
        with pytest.raises(AnswerInvalid, match="was not read: it is larger than 524288 bytes"):
            result_of(answer(packed, encoding=encoding))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content_type", [*JSON_TYPES, *OTHER_TYPES])
def test_a_compressed_answer_without_content_encoding_is_unpacked(content_type: str | None) -> None:
    assert result_of(answer(gzip.compress(PLAIN), content_type)) == RESULT


UNREAD = {
    "broken off": (Answer(200, unread="it broke off before its end"), "it broke off before its end"),
    "brotli": (answer(PLAIN, encoding="br"), "its Content-Encoding is neither gzip nor deflate"),
    "twice": (answer(PLAIN, encoding="gzip, gzip"), "its Content-Encoding is neither gzip nor deflate"),
    "brotli of a page": (answer(b"x", "text/html", "br"), "its Content-Encoding is neither gzip nor deflate"),
    "no gzip": (answer(PLAIN, encoding="gzip"), "it is not in its Content-Encoding, gzip"),
    "half of a gzip": (
        answer(gzip.compress(PLAIN)[:-9], encoding="gzip"),
        "it is not in its Content-Encoding, gzip",
    ),
    "a gzip and more": (
        answer(gzip.compress(PLAIN) + b"x", encoding="gzip"),
        "it is not in its Content-Encoding, gzip",
    ),
    "no deflate": (answer(PLAIN, encoding="deflate"), "it is not in its Content-Encoding, deflate"),
    "half": (
        answer(zlib.compress(PLAIN)[:-5], encoding="deflate"),
        "it is not in its Content-Encoding, deflate",
    ),
    "EBCDIC": (answer(TEXT.encode("cp037"), "application/json; charset=cp037"), "it is neither in UTF-8"),
    "latin-1 without its charset": (
        answer(TEXT.encode("latin-1")),
        "it is neither in UTF-8 nor in a charset",
    ),
}


@pytest.mark.parametrize(("found", "why"), UNREAD.values(), ids=UNREAD)
def test_an_answer_that_cannot_be_read_is_invalid(found: Answer, why: str) -> None:
    with pytest.raises(AnswerInvalid) as invalid:
        result_of(found)
    assert str(invalid.value).startswith(f"the answer was not read: {why}")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"<p>done", "application/json"),
        (b'{"state": "a"', "text/plain"),
        (b'{"state": "\\ud800"}', None),
        (b'{"state": NaN}', "text/html"),
    ],
)
def test_an_answer_that_looks_like_json_but_is_not_is_invalid(
    content: bytes, content_type: str | None
) -> None:
    with pytest.raises(AnswerInvalid, match="the answer is not JSON"):
        result_of(answer(content, content_type))


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/json"),
        (b" \n", "application/json"),
        (b"\xef\xbb\xbf", "application/json"),
        (b"[1]", "application/json"),
        (b'"done"', "application/json"),
        (b"null", "application/json"),
        (b"<p>done", "text/html"),
        (b"fertig f\xfcr heute", "text/plain"),
        (b"done", None),
        (b"OK", "text"),
    ],
)
def test_an_answer_without_an_object_is_a_success_without_a_state(
    content: bytes, content_type: str | None
) -> None:
    assert result_of(answer(content, content_type)) == {}


def test_an_answer_whose_status_has_no_body_is_a_success() -> None:
    assert result_of(Answer(204, unread="its headers are not as HTTP/1.1 has them")) == {}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json" + ";" * 100_000,
        "application/json; charset=" + "x" * 100_000,
        "text/" + '"' * 100_000,
    ],
)
def test_a_long_header_is_parsed_quickly(content_type: str) -> None:
    began = time.process_time()
    assert result_of(answer(PLAIN, content_type)) == RESULT
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "unicode_escape", "rot13", "hex", "zip", "undefined"]
)
def test_encodings_that_only_python_has_are_not_charsets(charset: str) -> None:
    """Some of them take time that grows with the square of the text's length."""
    content = b'{"state": "\\xff\xff' + b"a" * 200_000
    began = time.process_time()
    with pytest.raises(AnswerInvalid, match="neither in UTF-8"):
        result_of(answer(content, f"application/json; charset={charset}"))
    assert time.process_time() - began < 1
