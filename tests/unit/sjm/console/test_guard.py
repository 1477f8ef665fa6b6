"""Who is let in: every route refuses another Host, no cookie, other pages, and forms without the key."""

import gzip
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest
from starlette.routing import Route

from sjm.console import assets
from sjm.console.access import Access
from sjm.console.app import create_app
from sjm.console.guard import FORM_KEY, MAX_FORM_BYTES
from tests.unit.sjm.console.console_server import console
from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage

FORM = "application/x-www-form-urlencoded"
# Two searches of the API are POSTs, and change nothing.
SEARCHES = ("/jobs", "/executions")


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: {"execution": "e-1"}.get(match[1], "a"), path)


def routes_of(server: StageServer, method: str) -> list[str]:
    app = create_app(server.manager(), "test", Access(1))
    found = [route for route in app.routes if isinstance(route, Route) and method in (route.methods or ())]
    return sorted(filled(route.path) for route in found)


@pytest.fixture(scope="module")
def server() -> Iterator[StageServer]:
    with served(Stage()) as server:
        yield server


@pytest.fixture(scope="module")
def access(server: StageServer) -> Iterator[Access]:
    with server.manager() as manager, console(manager) as access:
        yield access


def send(
    access: Access, method: str, target: str, headers: Mapping[str, str | None], body: str | None = None
) -> HTTPResponse:
    """Sends a request that would be let in, but for these headers; None leaves one out."""
    return exchange(access, method, target, headers, body)[0]


def exchange(
    access: Access, method: str, target: str, headers: Mapping[str, str | None], body: str | None = None
) -> tuple[HTTPResponse, bytes]:
    """Sends such a request. Returns the answer and its content."""
    own: dict[str, str | None] = {
        "host": f"127.0.0.1:{access.port}",
        "cookie": f"{access.cookie_name}={access.session_key}",
        "origin": access.origin,
        "sec-fetch-site": "same-origin",
        "content-type": FORM,
    }
    connection = HTTPConnection("127.0.0.1", access.port, timeout=60)
    with closing(connection):
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (own | dict(headers)).items():
            if value is not None:
                connection.putheader(name, value)
        content = (body or "").encode()
        connection.putheader("content-length", str(len(content)))
        connection.endheaders(content)
        response = connection.getresponse()
        return response, response.read()


