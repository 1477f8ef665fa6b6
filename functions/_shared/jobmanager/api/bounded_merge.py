"""Pages of long sorted sources, each made with a bounded number of reads.

A source yields what it finds as :class:`Seen`, in order, and where it would have to read on, how far it has
read. Where several sources are merged, everything before such a mark has been seen of all of them: so a page
may end there, be it short or empty, and the next one goes on behind it, nothing twice and nothing left out.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from jobmanager.aws.items import from_item

# How often a page reads on; beyond what each of its sources reads first.
MOST_READS = 32
# Items that a read looks at where most may be filtered out; DynamoDB ends it at 1 MB anyway.
ITEMS_A_FILTERED_READ = 1000


class Seen(NamedTuple):
    """A key that a source holds; or, not ``found``, the key up to which it has read."""

    key: str
    found: bool = True


def items_a_read(most: int, filtered: bool) -> int:
    """The ``Limit`` of the queries for a page of ``most``; at least 2, so that each read gets on."""
    return ITEMS_A_FILTERED_READ if filtered else most + 1


def seen(
    pages: Iterable[Any], key_of: Callable[[dict[str, Any]], str], keeps: Callable[[str], bool]
) -> Iterator[Seen]:
    """What the answers to a Query hold, with a mark wherever the next one would have to be read.

    ``key_of`` is asked for items and for LastEvaluatedKey, which has the keys of the table and of the index.
    """
    for answered in pages:
        keys = (key_of(from_item(item)) for item in answered["Items"])
        yield from (Seen(key) for key in keys if keeps(key))
        if "LastEvaluatedKey" in answered:
            yield Seen(key_of(from_item(answered["LastEvaluatedKey"])), found=False)


def first(steps: Iterable[Seen], most: int) -> tuple[list[str], str | None]:
    """At most ``most`` keys, and the key behind which the next page begins; None if nothing follows."""
    keys: list[str] = []
    reads = 0
    for key, found in steps:
        if found:
            if len(keys) == most:
                return keys, keys[-1]
            keys.append(key)
        else:
            if reads == MOST_READS:
                return keys, key
            reads += 1
    return keys, None
