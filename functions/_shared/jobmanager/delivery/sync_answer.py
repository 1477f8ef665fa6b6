"""Reads the result of a sync job from its service's answer to the webhook."""

import codecs
import gzip
import io
import json
import re
import zlib
from email.message import Message
from typing import Any

from jobmanager.api.fields import size_error
from jobmanager.core.strict_json import parse
from jobmanager.executions.outcome import MAX_BYTES
from jobmanager.targets.webhook import MAX_ANSWER_BYTES, Answer

_JSON = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json")
_GZIP = b"\x1f\x8b"  # no text begins with this
_MAX_HEADER_CHARACTERS = 256
# No server uses Python's other encodings, and some take time that grows with the square of the text's length.
_CHARSETS = ("big5", "cp125", "euc_", "gb", "iso8859", "koi8", "shift_jis", "utf-16", "utf-32", "utf-8")
# Many servers name one of these charsets for all answers, although they send UTF-8.
_DOUBTFUL_CHARSETS = ("ascii", "cp1252", "iso8859-1")


class AnswerInvalid(Exception):
    """The answer was 2xx, but its result cannot be stored. The message says why."""


def result_of(answer: Answer) -> dict[str, Any]:
    """Returns the ``state`` and ``summary`` of an answer, if it has them; raises AnswerInvalid.

    An answer that is empty or not a JSON object is a success without either. An answer that cannot be read,
    or has them in the wrong form, is not a success. Otherwise the next run would silently continue from an
    older state, or from none. A JSON object is also recognized by its content, because servers often name a
    wrong type.
    """
    if answer.status == 204:
        return {}
    if answer.unread:
        raise _not_read(answer.unread)
    headers = Message()
    headers["content-type"] = _header(answer, "content-type") or "application/octet-stream"
    text = _text(_unpacked(answer), headers).removeprefix("\ufeff").strip(" \t\r\n")
    if not text or not (_JSON.fullmatch(headers.get_content_type()) or text.startswith("{")):
        return {}
    try:
        found = parse(text)
    except ValueError as error:
        raise AnswerInvalid(f"the answer is not JSON: {error}") from None
    return _result_in(found) if isinstance(found, dict) else {}


def _result_in(found: dict[str, Any]) -> dict[str, Any]:
    result = {name: found[name] for name in MAX_BYTES if found.get(name) is not None}
    for name, value in result.items():
        if not isinstance(value, str):
            raise AnswerInvalid(f"{name} in the answer: expected string")
        for too_large in size_error(f"/{name}", value, MAX_BYTES[name]):
            raise AnswerInvalid(f"{name} in the answer: {too_large['detail']}")
    return result


def _unpacked(answer: Answer) -> bytes:
    """Returns the body without its Content-Encoding. Unpacks hardly more than the limit of a body."""
    named = _header(answer, "content-encoding").lower().split(",")
    codings = [coding.strip() for coding in named if coding.strip() not in ("", "identity")]
    if not codings and answer.body.startswith(_GZIP):
        codings = ["gzip"]
    if not (codings and answer.body):
        return answer.body
    if codings not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise _not_read("its Content-Encoding is neither gzip nor deflate")
    try:
        body = _inflated(answer.body) if codings == ["deflate"] else _gunzipped(answer.body)
    except (EOFError, OSError, zlib.error):
        raise _not_read(f"it is not in its Content-Encoding, {codings[0]}") from None
    if len(body) > MAX_ANSWER_BYTES:
        raise _not_read(f"it is larger than {MAX_ANSWER_BYTES} bytes")
    return body


def _gunzipped(body: bytes) -> bytes:
    return gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_ANSWER_BYTES + 1)


def _inflated(body: bytes) -> bytes:
    """Unpacks deflate with zlib's header, as in the standard, or without, as some servers send it."""
    try:
        inflater = zlib.decompressobj()
        inflated = inflater.decompress(body, MAX_ANSWER_BYTES + 1)
    except zlib.error:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = inflater.decompress(body, MAX_ANSWER_BYTES + 1)
    if not inflater.eof and len(inflated) <= MAX_ANSWER_BYTES:
        raise EOFError
    return inflated


def _text(content: bytes, headers: Message) -> str:
    """Decodes by the named charset, or by the encodings of JSON. Plain text is always decoded."""
    named = _charset(headers.get_content_charset(""))
    encodings: list[str] = [json.detect_encoding(content)]
    if named:
        encodings.insert(1 if named in _DOUBTFUL_CHARSETS else 0, named)
    if headers.get_content_maintype() == "text" and not _JSON.fullmatch(headers.get_content_type()):
        encodings += ["cp1252", "iso8859-1"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _not_read("it is neither in UTF-8 nor in a charset that it names and that is known")


def _charset(name: str) -> str | None:
    """Returns Python's name of a charset; None if it is not supported."""
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return known if known == "ascii" or known.startswith(_CHARSETS) else None


def _header(answer: Answer, name: str) -> str:
    return answer.headers.get(name, "")[:_MAX_HEADER_CHARACTERS]


def _not_read(why: str) -> AnswerInvalid:
    return AnswerInvalid(f"the answer was not read: {why}")
