"""Lets only the browser that opened the console in, and only pages of the console act.

Each check is for one way in:

* ``Host`` must be the console's own: a site whose name suddenly resolves to 127.0.0.1 has another one.
* A request must come from a page of the console, or from the address bar: ``Sec-Fetch-Site``, ``Origin``.
* It needs the session cookie, which only the browser that opened the printed URL has.
* A POST also needs the form key, which only pages of the console can read.
"""

from html import escape
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sjm.console.access import Access
from sjm.console.forms import BadForm, parsed

MAX_FORM_BYTES = 1024 * 1024
FORM_KEY = "form_key"
FORM_HEADER = "x-form-key"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Refused(Exception):
    """The request is not let in."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


class Guard:
    """Middleware around the whole console. It also adds the headers that keep browsers safe."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is refused itself."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            entered = await self._admit(scope, receive)
        except Refused as refusal:
            await _page(refusal)(scope, receive, send_safe)
            return
        await (entered or self._app)(scope, receive, send_safe)

    async def _admit(self, scope: Scope, receive: Receive) -> Response | None:
        """Raises Refused, or returns the answer to the printed URL, or None for all that may pass."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._access.hosts:
            raise Refused(421, "Wrong address", f"Open the console at {self._access.origin}.")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin"):
            raise Refused(
                403,
                "Not from another page",
                "Another page asked for this. Copy the address into the address bar instead.",
            )
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "Not allowed", "The console answers GET and POST only.")
        if scope["method"] == "GET" and (entry := self._entry(scope)):
            return entry
        if not any(self._access.is_session(key) for key in _cookies(headers, self._access.cookie_name)):
            raise _not_signed_in("key" in parse_qs(scope["query_string"].decode("latin-1")))
        if scope["method"] == "POST":
            await self._check_form(scope, headers, receive)
        return None

    def _entry(self, scope: Scope) -> Response | None:
        """Exchanges the key of the printed URL for the cookie."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        keys = query.pop("key", [])
        if len(keys) != 1 or not self._access.enter(keys[0]):
            return None
        target = (
            scope["path"] if scope["path"].startswith("/") and not scope["path"].startswith("//") else "/"
        )
        response = RedirectResponse(
            f"{target}?{urlencode(query, doseq=True)}" if query else target, status_code=303
        )
        response.set_cookie(
            self._access.cookie_name, self._access.session_key, httponly=True, samesite="strict", path="/"
        )
        return response

    async def _check_form(self, scope: Scope, headers: Headers, receive: Receive) -> None:
        """Checks that a POST comes from a page of the console, and keeps its form in the request's state."""
        # Without a referrer, browsers send the Origin of a form as null. Then they say where it is from, too.
        own = f"http://{headers['host']}"
        origin = headers.get("origin")
        says_where = headers.get("sec-fetch-site") == "same-origin"
        if not (origin == own or (origin in (None, "null") and says_where)):
            raise Refused(403, "Not from another page", "Only a page of the console may act.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(415, "Not a form", "Expected application/x-www-form-urlencoded.")
        try:
            form = parsed(await _body(receive))
        except BadForm as problem:
            raise Refused(400, "Not a form", str(problem)) from None
        if not self._access.is_form(headers.get(FORM_HEADER) or form.text(FORM_KEY)):
            raise Refused(
                403,
                "The page is too old",
                "It is from an earlier start of the console. Go back, reload the page, and try again.",
            )
        scope.setdefault("state", {})["form"] = form


def _not_signed_in(has_key: bool) -> Refused:
    if has_key:
        return Refused(
            401,
            "This link does not open the console",
            "It opens once, in one browser: it was used before, or its console was stopped. Start sjm console"
            " again and open the link that it prints. If somebody sent you this link, ask for a new one.",
        )
    return Refused(
        401,
        "You are not signed in",
        "Start sjm console and open the link that it prints, in this browser. A link opens once.",
    )


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadForm("The form was not sent completely.")
        body += bytes(message.get("body", b""))
        if len(body) > MAX_FORM_BYTES:
            raise Refused(413, "Too large", f"Expected a form of at most {MAX_FORM_BYTES} bytes.")
        if not message.get("more_body"):
            return body


def _cookies(headers: Headers, name: str) -> list[str]:
    """All values of a cookie: another port of this host may have set one of the same name."""
    found = []
    for header in headers.getlist("cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                found.append(value)
    return found


def _page(refusal: Refused) -> Response:
    """A page that needs nothing else of the console."""
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<meta name=color-scheme content='light dark'>"
        f"<title>{escape(refusal.title)} · Job Manager</title><main><h1>{escape(refusal.title)}</h1>"
        f"<p>{escape(refusal.detail)}</main></html>"
    )
    return Response(body, status_code=refusal.status, media_type="text/html")
