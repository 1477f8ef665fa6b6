"""Checks the answer of a sync job's service, from which the manager reads the result."""

import gzip
import re
import zlib

from sjm.rehearsal.callback_body import parse, text_expected
from sjm.rehearsal.webhook import Answer

_JSON = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json")


def error_of(answer: Answer) -> str:
    """Returns why the manager could not read a 2xx answer; nothing if it can, or if the status is another.

    The manager knows more charsets than this, which reads UTF-8 only.
    """
    if not 200 <= answer.status < 300 or answer.status == 204:
        return ""
    if answer.unread:
        return answer.unread
    try:
        text = _unpacked(answer).decode("utf-8-sig").strip(" \t\r\n")
    except (OSError, EOFError, zlib.error):
        return "it is not in its Content-Encoding"
    except UnicodeDecodeError:
        return "it is not in UTF-8"
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not text or not (_JSON.fullmatch(kind) or text.startswith("{")):
        return ""
    try:
        found = parse(text.encode())
    except ValueError as error:
        return f"it is not JSON: {error}"
    return _error_in(found) if isinstance(found, dict) else ""


def _error_in(found: dict[str, object]) -> str:
    for name in ("state", "summary"):
        value = found.get(name)
        if value is not None and (expected := text_expected(name, value)):
            return f"{name}: expected {expected}"
    return ""


def _unpacked(answer: Answer) -> bytes:
    match answer.headers.get("content-encoding", "").strip().lower():
        case "gzip" | "x-gzip":
            return gzip.decompress(answer.body)
        case "deflate":
            return zlib.decompress(answer.body)
        case _:
            return answer.body
