"""The history, newest first: of a job, of a service, of all, or by a search.

A search is answered by merging partitions, each of which is sorted by time: a job's own, a service's, or the
shards of a day, one day after the other. A page ends at a time_key, and the next begins below it; so pages
stay as they are while new executions arrive.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import executions
from jobmanager.clock import ms_of_iso, now_ms, stamp
from jobmanager.fields import bad_field, names, refuse_unknown, strings
from jobmanager.http import answer, api_handler, json_body, path_parameter, query_parameters
from jobmanager.items import from_item, to_item
from jobmanager.names import is_guid, job_guid, time_key
from jobmanager.paging import MOST, decode_more, encode_more, from_query_string, limit, page
from jobmanager.settings import number_setting, setting
from jobmanager.steps import step
from jobmanager.tables import query_pages

_TIME_KEY = re.compile(r"[0-9]{8}T[0-9]{6}Z(#[0-9A-Za-z-]{1,80})?")
_FIELDS = ("service_name", "job_name", "job_guid", "status", "since", "until", "limit", "more")
_DAY_MS = 86_400_000
_DAYS_A_PAGE = 32
_START_OF_TIME, _END_OF_TIME = "0", "9"
_STATUSES = (executions.RUNNING, *executions.FINAL_STATUSES)


def list_executions(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """A page of the executions that match every field given, newest scheduled_time first.

    ``query``: ``service_name``, ``job_name``, ``job_guid``, ``status``, each a string or an array of strings;
    ``since`` (inclusive) and ``until`` (exclusive) as UTC times; ``limit``, ``more``. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    most = limit(query.get("limit"))
    wanted = {name: names(query, name) for name in ("service_name", "job_name")}
    wanted |= {name: strings(query, name) for name in ("job_guid", "status")}
    _check(wanted)
    low, high = _time(query, "since", _START_OF_TIME), _time(query, "until", _END_OF_TIME)
    if query.get("more") is not None:
        high = min(high, _position(query["more"]))
    found, more = _newest_first(wanted, low, high, most, at_ms)
    return page([executions.execution_view(record, whole=False) for record in executions.many(found)], more)


def _check(wanted: dict[str, list[str]]) -> None:
    if set(wanted["status"]) - set(_STATUSES):
        raise bad_field("status", f"expected one of {', '.join(_STATUSES)}")
    if not all(map(is_guid, wanted["job_guid"])):
        raise bad_field("job_guid", "expected the job_guid of a job")
    if wanted["job_guid"] and (wanted["service_name"] or wanted["job_name"]):
        raise bad_field("job_guid", "expected either job_guid, or service_name and job_name")
    if wanted["job_name"] and not wanted["service_name"]:
        raise bad_field("service_name", "expected the service of job_name")
    if len(wanted["service_name"]) * len(wanted["job_name"]) > MOST:
        raise bad_field("job_name", f"expected at most {MOST} jobs in all")


def _time(query: dict[str, Any], name: str, default: str) -> str:
    if query.get(name) is None:
        return default
    try:
        return stamp(ms_of_iso(str(query[name])))
    except ValueError:
        raise bad_field(name, "expected a UTC time such as 2026-11-23T02:00:00Z") from None


def _position(more: Any) -> str:
    below = decode_more(str(more)).get("below")
    if not isinstance(below, str) or not _TIME_KEY.fullmatch(below):
        raise bad_field("more", "expected the value of paging.more of the page before")
    return below


def _newest_first(
    wanted: dict[str, list[str]], low: str, high: str, most: int, at_ms: int
) -> tuple[list[str], str | None]:
    """At most ``most`` time_keys in ``low <= time_key < high``, and where the next page begins."""
    if low >= high:
        return [], None
    guids = wanted["job_guid"] or [job_guid(s, n) for s in wanted["service_name"] for n in wanted["job_name"]]
    statuses = wanted["status"]
    if guids:
        sources = [_of_job(guid, low, high, statuses) for guid in guids]
    elif wanted["service_name"]:
        sources = [_of_service(service, low, high, statuses) for service in wanted["service_name"]]
    else:
        return _of_all(low, high, statuses, most, at_ms)
    found = list(islice(merge(*sources, reverse=True), most + 1))
    return found[:most], _more(found[most - 1]) if len(found) > most else None


