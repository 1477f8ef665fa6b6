"""The jobs of the stage, found by service, name, owner, tag or schedule."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import BadRequest, JobSearch, Page, SavedJob
from sjm.console import links
from sjm.console.reading import JOBS, Reading
from sjm.console.site import Content, Site, site_of

PAGE_SIZE = 50
FRESH_SECONDS = 10
_MAX_TEXT = 1024
_FIELDS = ("service", "job", "owner", "tag", "schedule")


@dataclass(frozen=True)
class Search:
    """What the form of the page asks for; an empty field does not limit."""

    service: str = ""
    job: str = ""
    owner: str = ""
    tag: str = ""
    schedule: str = ""
    more: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether it asks for less than all jobs."""
        return any(getattr(self, name) for name in _FIELDS)

    @property
    def tags(self) -> dict[str, str]:
        """The tag that is asked for, ``name=value``."""
        name, _, value = self.tag.partition("=")
        return {name.strip(): value.strip()} if self.tag else {}

    def of_api(self) -> JobSearch:
        """The search as the API takes it."""
        search: JobSearch = {"limit": PAGE_SIZE}
        if self.service:
            search["service_name"] = self.service
        if self.job:
            search["job_name"] = self.job
        if self.owner:
            search["owner"] = self.owner
        if self.tag:
            search["tags"] = self.tags
        if self.schedule:
            search["schedule"] = self.schedule
        if self.more:
            search["more"] = self.more
        return search

    def link(self, more: str) -> str:
        """The page that goes on from here."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return links.search("/jobs", **fields, more=more)


def search_of(parameters: Mapping[str, str]) -> Search:
    """The search in a query string. ``billing/nightly`` in a field of a name is taken as both names."""
    fields = {name: parameters.get(name, "").strip()[:_MAX_TEXT] for name in _FIELDS}
    for name in ("service", "job"):
        service, slash, job = fields[name].partition("/")
        if slash:
            fields |= {"service": service.strip(), "job": job.strip()}
    return Search(**fields, more=parameters.get("more", ""))


async def jobs(request: Request) -> Response:
    """GET /jobs."""
    site = site_of(request)
    return await site.show(request, "Jobs", _content(site, request), active="jobs")


async def _content(site: Site, request: Request) -> Content:
    search = search_of(request.query_params)
    reading = await site.readings.get(("jobs", search), lambda: _page(site, search), JOBS, FRESH_SECONDS)
    page: Page[SavedJob] = reading.value or {"results": [], "paging": {}}
    context = {"search": search, "page": page, "reading": reading, "page_size": PAGE_SIZE}
    return Content("jobs.html", context, _status(reading))


def _page(site: Site, search: Search) -> Page[SavedJob]:
    return next(site.manager.search_jobs(search.of_api()).pages())


def _status(reading: Reading[Page[SavedJob]]) -> int:
    if reading.value is not None or reading.error is None:
        return 200
    return 400 if isinstance(reading.error, BadRequest) else 502


routes = [Route("/jobs", jobs)]
