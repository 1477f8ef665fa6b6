"""Makes what services wrote safe to read: no secrets, and nothing that hides or reorders what is beside it.

Markup is another matter: the templates escape everything.
"""

import re
import unicodedata
from collections.abc import Mapping

# As the manager itself takes them out of errors and summaries; payloads and states it passes on unchanged.
_CALLBACK_TOKEN = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{8}T\d{6}Z(?:-[A-Za-z0-9]{1,24})?)"
    r"\.(?:\d{1,2}\.)?[A-Za-z0-9_-]{8,}"
)
_CALLBACK_PATH = re.compile(r"(/callback/)[^\s\"'<>?#]+")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_PASSWORD = re.compile(r"://[^\s/?#@]*@")
_KEPT = "\n\t"
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


def redacted(text: str) -> str:
    """The text without callback tokens, webhook secrets, and users and passwords in URLs."""
    text = _CALLBACK_TOKEN.sub(r"\1.…", text)
    text = _CALLBACK_PATH.sub(r"\1…", text)
    text = _WEBHOOK_SECRET.sub("whsec_…", text)
    return _PASSWORD.sub("://…@", text)


def holds_secret(value: object) -> bool:
    """Whether a text, or one inside this JSON, has something that pages do not show."""
    if isinstance(value, Mapping):
        return any(holds_secret(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return any(map(holds_secret, value))
    return isinstance(value, str) and redacted(value) != value


def visible(text: str) -> str:
    """The text with a sign for each character that is not seen: controls, right-to-left marks, joiners."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_sign(each) for each in text.replace("\r\n", "\n"))


def shown(text: str) -> str:
    """The text as pages show it."""
    return visible(redacted(text))


def _sign(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return "\u2421" if number == 0x7F else f"[U+{number:04X}]"
