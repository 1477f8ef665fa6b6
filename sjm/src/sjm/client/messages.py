"""Requests and answers of HTTP, and how JSON is read from an answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from sjm.client.errors import UnexpectedAnswer


@dataclass(frozen=True)
class Request:
    """One request of the API.

    ``is_repeatable``: to send it twice does what to send it once does. ``may_be_gone``: it deletes something,
    so a second try may find nothing. ``shown``: the path for messages, if the path itself is secret.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    is_signed: bool = True
    is_repeatable: bool = True
    may_be_gone: bool = False
    shown: str = ""

    @property
    def name(self) -> str:
        """The request, for messages."""
        return f"{self.method} {self.shown or self.path}"

    def url(self, api_url: str) -> str:
        """The whole URL. A path that is a URL itself stays as it is."""
        # API Gateway verifies the signature of a query string in which everything is encoded.
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query)
        return f"{api_url if self.path.startswith('/') else ''}{self.path}{'?' if query else ''}{query}"

    def content(self) -> bytes | None:
        """The body as JSON."""
        # Infinity and NaN are no JSON.
        return None if self.body is None else json.dumps(self.body, allow_nan=False).encode()


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The JSON of the answer; None if it is not JSON."""
        if "json" not in self.headers.get("content-type", ""):
            return None
        try:
            return json.loads(self.content)
        except ValueError:
            return None


def path_of(*parts: str) -> str:
    """Joins the parts to a path, each quoted.

    Refuses parts with which the path would lead elsewhere: HTTP clients remove ``.`` and ``..``.
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise ValueError(f"{part!r} is no name. Expected 1 to 64 characters, and neither '.' nor '..'.")
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def json_object(request: Request, answer: Answer) -> dict[str, Any]:
    """The JSON object that an answer holds. Raises UnexpectedAnswer if it holds none."""
    body = answer.json()
    if not isinstance(body, dict):
        raise unexpected(request, answer, "a JSON object")
    return body


def json_page(request: Request, answer: Answer) -> dict[str, Any]:
    """The page of a list that an answer holds. Raises UnexpectedAnswer if it holds none."""
    body = json_object(request, answer)
    results, paging = body.get("results"), body.get("paging")
    is_page = isinstance(results, list) and isinstance(paging, dict)
    if not is_page or not isinstance(body["paging"].get("more", ""), str):
        raise unexpected(request, answer, "a page with results and paging")
    return body


def unexpected(request: Request, answer: Answer, expected: str) -> UnexpectedAnswer:
    """The error for an answer that the API does not give."""
    kind = answer.headers.get("content-type", "without a content type")
    return UnexpectedAnswer(
        f"{request.name} was answered with {answer.status}, {kind}, {len(answer.content)} bytes. Expected"
        f" {expected}. Check that the address is that of a manager's API.",
        answer.status,
        answer.content,
    )
