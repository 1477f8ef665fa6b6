"""Checks the body of a callback as the manager does."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

_FIELDS: Mapping[str, Sequence[str]] = {
    "processing": ("status", "progress", "extend_seconds"),
    "success": ("status", "progress", "summary", "state", "correlation_id"),
    "fail": ("status", "progress", "error", "summary", "correlation_id"),
}
_MAX_BYTES = {"state": 64 * 1024, "summary": 1024, "error": 32 * 1024}
_MAX_CORRELATION_ID_CHARACTERS = 256
_MAX_EXTEND_SECONDS = 43_200


def parse(content: bytes) -> Any:
    """Parses standard JSON in UTF-8; raises ValueError."""
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_with_unique_keys,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeError:
        raise ValueError("it is not UTF-8, or holds half of a surrogate pair") from None
    return value


def errors_of(body: Any, ttl_seconds: int) -> list[str]:
    """Returns what is wrong with the body of a callback, such as ``/progress: expected …``."""
    if not isinstance(body, dict):
        return ["expected a JSON object"]
    status = body.get("status")
    if not isinstance(status, str) or status not in _FIELDS:
        return ["/status: expected processing, success or fail"]
    errors = [
        f"/{name}: unknown field with status {status}; expected one of {', '.join(_FIELDS[status])}"
        for name in body
        if name not in _FIELDS[status]
    ]
    for name, value in body.items():
        if name in _FIELDS[status] and (expected := _expected(name, value, ttl_seconds)):
            errors.append(f"/{name}: expected {expected}")
    return errors


def _expected(name: str, value: Any, ttl_seconds: int) -> str:
    """What was expected of a field; nothing if it is valid."""
    match name:
        case "progress" if not (_is_number(value) and 0 <= value <= 100):
            return "a number from 0 to 100"
        case "extend_seconds":
            most = min(ttl_seconds, _MAX_EXTEND_SECONDS)
            if not (_is_number(value) and value == int(value) and 1 <= value <= most):
                return f"a whole number from 1 to ttl_seconds, {most}"
        case "correlation_id" if not (
            isinstance(value, str) and len(value) <= _MAX_CORRELATION_ID_CHARACTERS
        ):
            return f"a string of at most {_MAX_CORRELATION_ID_CHARACTERS} characters"
        case "error":
            if not isinstance(value, str | dict):
                return "a string or an object"
            return _size_expected(value, _MAX_BYTES[name])
        case "summary" | "state":
            return text_expected(name, value)
    return ""


def text_expected(name: str, value: Any) -> str:
    """What was expected of ``state`` or ``summary``; nothing if it is valid."""
    return _size_expected(value, _MAX_BYTES[name]) if isinstance(value, str) else "a string"


def _size_expected(value: Any, max_bytes: int) -> str:
    """What size was expected of a text, or of an object as JSON; nothing if it is small enough."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text.encode()) > max_bytes:
        return f"at most {max_bytes} bytes of UTF-8"
    if len(json.dumps(text, ensure_ascii=False).encode()) > 2 * max_bytes + len('""'):
        return f"at most {2 * max_bytes} bytes as JSON"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands more than once in an object")
    return found
