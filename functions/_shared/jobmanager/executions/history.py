"""Lists executions, newest first: of a job, of a service, of all, or those that match a search.

A search merges partitions that are sorted by time: those of jobs, those of services, or the shards of one day
after another. A page ends at a time_key, and the next begins below it, so new executions do not shift the
pages.
"""

from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from typing import Any

from jobmanager.api import fields
from jobmanager.api.bounded_merge import Scanned, first_page, items_per_read, scan
from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical
from jobmanager.core.clock import stamp
from jobmanager.core.names import job_guid, time_key
from jobmanager.core.settings import number_setting
from jobmanager.executions import store
from jobmanager.executions.reasons import CODES
from jobmanager.executions.record import FINAL_STATUSES, RUNNING, SHARDS_OF_A_DAY, Execution, day_shard
from jobmanager.executions.view import execution_view

MULTI_VALUED = ("service_name", "job_name", "job_guid", "status", "reason")
"""The fields of a search that may have several values."""

_FIELDS = (*MULTI_VALUED, "since", "until", "limit", "more")
_DAY_MS = 86_400_000
_START_OF_TIME, _END_OF_TIME = "0", "9"
_STATUSES = (RUNNING, *FINAL_STATUSES)

type Wanted = dict[str, list[str]]


def list_executions(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of the executions that match every field of the search, newest scheduled_time first.

    A filtered page may be short or empty; ``more`` is absent only on the last page. ``query``:
    ``service_name``, ``job_name``, ``job_guid``, ``status``, ``reason`` (a code), each a string or an array
    of strings; ``since`` (inclusive) and ``until`` (exclusive) as times or days; ``limit``, ``more``. Raises
    BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    page_size = limit(query.get("limit"))
    wanted = {name: fields.names(query, name) for name in ("service_name", "job_name")}
    wanted |= {"job_guid": fields.guids(query)}
    wanted |= {name: fields.strings(query, name) for name in ("status", "reason")}
    _check(wanted)
    since, until = _time(query, "since"), _time(query, "until")
    searched = canonical("executions", **wanted, since=since, until=until)
    low, high = since or _START_OF_TIME, until or _END_OF_TIME
    high = min(high, position(query.get("more"), searched) or _END_OF_TIME)
    scanned = _newest_first(wanted, low, high, page_size, at_ms) if low < high else ()
    found, more = first_page(scanned, page_size)
    records = [record for record in store.read_many(found) if _is_wanted(record, wanted)]
    views = [execution_view(record, whole=False) for record in records]
    found_page = page(views, more, searched, lambda view: time_key(view["execution_id"]))
    # The keys of one second are in the order of their guids.
    found_page["results"].sort(
        key=lambda view: (view["scheduled_time_ms"] // 1000, view["started_at_ms"]), reverse=True
    )
    return found_page


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


def _time(query: dict[str, Any], name: str) -> str | None:
    """Returns a time of the search as a stamp; times before 1970 become 1970."""
    if query.get(name) is None:
        return None
    return stamp(max(fields.time_or_day_ms(name, query[name]), 0))


def _newest_first(wanted: Wanted, low: str, high: str, page_size: int, at_ms: int) -> Iterator[Scanned]:
    """Yields the time_keys with ``low <= time_key < high``, newest first."""
    guids = wanted["job_guid"] or [job_guid(s, n) for s in wanted["service_name"] for n in wanted["job_name"]]
    # Indexes can filter by status but not by reason, and only executions of these statuses have a reason.
    statuses = wanted["status"] or (["skipped", "cancelled"] if wanted["reason"] else [])
    partitions = _Partitions(low, high, statuses, items_per_read(page_size, bool(statuses)))
    if guids:
        return _merged([partitions.of_job(guid) for guid in dict.fromkeys(guids)])
    if wanted["service_name"]:
        return _merged([partitions.of_service(service) for service in wanted["service_name"]])
    return _of_all(partitions, at_ms)


def _merged(sources: list[Iterator[Scanned]]) -> Iterator[Scanned]:
    return merge(*sources, key=lambda each: each.key, reverse=True)


def _of_all(partitions: "_Partitions", at_ms: int) -> Iterator[Scanned]:
    """Goes back day by day to ``since`` or to the end of retention; each further day counts as a read."""
    newest = min(at_ms + _DAY_MS, _latest_ms_below(partitions.high))
    oldest = at_ms - number_setting("RETENTION_DAYS") * _DAY_MS
    if partitions.low != _START_OF_TIME:
        oldest = max(oldest, _ms_of_stamp(partitions.low))
    day_ms = newest - newest % _DAY_MS
    while day_ms + _DAY_MS > oldest:
        shards = range(SHARDS_OF_A_DAY)
        yield from _merged([partitions.of_day(day_shard(day_ms, number)) for number in shards])
        if day_ms > oldest:
            yield Scanned(stamp(day_ms), found=False)
        day_ms -= _DAY_MS


def _latest_ms_below(high: str) -> int:
    if high == _END_OF_TIME:
        return _ms_of_stamp("99991231T235959Z")
    is_a_time_key = "#" in high
    return _ms_of_stamp(high) - (0 if is_a_time_key else 1)


def _ms_of_stamp(key: str) -> int:
    return round(datetime.strptime(f"{key[:15]}+0000", "%Y%m%dT%H%M%S%z").timestamp() * 1000)


class _Partitions:
    """Reads partitions of the table, each newest first, with ``low <= time_key < high``."""

    def __init__(self, low: str, high: str, statuses: list[str], items_per_read: int) -> None:
        self.low, self.high, self._options = low, high, (statuses, items_per_read)

    def of_job(self, guid: str) -> Iterator[Scanned]:
        # `high` may name an execution of this job, or of another one in the same second. Clamp it to the keys
        # of this job in that second: another guid sorts above or below all of them.
        second, _, identifier = self.high.partition("#")
        _, high, _ = sorted((f"{guid}-{second}", identifier, f"{guid}-{second}~"))
        return self._scan(store.pages_of_job(guid, f"{guid}-{self.low}", high, *self._options))

    def of_service(self, service: str) -> Iterator[Scanned]:
        return self._scan(store.pages_of_service(service, self.low, self.high, *self._options))

    def of_day(self, day_shard: str) -> Iterator[Scanned]:
        return self._scan(store.pages_of_day(day_shard, self.low, self.high, *self._options))

    def _scan(self, pages: Iterator[Any]) -> Iterator[Scanned]:
        return scan(pages, lambda item: time_key(item["execution_id"]), lambda key: key < self.high)
