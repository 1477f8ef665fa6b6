"""A browser without JavaScript: it reads pages and sends their forms."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

from sjm.console.access import Access
from sjm.console.guard import FORM_KEY
from tests.unit.sjm.console.console_server import console
from tests.unit.sjm.console.stage_server import StageServer

type Fields = Sequence[tuple[str, str]]


class FormReader(HTMLParser):
    """The first form of a page that has this action, as a browser would send it."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self._action = action
        self._is_inside = False
        self._textarea: str | None = None
        self._select: str | None = None
        self.fields: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._is_inside = given.get("method") == "post" and given["action"] == self._action
        name = given.get("name")
        if tag == "option" and self._is_inside and self._select and "selected" in given:
            self.fields.append((self._select, given["value"]))
        if not self._is_inside or not name:
            return
        kind = given.get("type", "text")
        if tag == "input" and (kind not in ("checkbox", "radio") or "checked" in given):
            self.fields.append((name, given.get("value", "on")))
        elif tag == "textarea":
            self._textarea = name
            self.fields.append((name, ""))
        elif tag == "select":
            self._select = name

    def handle_data(self, data: str) -> None:
        if self._textarea:
            name, before = self.fields[-1]
            self.fields[-1] = (name, before + data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._textarea:
            name, text = self.fields[-1]
            # The first line break is not part of the text.
            self.fields[-1] = (name, text.removeprefix("\n").replace("\n", "\r\n"))
            self._textarea = None
        elif tag == "form":
            self._is_inside = False
        elif tag == "select":
            self._select = None


@dataclass(frozen=True)
class Answer:
    """A page, or what refused it. ``path`` is where redirects have led."""

    status: int
    path: str
    text: str
    headers: Mapping[str, str]


class Visitor:
    """Whoever opened the console."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.cookie = f"{access.cookie_name}={access.session_key}"

    def get(self, target: str, **headers: str) -> Answer:
        """GET of a page."""
        return self._send("GET", target, None, headers)

    def part(self, target: str) -> str:
        """The content of a page alone, as htmx asks for it."""
        return self.get(target, **{"hx-request": "true"}).text

    def post(self, target: str, fields: Fields) -> Answer:
        """POST of a form, with its key."""
        body = urlencode([*fields, (FORM_KEY, self.access.form_key)])
        return self._send("POST", target, body, {"content-type": "application/x-www-form-urlencoded"})

    def submit(self, page: Answer, changes: Mapping[str, str | None]) -> Answer:
        """Sends the page's form with changes; None leaves a field out, as an unchecked box."""
        reader = FormReader(page.path)
        reader.feed(page.text)
        assert reader.fields, f"there is no form on {page.path}: {text_of(page.text)}"
        kept = [(name, value) for name, value in reader.fields if name not in changes and name != FORM_KEY]
        return self.post(
            page.path, [*kept, *((name, each) for name, each in changes.items() if each is not None)]
        )

    def _send(self, method: str, target: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        """Sends a request as a browser does, and follows the redirect of an act."""
        connection = HTTPConnection("127.0.0.1", self.access.port, timeout=60)
        own = {"cookie": self.cookie, "sec-fetch-site": "same-origin", "origin": self.access.origin}
        with closing(connection):
            connection.request(method, target, body, {**own, **headers})
            response = connection.getresponse()
            content = response.read().decode()
        if response.status == 303:
            return self.get(response.headers["location"])
        path = urlsplit(target).path
        return Answer(response.status, path, content, {k.lower(): v for k, v in response.headers.items()})


@contextmanager
def visiting(
    server: StageServer, *, frame_after_seconds: float = 600, patience_seconds: float = 600
) -> Iterator[Visitor]:
    """The console of a stage, opened. Pages are ready and whole before they are sent."""
    with (
        server.manager() as manager,
        console(
            manager, frame_after_seconds=frame_after_seconds, patience_seconds=patience_seconds
        ) as access,
    ):
        yield Visitor(access)


def text_of(page: str) -> str:
    """The text of a page, with single spaces."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page))).strip()


def http_statuses_in(page: str) -> list[str]:
    """The HTTP statuses of errors that a page shows. IDs, times and durations may contain the same digits."""
    return re.findall(r"(?<![\w.:-])[45]\d\d(?![\w:-]|\.\d| m?s\b)", text_of(page))