def _of_all(low: str, high: str, statuses: list[str], most: int, at_ms: int) -> tuple[list[str], str | None]:
    """Day by day, back to ``since`` or the end of retention; a page looks at a month at most."""
    tomorrow, kept_ms = at_ms + _DAY_MS, number_setting("RETENTION_DAYS") * _DAY_MS
    newest = tomorrow if high == _END_OF_TIME else min(tomorrow, _ms_of_stamp(high))
    oldest = at_ms - kept_ms if low == _START_OF_TIME else max(at_ms - kept_ms, _ms_of_stamp(low))
    found: list[str] = []
    day_ms = newest - newest % _DAY_MS + _DAY_MS
    for _ in range(_DAYS_A_PAGE):
        day_ms -= _DAY_MS
        if day_ms + _DAY_MS <= oldest:
            return found, None
        shards = (
            _of_index("by_day", "day_shard", executions.day_shard(day_ms, number), low, high, statuses)
            for number in range(executions.SHARDS_OF_A_DAY)
        )
        found += islice(merge(*shards, reverse=True), most + 1 - len(found))
        if len(found) > most:
            return found[:most], _more(found[most - 1])
    return found, _more(stamp(day_ms)) if stamp(day_ms) > low else None


def _of_job(guid: str, low: str, high: str, statuses: list[str]) -> Iterator[str]:
    keys = _query(
        {},
        "job_guid = :source AND execution_id BETWEEN :low AND :high",
        {":source": guid, ":low": f"{guid}-{low[:16]}", ":high": f"{guid}-{high[:16]}~"},
        statuses,
    )
    return (key for key in keys if low <= key < high)


def _of_service(service: str, low: str, high: str, statuses: list[str]) -> Iterator[str]:
    return _of_index("by_service", "service_name", service, low, high, statuses)


def _of_index(
    index: str, hash_key: str, source: str, low: str, high: str, statuses: list[str]
) -> Iterator[str]:
    keys = _query(
        {"IndexName": index},
        f"{hash_key} = :source AND time_key BETWEEN :low AND :high",
        {":source": source, ":low": low, ":high": high},
        statuses,
    )
    return (key for key in keys if key < high)


def _query(
    index: dict[str, Any], condition: str, values: dict[str, Any], statuses: list[str]
) -> Iterator[str]:
    """The time_keys of a partition, newest first, read page by page as they are asked for."""
    request: dict[str, Any] = {
        "TableName": setting("EXECUTIONS_TABLE"),
        "KeyConditionExpression": condition,
        "ProjectionExpression": "execution_id",
        "ScanIndexForward": False,
        **index,
    }
    if statuses:
        chosen = {f":status{number}": status for number, status in enumerate(statuses)}
        request["FilterExpression"] = f"#status IN ({', '.join(chosen)})"
        request["ExpressionAttributeNames"] = {"#status": "status"}
        values = values | chosen
    for answered in query_pages(**request, ExpressionAttributeValues=to_item(values)):
        yield from (time_key(from_item(item)["execution_id"]) for item in answered["Items"])


def _more(below: str) -> str:
    return encode_more({"below": below})


def _ms_of_stamp(key: str) -> int:
    return round(datetime.strptime(f"{key[:15]}+0000", "%Y%m%dT%H%M%S%z").timestamp() * 1000)


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with a page of executions, or 400."""
    if event["requestContext"]["http"]["method"] == "POST":
        return answer(200, list_executions(json_body(event), now_ms()))
    query = from_query_string(query_parameters(event), ("service_name", "job_name", "job_guid", "status"))
    query |= {name: path_parameter(event, name) for name in event.get("pathParameters") or {}}
    return answer(200, list_executions(query, now_ms()))
