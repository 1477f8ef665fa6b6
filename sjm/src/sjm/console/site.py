"""What all pages share: the stage, its readings, the frame around each page, notices after acts."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from sjm.client import Manager, ManagerError, Problem
from sjm.console import assets, links, outcomes, overlaps, refusals, texts, words
from sjm.console.access import Access
from sjm.console.guard import FORM_KEY
from sjm.console.reading import Readings
from sjm.console.viewer import Viewer, viewer_of
from sjm.review.cost import in_dollars

# A browser needs about as long to ask for the styles of the frame.
FRAME_AFTER_SECONDS: Final = 0.04
# After that, a page of several reads is shown, and asks for the others again.
PATIENCE_SECONDS: Final = 0.8
_KEPT_NOTICES = 50
_NAVIGATION = (
    ("now", "/", "Now"),
    ("jobs", "/jobs", "Jobs"),
    ("schedules", "/schedules", "Schedules"),
    ("limits", "/limits", "Limits"),
)


@dataclass(frozen=True)
class Content:
    """What a page shows between its head and its foot: a template and what it needs."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)
    status: int = 200


class Site:
    """The console of one stage. Pages find it with ``site_of(request)``."""

    def __init__(
        self,
        manager: Manager,
        stage: str,
        access: Access,
        now: Callable[[], float] = time.time,
        frame_after_seconds: float = FRAME_AFTER_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.manager = manager
        self.stage = stage
        self.access = access
        self.now = now
        self.patience_seconds = patience_seconds
        self._frame_after_seconds = frame_after_seconds
        self.readings = Readings(now)
        self._notices: OrderedDict[str, str] = OrderedDict()
        self._templates = _environment()

    def viewer(self, request: Request) -> Viewer:
        """Who looks at the page."""
        return viewer_of(request, round(self.now() * 1000))

    async def show(
        self, request: Request, title: str, content: Coroutine[Any, Any, Content], *, active: str = ""
    ) -> Response:
        """A whole page. ``active`` is the page of the navigation to which it belongs.

        ``content`` may take its time: the browser shows the frame meanwhile, and gets the status 200. For a
        dialog or a part that is replaced, which htmx asks for, this is the content alone.
        """
        viewer = self.viewer(request)
        task = asyncio.ensure_future(content)
        if "hx-request" in request.headers:
            part = await self._settled(task)
            return HTMLResponse(self._content(request, viewer, part), _status_of_part(part.status))
        await asyncio.wait({task}, timeout=self._frame_after_seconds)
        top, bottom = self._frame(request, viewer, title, active)
        if task.done():
            page = await self._settled(task)
            return HTMLResponse(top + self._content(request, viewer, page) + bottom, page.status)

        async def stream() -> AsyncIterator[str]:
            yield top
            page = await self._settled(task)
            yield self._content(request, viewer, page) + bottom

        return StreamingResponse(stream(), media_type="text/html")

    def acted(self, target: str, notice: str) -> Response:
        """Leads to a page, which shows the notice. What was read before the act is read again."""
        self.readings.forget()
        key = secrets.token_urlsafe(9)
        self._notices[key] = notice
        while len(self._notices) > _KEPT_NOTICES:
            self._notices.popitem(last=False)
        separator = "&" if "?" in target else "?"
        return RedirectResponse(f"{target}{separator}notice={key}", status_code=303)

    def _frame(self, request: Request, viewer: Viewer, title: str, active: str) -> tuple[str, str]:
        requests, dollars = self.readings.spent()
        frame = self._templates.get_template("frame.html").render(
            self._context(request, viewer),
            title=title,
            active=active,
            navigation=_NAVIGATION,
            requests=requests,
            spent_dollars=in_dollars(dollars),
            notice=self._notices.get(request.query_params.get("notice", "")),
        )
        top, _, bottom = frame.partition("<!-- content -->")
        return top, bottom

    def _content(self, request: Request, viewer: Viewer, content: Content) -> str:
        template = self._templates.get_template(content.template)
        return template.render(self._context(request, viewer), **content.context)

    def _context(self, request: Request, viewer: Viewer) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "viewer": viewer,
            "path": request.url.path,
            "is_act": request.method == "POST",
            "form_key": Markup('<input type="hidden" name="{}" value="{}">').format(
                FORM_KEY, self.access.form_key
            ),
        }

    async def _settled(self, task: "asyncio.Future[Content]") -> Content:
        try:
            return await task
        except ManagerError as error:
            return problem(error)


def site_of(request: Request) -> Site:
    """The site to which a request belongs."""
    site: Site = request.app.state.site
    return site


def problem(error: ManagerError) -> Content:
    """What a page shows if the API refused, or did not answer."""
    return Content("problem.html", {"error": error}, _status(error))


def raw(text: str) -> Markup:
    """A text as it is, for a field in which it is edited. It is escaped, and nothing else."""
    return Markup(escape(text))


def _status(error: ManagerError) -> int:
    if isinstance(error, Problem):
        return error.status if 400 <= error.status < 500 else 502
    return 502


def _status_of_part(status: int) -> int:
    """Htmx shows only what succeeded, and a part says itself what is wrong."""
    return 200 if status >= 400 else status


@cache
def _environment() -> Environment:
    """The templates, compiled, so that the first page does not wait for that."""
    environment = Environment(
        loader=PackageLoader("sjm.console"),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        holds_secret=texts.holds_secret,
        links=links,
        markup=Markup,
        outcomes=outcomes,
        overlaps=overlaps,
        raw=raw,
        refusals=refusals,
        static=assets.static_url,
        words=words,
    )
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def _finalized(value: Any) -> Any:
    """Every text that a template prints passes here, so none shows a secret or hides something."""
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else texts.shown(str(value))
