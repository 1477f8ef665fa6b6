"""Takes secrets out of the texts of services before others read them."""

import re

_TOKEN = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{8}T\d{6}Z(?:-[A-Za-z0-9]{1,24})?)"
    r"\.(?:\d{1,2}\.)?[A-Za-z0-9_-]{8,}"
)
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_PASSWORD = re.compile(r"://[^\s/?#@]*@")


def redacted(text: str) -> str:
    """Returns a text without callback tokens, webhook secrets, and users and passwords in URLs.

    An HTTP client's error often holds the URL that failed, for instance the ``callback_url``.
    """
    text = _TOKEN.sub(r"\1.…", text)
    text = _WEBHOOK_SECRET.sub("whsec_…", text)
    return _PASSWORD.sub("://…@", text)
