"""Lists in pages: how many a page holds, and the opaque ``more`` with which the next one is asked for."""

import base64
import binascii
import json
import re
from typing import Any

from jobmanager.fields import bad_field

DEFAULT_LIMIT = 50
MOST = 100


def page(results: list[dict[str, Any]], more: str | None) -> dict[str, Any]:
    """``{"results": […], "paging": {"more": …}}``; ``more`` is absent on the last page."""
    return {"results": results, "paging": {"more": more} if more else {}}


def encode_more(position: dict[str, Any]) -> str:
    """Where the next page begins, as an opaque string."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_more(more: str) -> dict[str, Any]:
    """The inverse of :func:`encode_more`; raises BadRequest."""
    try:
        position = json.loads(base64.b64decode(more + "=" * (-len(more) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        position = None
    if not isinstance(position, dict):
        raise bad_field("more", "expected the value of paging.more of the page before")
    return position


def limit(value: Any) -> int:
    """How many results a page shall hold: 1 to 100, by default 50. Raises BadRequest."""
    return how_many("limit", value, DEFAULT_LIMIT)


def how_many(name: str, value: Any, default: int) -> int:
    """A field that says how many of something are wanted: 1 to 100. Raises BadRequest."""
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MOST:
        raise bad_field(name, f"expected a whole number from 1 to {MOST}")
    return int(text)


def from_query_string(query: dict[str, str], lists: tuple[str, ...]) -> dict[str, Any]:
    """A search out of a query string, in which API Gateway joins the values of a repeated name by commas."""
    return {name: value.split(",") if name in lists else value for name, value in query.items()}
