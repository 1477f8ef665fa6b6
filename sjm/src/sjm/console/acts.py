"""Acts of pages: each runs in a thread, and what the API refuses is shown as a page."""

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from sjm.client import ManagerError
from sjm.console.site import Content, problem, site_of

T = TypeVar("T")


async def act(
    request: Request, title: str, do: Callable[[], T], target: Callable[[T], str], notice: Callable[[T], str]
) -> Response:
    """Does something, then leads to the page ``target`` with a notice.

    ``title`` is that of the page that shows an error.
    """
    site = site_of(request)
    try:
        done = await anyio.to_thread.run_sync(do)
    except ManagerError as error:
        refused = problem(error)

        async def content() -> Content:
            return refused

        site.readings.forget()
        return await site.show(request, title, content())
    return site.acted(target(done), notice(done))


def is_key(key: str | None) -> bool:
    """Whether a form's text can be an Idempotency-Key, with which a form that is sent twice acts once."""
    return key is not None and key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= 128
