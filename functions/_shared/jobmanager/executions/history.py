"""Lists executions, newest first: of a job, of a service, of all, or those that match a search.

A search merges partitions that are sorted by time: those of jobs, those of services, or the shards of one day
after another. A page ends at a key (:mod:`jobmanager.executions.order`), and the next begins below it, so new
executions do not shift the pages.
"""

from collections.abc import Iterator
from heapq import merge
from typing import Any, NamedTuple

from jobmanager.api import fields
from jobmanager.api.bounded_merge import Scanned, first_page, items_per_read, scan
from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical
from jobmanager.core.clock import ms_of_stamp, stamp
from jobmanager.core.names import job_guid
from jobmanager.core.settings import number_setting
from jobmanager.executions import store
from jobmanager.executions.order import LATE_MS, execution_of, is_key_of_late, key_in_job
from jobmanager.executions.reasons import CODES
from jobmanager.executions.record import (
    FINAL_STATUSES,
    RUNNING,
    WAITING,
    Execution,
    day_shard,
    late_shard,
    shards_to_read,
)
from jobmanager.executions.view import execution_view

MULTI_VALUED = ("service_name", "job_name", "job_guid", "status", "reason")
"""The fields of a search that may have several values."""

SEARCHED = (*MULTI_VALUED, "since", "until", "by")
"""The fields of a search."""

_FIELDS = (*SEARCHED, "limit", "more")
_BY = ("scheduled_time", "started_at")
_DAY_MS = 86_400_000
_START_OF_TIME, _END_OF_TIME = "0", "9"
_STATUSES = (WAITING, RUNNING, *FINAL_STATUSES)

type Wanted = dict[str, list[str]]


class Search(NamedTuple):
    """The executions that match every field of a query, newest first.

    ``searched`` is its canonical form, for page tokens. ``low`` and ``high`` limit the keys.
    """

    wanted: Wanted
    by_start: bool
    low: str
    high: str
    searched: dict[str, Any]

    def page(self, before: str | None, page_size: int, at_ms: int) -> "Found":
        """Returns the next executions, from below the key ``before`` on."""
        high = min(self.high, before or _END_OF_TIME)
        ordered = _newest_started_first if self.by_start else _newest_first
        found, more = first_page(ordered(self.wanted, self.low, high, page_size, at_ms), page_size)
        keys = {execution_of(key): key for key in found}
        records = [record for record in store.read_many(keys) if _is_wanted(record, self.wanted)]
        if self.by_start:
            records = [record for record in records if self.low <= _started(record) < self.high]
        return Found(records, keys, more)


class Found(NamedTuple):
    """Executions of a search, their keys, and the key below which the search goes on; None at its end."""

    records: list[Execution]
    keys: dict[str, str]
    more: str | None


def search_of(query: dict[str, Any], list_name: str = "executions") -> Search:
    """Reads a search: all fields but ``limit`` and ``more``. Raises BadRequest.

    ``service_name``, ``job_name``, ``job_guid``, ``status``, ``reason`` (a code), each a string or an array
    of strings; ``since`` (inclusive) and ``until`` (exclusive) as times or days; ``by``, the time that sorts
    and that these two limit: ``scheduled_time`` or ``started_at``. Tokens of one list do not fit another.
    """
    wanted = {name: fields.names(query, name) for name in ("service_name", "job_name")}
    wanted |= {"job_guid": fields.guids(query)}
    wanted |= {name: fields.strings(query, name) for name in ("status", "reason")}
    _check(wanted)
    by_start = _is_by_start(query)
    since, until = _time(query, "since"), _time(query, "until")
    by = {"by": _BY[1]} if by_start else {}
    searched = canonical(list_name, **wanted, since=since, until=until, **by)
    return Search(wanted, by_start, since or _START_OF_TIME, until or _END_OF_TIME, searched)


