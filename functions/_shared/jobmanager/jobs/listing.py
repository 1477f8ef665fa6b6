"""Lists jobs: all, those of a service, or those that match a search.

Sources and pages are sorted by job_key: a page ends at a job_key, and the next begins behind it. The index
``catalog`` filters by owner and tags. It is eventually consistent, so each job is checked again after it is
read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobmanager.api import fields
from jobmanager.api.bounded_merge import Scanned, first_page, items_per_read, scan
from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical
from jobmanager.core.names import job_guid, job_key, split_job_key
from jobmanager.jobs import store
from jobmanager.jobs.definition import Job, job_view
from jobmanager.jobs.timing import searched_key_of
from jobmanager.schedules.expression import InvalidSchedule

MULTI_VALUED = ("service_name", "job_name", "job_guid")
"""The fields of a search that may have several values, none of which holds a comma."""

REPEATED = ("owner",)
"""The fields of a search that may have several values, which may hold commas."""

_FIELDS = (*MULTI_VALUED, *REPEATED, "tags", "schedule", "limit", "more")


@dataclass(frozen=True)
class _Wanted:
    """The values that a search accepts in each field; an empty field accepts all."""

    services: list[str]
    job_names: list[str]
    guids: list[str]
    owners: list[str]
    tags: dict[str, str]
    schedule: str | None

    def has_key(self, key: str) -> bool:
        service_name, job_name = split_job_key(key)
        return (
            (not self.services or service_name in self.services)
            and (not self.job_names or job_name in self.job_names)
            and (not self.guids or job_guid(service_name, job_name) in self.guids)
        )

    def is_met_by(self, job: Job) -> bool:
        return (
            (not self.owners or job.get("owner") in self.owners)
            and self.tags.items() <= job.get("tags", {}).items()
            and self.schedule in (None, job.get("active_schedule"))
        )


def list_jobs(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of the jobs that match every field of the search, sorted by job_key.

    A page may be short or empty; ``more`` is absent only on the last page. ``query``: ``service_name``,
    ``job_name``, ``job_guid``, ``owner``, each a string or an array of strings; ``tags``, all of which a
    job must have; ``schedule``, the key or the expression of the schedule that it must be on; ``limit``,
    ``more``. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    page_size = limit(query.get("limit"))
    wanted = _Wanted(
        services=fields.names(query, "service_name"),
        job_names=fields.names(query, "job_name"),
        guids=fields.guids(query),
        owners=fields.owners(query),
        tags=fields.tags(query),
        schedule=_schedule(query),
    )
    fields.check_job_count(wanted.services, wanted.job_names)
    searched = canonical(
        "jobs",
        service_name=wanted.services,
        job_name=wanted.job_names,
        job_guid=wanted.guids,
        owner=wanted.owners,
        tags=wanted.tags,
        schedule=wanted.schedule,
    )
    after = position(query.get("more"), searched) or ""
    keys, more = first_page(_keys_after(after, wanted, page_size), page_size)
    found = [job_view(job, at_ms, whole=False) for job in store.read_many(keys) if wanted.is_met_by(job)]
    return page(found, more, searched, lambda job: job_key(job["service_name"], job["job_name"]))


def _schedule(query: dict[str, Any]) -> str | None:
    if query.get("schedule") is None:
        return None
    if not isinstance(query["schedule"], str):
        raise bad_field("schedule", "expected a string")
    try:
        return searched_key_of(query["schedule"])
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None


def _keys_after(after: str, wanted: _Wanted, page_size: int) -> Iterator[Scanned]:
    """Yields the job_keys after ``after``, sorted, from the smallest source that holds all matches."""
    if wanted.services and wanted.job_names:
        yield from _given([job_key(s, n) for s in wanted.services for n in wanted.job_names], after, wanted)
    elif wanted.guids:
        yield from _given(list(store.keys_of_guids(wanted.guids)), after, wanted)
    elif wanted.schedule:
        yield from _of_schedule(wanted.schedule, after, wanted, page_size)
    else:
        for prefix in sorted(f"{service}/" for service in wanted.services) or [""]:
            yield from _catalog(prefix, after, wanted, page_size)


def _given(keys: list[str], after: str, wanted: _Wanted) -> Iterator[Scanned]:
    return (Scanned(key) for key in sorted(keys) if key > after and wanted.has_key(key))


def _of_schedule(schedule: str, after: str, wanted: _Wanted, page_size: int) -> Iterator[Scanned]:
    for keys in store.pages_of_schedule(schedule, after or None, items_per_read(page_size, filtered=True)):
        yield from (Scanned(key) for key in keys if wanted.has_key(key))
        if keys:
            yield Scanned(keys[-1], found=False)


def _catalog(prefix: str, after: str, wanted: _Wanted, page_size: int) -> Iterator[Scanned]:
    if after > prefix and not after.startswith(prefix):
        return iter(())
    is_filtered = bool(wanted.owners or wanted.tags or wanted.job_names)
    pages = store.catalog_pages(
        prefix, after, wanted.owners, wanted.tags, items_per_read(page_size, is_filtered)
    )
    return scan(pages, lambda item: str(item["job_key"]), lambda key: key > after and wanted.has_key(key))
