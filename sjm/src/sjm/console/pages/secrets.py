"""The secrets that sign the webhooks of a service. The console shows and makes none: it lists and deletes."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.console import links
from sjm.console.acts import act
from sjm.console.forms import form_of
from sjm.console.paths import is_name
from sjm.console.reading import ONE
from sjm.console.site import Content, Site, site_of

_FRESH_SECONDS = 10
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def secrets(request: Request) -> Response:
    """GET of the page."""
    name = _service_of(request)
    title = f"Webhook secrets of {name}"
    return await site_of(request).show(request, title, _content(site_of(request), name), active="jobs")


async def delete(request: Request) -> Response:
    """GET asks; POST deletes a secret."""
    site, name, secret_id = site_of(request), _service_of(request), request.path_params["secret"]
    if not _SECRET_ID.fullmatch(secret_id):
        raise HTTPException(404)
    title = f"Delete a webhook secret of {name}"

    async def content() -> Content:
        return Content("secret_delete.html", {"service_name": name, "secret_id": secret_id})

    if request.method == "GET":
        return await site.show(request, title, content(), active="jobs")
    force = "force" in form_of(request)
    return await act(
        request,
        title,
        lambda: site.manager.delete_webhook_secret(name, secret_id, force=force),
        lambda done: links.secrets(name),
        lambda done: "The secret is deleted. It signs nothing any more.",
    )


async def _content(site: Site, name: str) -> Content:
    listing = site.manager.list_webhook_secrets(name)
    reading = await site.readings.get(("secrets", name), lambda: next(listing.pages()), ONE, _FRESH_SECONDS)
    page = reading.got()
    return Content("secrets.html", {"service_name": name, "page": page, "reading": reading})


def _service_of(request: Request) -> str:
    name: str = request.path_params["service"]
    if not is_name(name):
        raise HTTPException(404)
    return name


routes = [
    Route("/services/{service}/secrets", secrets),
    Route("/services/{service}/secrets/{secret}/delete", delete, methods=["GET", "POST"]),
]