REFUSED: dict[str, tuple[dict[str, str | None], int]] = {
    "another host": ({"host": "evil.example"}, 421),
    "another port": ({"host": "127.0.0.1:1"}, 421),
    "a name for loopback": ({"host": "evil.localhost"}, 421),
    "no cookie": ({"cookie": None}, 401),
    "another cookie": ({"cookie": "sjm-console-1=x"}, 401),
    "a page of another site": ({"sec-fetch-site": "cross-site"}, 403),
    "a page of another port": ({"sec-fetch-site": "same-site"}, 403),
}
REFUSED_ACTS: dict[str, tuple[dict[str, str | None], int]] = {
    "another origin": ({"origin": "https://evil.example", "sec-fetch-site": None}, 403),
    "another port's origin": ({"origin": "http://127.0.0.1:1"}, 403),
    "an origin that is hidden": ({"origin": "null", "sec-fetch-site": None}, 403),
    "nothing that says where it is from": ({"origin": None, "sec-fetch-site": None}, 403),
    "JSON": ({"content-type": "application/json"}, 415),
    "several parts": ({"content-type": "multipart/form-data; boundary=x"}, 415),
    "plain text": ({"content-type": "text/plain"}, 415),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_route_refuses(server: StageServer, access: Access, method: str, case: str) -> None:
    headers, status = REFUSED[case]
    body = urlencode({FORM_KEY: access.form_key}) if method == "POST" else None

    answers = {
        target: send(access, method, target, headers, body).status
        for target in [*routes_of(server, method), "/static/console.css", "/nothing"]
    }

    assert set(answers.values()) == {status}, answers
    assert server.stage.received == []


@pytest.mark.parametrize("case", REFUSED_ACTS)
def test_every_act_refuses(server: StageServer, access: Access, case: str) -> None:
    headers, status = REFUSED_ACTS[case]
    body = urlencode({FORM_KEY: access.form_key})

    answers = {each: send(access, "POST", each, headers, body).status for each in routes_of(server, "POST")}

    assert len(answers) > 8
    assert set(answers.values()) == {status}, answers
    assert server.stage.received == []


@pytest.mark.parametrize(
    "body", ["", f"{FORM_KEY}=", f"{FORM_KEY}=wrong", f"{FORM_KEY}=%C3%BC", "form_key=1&x=2"]
)
def test_every_act_needs_the_key_of_its_page(server: StageServer, access: Access, body: str) -> None:
    answers = {each: send(access, "POST", each, {}, body).status for each in routes_of(server, "POST")}

    assert set(answers.values()) == {403}, answers
    assert server.stage.received == []


@pytest.mark.parametrize(
    ("body", "status"),
    [("x=" + "y" * MAX_FORM_BYTES, 413), ("x=%ff", 400), ("ü=1", 400), ("&".join(["a=b"] * 1001), 400)],
)
def test_a_form_that_is_none_is_refused(access: Access, body: str, status: int) -> None:
    assert send(access, "POST", "/jobs/a/a/run", {}, body).status == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(access: Access, method: str) -> None:
    assert send(access, method, "/", {}).status == 405


def test_what_only_looks_changes_nothing(access: Access, server: StageServer) -> None:
    before = len(server.stage.received)
    for target in routes_of(server, "GET"):
        assert send(access, "GET", f"{target}?confirmed=1&{FORM_KEY}={access.form_key}", {}).status < 500

    sent = server.stage.received[before:]
    assert sent
    assert {method for method, _ in sent} <= {"GET", "POST"}
    assert {path.partition("?")[0] for method, path in sent if method == "POST"} <= set(SEARCHES)


def test_the_printed_url_opens_the_console_once(server: StageServer) -> None:
    with server.manager() as manager, console(manager) as access:
        target = access.url.removeprefix(access.origin)
        stranger = {"cookie": None, "sec-fetch-site": "none", "origin": None}

        assert send(access, "GET", "/?key=wrong", stranger).status == 401
        assert send(access, "HEAD", target, stranger).status == 401
        opened = send(access, "GET", target, stranger)
        again, used = exchange(access, "GET", target, stranger)
        _, without = exchange(access, "GET", "/jobs", stranger)

    assert (opened.status, again.status) == (303, 401)
    assert b"This link does not open the console" in used
    assert b"You are not signed in" in without
    assert opened.headers["location"] == "/"
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith(f"sjm-console-{access.port}={access.session_key};")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}


def test_the_printed_url_leads_nowhere_else(server: StageServer) -> None:
    with server.manager() as manager, console(manager) as access:
        stranger = {"cookie": None, "sec-fetch-site": "none", "origin": None}
        opened = send(access, "GET", f"//evil.example/?key={access.entry_key}&a=b", stranger)

    assert opened.headers["location"] == "/?a=b"


def test_a_form_without_a_referrer_may_act(access: Access) -> None:
    body = urlencode({FORM_KEY: access.form_key})

    assert send(access, "POST", "/jobs/a/a/resume", {"origin": "null"}, body).status == 404


@pytest.mark.parametrize("target", ["/jobs", "/nothing", "/static/console.css", "/static/nothing.css"])
def test_every_answer_is_kept_safe_by_the_browser(access: Access, target: str) -> None:
    headers = send(access, "GET", target, {}).headers

    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"} <= set(
        policy.split("; ")
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    kept = "immutable" if target == "/static/console.css" else "no-store"
    assert kept in headers["cache-control"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("name", ["console.css", "console.js", "icon.svg"])
def test_a_file_is_sent_as_it_is_or_compressed(access: Access, name: str) -> None:
    content = (Path(assets.__file__).parent / "static" / name).read_bytes()
    plain, sent = exchange(access, "GET", f"/static/{name}", {})
    packed, compressed = exchange(access, "GET", f"/static/{name}", {"accept-encoding": "br, gzip"})

    assert sent == gzip.decompress(compressed) == content
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["content-type"] == packed.headers["content-type"]
    assert plain.headers["content-type"].startswith(("text/", "image/svg+xml"))


@pytest.mark.parametrize("path", ["/", "/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/nothing.css"])
def test_only_files_of_the_pages_are_sent(access: Access, path: str) -> None:
    assert send(access, "GET", f"/static{path}", {}).status == 404


def test_keys_differ_from_start_to_start() -> None:
    first, second = Access(1), Access(1)

    keys = {
        each for access in (first, second) for each in (access.entry_key, access.session_key, access.form_key)
    }
    assert len(keys) == 6
    assert min(map(len, keys)) >= 43
