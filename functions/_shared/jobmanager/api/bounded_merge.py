"""Pages of results from long sorted sources, each page made with a bounded number of reads.

A source yields, in order, the keys that match (:class:`Scanned`). Each time it would have to read more, it
also yields a mark: the key up to which it has read. Sources are merged by key, so when a mark comes out of
the merge, all sources have been read up to it. A page that has used up its reads ends at such a mark, and may
be short or empty. The next page begins behind the mark, so no match is repeated or lost.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from jobmanager.aws.items import from_item

# How often a page may read on after the first read of each source, which is once for each mark.
MAX_READS = 32
# How many items a filtered read examines; DynamoDB ends it at 1 MB anyway.
ITEMS_PER_FILTERED_READ = 1000


class Scanned(NamedTuple):
    """A key that matches; or a mark, if not ``found``: the key up to which a source has read."""

    key: str
    found: bool = True


def items_per_read(page_size: int, filtered: bool) -> int:
    """The ``Limit`` of the queries for a page; at least 2, so that each read makes progress."""
    return ITEMS_PER_FILTERED_READ if filtered else page_size + 1


def scan(
    pages: Iterable[Any], key_of: Callable[[dict[str, Any]], str], matches: Callable[[str], bool]
) -> Iterator[Scanned]:
    """Yields the matching keys in the pages of a Query, and a mark before each further page is read.

    ``key_of`` gets items and LastEvaluatedKey, which holds only the keys of the table and of the index.
    """
    for page in pages:
        keys = (key_of(from_item(item)) for item in page["Items"])
        yield from (Scanned(key) for key in keys if matches(key))
        if "LastEvaluatedKey" in page:
            yield Scanned(key_of(from_item(page["LastEvaluatedKey"])), found=False)


def first_page(scanned: Iterable[Scanned], page_size: int) -> tuple[list[str], str | None]:
    """Returns at most ``page_size`` keys, and the key behind which the next page begins; None on the last."""
    keys: list[str] = []
    reads = 0
    for key, found in scanned:
        if found:
            if len(keys) == page_size:
                return keys, keys[-1]
            keys.append(key)
        else:
            if reads == MAX_READS:
                return keys, key
            reads += 1
    return keys, None
