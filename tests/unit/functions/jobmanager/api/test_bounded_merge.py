"""All pages together find what a filter of everything finds, and the reads of each page are bounded."""

from collections.abc import Iterator
from heapq import merge
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from jobmanager.api import bounded_merge as bounded
from jobmanager.api.bounded_merge import Scanned, first_page, items_per_read, scan
from jobmanager.aws.items import to_item

# Sources with their keys. The value says whether the key matches the filter. No key is in two sources.
SOURCES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 999), st.booleans()),
    unique_by=lambda each: each[1],
    max_size=60,
).map(lambda rows: [{f"{key:03}": wanted for source, key, wanted in rows if source == n} for n in range(4)])


class Table:
    """Sources that are read like partitions of DynamoDB: newest first, some items at a time."""

    def __init__(self, sources: list[dict[str, bool]], items_at_once: int) -> None:
        self.sources, self.items_at_once, self.reads = sources, items_at_once, 0

    def pages(self, source: dict[str, bool], below: str) -> Iterator[dict[str, Any]]:
        keys = sorted((key for key in source if key <= below), reverse=True)
        for start in range(0, len(keys) or 1, self.items_at_once):
            self.reads += 1
            read = keys[start : start + self.items_at_once]
            last = {"LastEvaluatedKey": to_item({"key": read[-1]})} if len(read) == self.items_at_once else {}
            yield {"Items": [to_item({"key": key}) for key in read if source[key]], **last}

    def newest_first(self, below: str) -> Iterator[Scanned]:
        found = (
            scan(self.pages(source, below), lambda item: str(item["key"]), lambda key: key < below)
            for source in self.sources
        )
        return merge(*found, key=lambda each: each.key, reverse=True)


def walk(table: Table, most: int, most_reads: int) -> list[list[str]]:
    """The keys of all pages. Checks that each page needs a bounded number of reads."""
    pages, below = [], "~"
    with patch.object(bounded, "MAX_READS", most_reads):
        while True:
            table.reads = 0
            keys, more = first_page(table.newest_first(below), most)
            assert table.reads <= len(table.sources) + most_reads
            pages.append(keys)
            if more is None:
                return pages
            assert more < below
            below = more


@given(SOURCES, st.integers(1, 10), st.integers(2, 10), st.integers(0, 5))
def test_all_pages_together_are_the_sorted_whole(
    sources: list[dict[str, bool]], most: int, items_at_once: int, most_reads: int
) -> None:
    pages = walk(Table(sources, items_at_once), most, most_reads)

    wanted = [key for source in sources for key, matches in source.items() if matches]
    assert [key for page in pages for key in page] == sorted(wanted, reverse=True)
    assert all(len(page) <= most for page in pages)


def test_a_page_without_results_ends_and_the_next_page_continues() -> None:
    needle = {f"{number:03}": number == 0 for number in range(100)}

    pages = walk(Table([needle], 10), most=5, most_reads=2)

    assert pages == [[], [], [], ["000"]]


def test_a_page_reads_no_more_than_it_needs() -> None:
    table = Table([{f"{number:03}": True for number in range(100)}], items_per_read(5, filtered=False))

    keys, more = first_page(table.newest_first("~"), 5)

    assert (keys, more, table.reads) == (["099", "098", "097", "096", "095"], "095", 1)