def list_executions(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of the executions that match every field of the search, newest first.

    A filtered page may be short or empty; ``more`` is absent only on the last page. ``query``: the fields of
    :func:`search_of`, ``limit`` and ``more``. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    page_size = limit(query.get("limit"))
    search = search_of(query)
    found = search.page(position(query.get("more"), search.searched), page_size, at_ms)
    views = [execution_view(record, whole=False) for record in found.records]
    found_page = page(views, found.more, search.searched, lambda view: found.keys[view["execution_id"]])
    found_page["results"].sort(key=_started_last if search.by_start else _scheduled_last, reverse=True)
    return found_page


def _scheduled_last(view: dict[str, Any]) -> tuple[int, int]:
    """The keys of one job's runs in one second are in the order of their suffixes."""
    return view["scheduled_time_ms"] // 1000, view["started_at_ms"]


def _started_last(view: dict[str, Any]) -> int:
    started_at_ms: int = view["started_at_ms"]
    return started_at_ms


def _started(record: Execution) -> str:
    """When an execution started, as a stamp; not before its scheduled time, as a clock may be slow."""
    return stamp(max(record["started_at_ms"], record["scheduled_time_ms"]))


def _is_wanted(record: Execution, wanted: Wanted) -> bool:
    """Checks the record itself: an index may not have the final status yet, and has no reasons.

    A record is shown only under its own names.
    """
    reason = record["reason"]["code"] if "reason" in record else None
    found = {
        "status": record["status"],
        "reason": reason,
        "service_name": record["service_name"],
        "job_name": record["job_name"],
    }
    return all(not wanted[name] or value in wanted[name] for name, value in found.items())


def _check(wanted: Wanted) -> None:
    if set(wanted["status"]) - set(_STATUSES):
        raise bad_field("status", f"expected one of {', '.join(_STATUSES)}")
    if set(wanted["reason"]) - set(CODES):
        raise bad_field("reason", f"expected one of {', '.join(CODES)}")
    if wanted["job_guid"] and (wanted["service_name"] or wanted["job_name"]):
        raise bad_field("job_guid", "expected either job_guid, or service_name and job_name")
    if wanted["job_name"] and not wanted["service_name"]:
        raise bad_field("service_name", "expected service_name together with job_name")
    fields.check_job_count(wanted["service_name"], wanted["job_name"])


def _is_by_start(query: dict[str, Any]) -> bool:
    by = query.get("by")
    if by not in (None, *_BY):
        raise bad_field("by", f"expected one of {', '.join(_BY)}")
    return bool(by == _BY[1])


def _time(query: dict[str, Any], name: str) -> str | None:
    """Returns a time of the search as a stamp; times before 1970 become 1970."""
    if query.get(name) is None:
        return None
    return stamp(max(fields.time_or_day_ms(name, query[name]), 0))


def _newest_first(
    wanted: Wanted, low: str, high: str, page_size: int, at_ms: int, without_late: bool = False
) -> Iterator[Scanned]:
    """Yields the keys with ``low <= key < high``, by scheduled time."""
    if low >= high:
        return iter(())
    guids = _guids(wanted)
    # Indexes can filter by status but not by reason, and only executions of these statuses have a reason.
    statuses = wanted["status"] or ([WAITING, "skipped", "cancelled"] if wanted["reason"] else [])
    partitions = _Partitions(low, high, statuses, items_per_read(page_size, bool(statuses)), without_late)
    if guids:
        return _merged([partitions.of_job(guid) for guid in guids])
    if wanted["service_name"]:
        return _merged([partitions.of_service(service) for service in wanted["service_name"]])
    return _of_all(partitions, at_ms)


def _newest_started_first(
    wanted: Wanted, low: str, high: str, page_size: int, at_ms: int
) -> Iterator[Scanned]:
    """Yields keys by when the executions started: late ones by their start, others by their scheduled time.

    The others started less than LATE_MS after it. So this also reads what was scheduled that long before
    ``low``.
    """
    low_scheduled = low if low == _START_OF_TIME else stamp(max(ms_of_stamp(low) - LATE_MS, 0))
    others = _newest_first(wanted, low_scheduled, high, page_size, at_ms, without_late=True)
    if low >= high:
        return others
    guids, services = _guids(wanted), wanted["service_name"]
    late = _Partitions(low, high, [], items_per_read(page_size, bool(guids or services)))
    shards = [late.of_late(late_shard(number), guids, services) for number in shards_to_read()]
    return _merged([others, *shards])


def _guids(wanted: Wanted) -> list[str]:
    """Returns the guids of the jobs of a search; empty if it names none."""
    named = [job_guid(service, job) for service in wanted["service_name"] for job in wanted["job_name"]]
    return list(dict.fromkeys(wanted["job_guid"] or named))


def _merged(sources: list[Iterator[Scanned]]) -> Iterator[Scanned]:
    return merge(*sources, key=lambda each: each.key, reverse=True)


def _of_all(partitions: "_Partitions", at_ms: int) -> Iterator[Scanned]:
    """Goes back day by day to ``since`` or to the end of retention; each further day counts as a read."""
    newest = min(at_ms + _DAY_MS, _latest_ms_below(partitions.high))
    oldest = at_ms - number_setting("RETENTION_DAYS") * _DAY_MS
    if partitions.low != _START_OF_TIME:
        oldest = max(oldest, ms_of_stamp(partitions.low))
    day_ms = newest - newest % _DAY_MS
    while day_ms + _DAY_MS > oldest:
        yield from _merged([partitions.of_day(day_shard(day_ms, number)) for number in shards_to_read()])
        if day_ms > oldest:
            yield Scanned(stamp(day_ms), found=False)
        day_ms -= _DAY_MS


def _latest_ms_below(high: str) -> int:
    if high == _END_OF_TIME:
        return ms_of_stamp("99991231T235959Z")
    is_a_time_key = "#" in high
    return ms_of_stamp(high) - (0 if is_a_time_key else 1)


class _Partitions:
    """Reads partitions of the table, each newest first, with ``low <= key < high``."""

    def __init__(
        self, low: str, high: str, statuses: list[str], items_per_read: int, without_late: bool = False
    ) -> None:
        self.low, self.high, self.statuses = low, high, statuses
        self._range = store.Range(low, high, items_per_read)
        self._without_late = without_late

    def of_job(self, guid: str) -> Iterator[Scanned]:
        # `high` may be the key of an execution of another job in the same second. Those of this job that are
        # below it have at most its suffix.
        second, _, rest = self.high.partition("#")
        suffix = rest.partition("#")[0]
        high = "-".join(filter(None, (guid, second, suffix)))
        range_ = self._range._replace(low=f"{guid}-{self.low}", high=high)
        pages = store.pages_of_job(guid, range_, self.statuses, self._without_late)
        return scan(pages, lambda item: key_in_job(item["execution_id"]), self._is_below)

    def of_service(self, service: str) -> Iterator[Scanned]:
        return self._by_time_key(store.pages_of_service(service, self._range, self.statuses))

    def of_day(self, day_shard: str) -> Iterator[Scanned]:
        return self._by_time_key(store.pages_of_day(day_shard, self._range, self.statuses))

    def of_late(self, late_shard: str, guids: list[str], services: list[str]) -> Iterator[Scanned]:
        pages = store.pages_of_late(late_shard, self._range, guids, services)
        return scan(pages, lambda item: str(item["late_key"]), self._is_below)

    def _by_time_key(self, pages: Iterator[Any]) -> Iterator[Scanned]:
        def is_wanted(key: str) -> bool:
            return self._is_below(key) and not (self._without_late and is_key_of_late(key))

        return scan(pages, lambda item: str(item["time_key"]), is_wanted)

    def _is_below(self, key: str) -> bool:
        return key < self.high
