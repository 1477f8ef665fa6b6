"""Values of jobs as text for a terminal: on one line, bounded, and without characters that control it."""

import json
from typing import Any


def printable(text: str) -> str:
    """The text with each character that does not print, or turns the writing, as its escape."""
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def shown(value: Any, limit: int = 60) -> str:
    """A value as JSON of at most ``limit`` characters; a text of letters, digits and the like stays bare."""
    if isinstance(value, str) and value and not set(value) & set("\"'\\→ ") and value.isprintable():
        return shortened(value, limit)
    return shortened(printable(json.dumps(value, ensure_ascii=False)), limit)


def shortened(text: str, limit: int) -> str:
    """The text, with its middle left out if it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}…{text[len(text) - tail :]}"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
