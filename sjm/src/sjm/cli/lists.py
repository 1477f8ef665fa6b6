"""Lists with a limit: pages are read only as far as they are needed."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from sjm.cli.command import Session

T = TypeVar("T")
LARGEST_PAGE = 100
DEFAULT_LIMIT = 100


def page_size(limit: int | None) -> int:
    """The size of the pages to ask for. One more than the limit tells whether there are more."""
    return LARGEST_PAGE if limit is None else min(limit + 1, LARGEST_PAGE)


def limited(session: Session, results: Iterable[T], limit: int | None) -> Iterator[T]:
    """The first results. If there are more, a message says so."""
    for count, result in enumerate(results):
        if count == limit:
            session.output.message(f"There are more than {limit}. Pass --limit N, or --all.")
            return
        yield result


def limit_options(default: int | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--limit`` and, if there is a default, ``--all``."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        if default is not None:
            command = click.option("--all", "every", is_flag=True, help="Without a limit.")(command)
        shown = f" [default: {default}]" if default is not None else ""
        return click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(min=1),
            default=default,
            help=f"At most so many.{shown}",
        )(command)

    return decorated
