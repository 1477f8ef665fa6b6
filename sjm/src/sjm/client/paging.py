"""Lists that fetch their pages as you iterate."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sjm.client.errors import UnexpectedAnswer
from sjm.client.types import Page

T = TypeVar("T")


class Listing(Generic[T]):
    """A list of the API. Iterate over it for all results, or over ``pages()`` for one page after the other.

    Each iteration starts anew, and sends a request only when it needs the next page. A page of a filtered
    list may be short or empty, although others follow.
    """

    def __init__(self, fetch: Callable[[str | None], Page[T]], more: str | None = None) -> None:
        self._fetch = fetch
        self._more = more

    def __iter__(self) -> Iterator[T]:
        """All results, from the page that ``more`` names on."""
        for page in self.pages():
            yield from page["results"]

    def pages(self) -> Iterator[Page[T]]:
        """The pages, with the ``paging`` that leads to the next one."""
        more = self._more
        while True:
            page = self._fetch(more)
            yield page
            following = page["paging"].get("more")
            if following is None:
                return
            if following == more:
                raise UnexpectedAnswer("The answer leads to the same page again, without end.", 200, b"")
            more = following
