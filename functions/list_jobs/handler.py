"""GET /jobs, GET /services/{service_name}/jobs, POST /jobs: lists jobs, or searches them.

A search is answered from a list of sources, each a query of an index in the order of job_key; a page says
from which source and job_key the next one goes on.
"""

from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import jobs
from jobmanager.aws import dynamodb
from jobmanager.fields import bad_field, names, refuse_unknown, strings
from jobmanager.http import answer, api_handler, json_body, path_parameter, query_parameters
from jobmanager.items import from_item, to_item
from jobmanager.job import job_view
from jobmanager.names import job_guid, job_key, split_job_key
from jobmanager.paging import decode_more, encode_more, from_query_string, limit, page
from jobmanager.settings import setting
from jobmanager.steps import step
from jobmanager.tables import query_pages

_LONGEST_KEY = 129
_FIELDS = ("service_name", "job_name", "job_guid", "limit", "more")


def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """A page of the jobs that match every field given.

    ``query``: ``service_name``, ``job_name``, ``job_guid``, each a string or an array of strings; ``limit``,
    ``more``. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    most = limit(query.get("limit"))
    after = _after(query)
    services, job_names = (names(query, field) for field in ("service_name", "job_name"))
    guids = strings(query, "job_guid")
    matching = (
        key for key in _keys(services, job_names, guids, after) if _matches(key, services, job_names, guids)
    )
    keys = [key for key, _ in zip(matching, range(most + 1), strict=False)]
    more = encode_more({"after": keys[most - 1]}) if len(keys) > most else None
    return page([job_view(job, whole=False) for job in jobs.many(keys[:most])], more)


def _after(query: dict[str, Any]) -> str:
    if query.get("more") is None:
        return ""
    after = decode_more(str(query["more"])).get("after")
    if not isinstance(after, str) or len(after) > _LONGEST_KEY:
        raise bad_field("more", "expected the value of paging.more of the page before")
    return after


def _keys(services: list[str], job_names: list[str], guids: list[str], after: str) -> Iterator[str]:
    """The job_keys after ``after``, sorted, of the narrowest sources that hold all that may match."""
    if services and job_names:
        yield from (key for key in sorted(job_key(s, n) for s in services for n in job_names) if key > after)
    elif guids:
        yield from (key for key in sorted(_key_of_guid(guids)) if key > after)
    else:
        for prefix in sorted(f"{service}/" for service in services) or [""]:
            yield from _catalog(prefix, after)


def _key_of_guid(guids: list[str]) -> Iterator[str]:
    for guid in guids:
        answer = dynamodb().query(
            TableName=setting("JOBS_TABLE"),
            IndexName="by_guid",
            KeyConditionExpression="job_guid = :guid",
            ExpressionAttributeValues=to_item({":guid": guid}),
        )
        for item in map(from_item, answer["Items"]):
            yield job_key(item["service_name"], item["job_name"])


def _catalog(prefix: str, after: str) -> Iterator[str]:
    if after.startswith(prefix):
        low = after
    elif after > prefix:
        return
    else:
        low = prefix
    # Names have no character above "~", so this is the end of what begins with the prefix.
    pages = query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="catalog",
        KeyConditionExpression="#catalog = :jobs AND job_key BETWEEN :low AND :high",
        ExpressionAttributeNames={"#catalog": "catalog"},
        ExpressionAttributeValues=to_item({":jobs": "jobs", ":low": low or "!", ":high": f"{prefix}~"}),
    )
    for answered in pages:
        yield from (key for item in answered["Items"] if (key := from_item(item)["job_key"]) > after)


def _matches(key: str, services: list[str], job_names: list[str], guids: list[str]) -> bool:
    service_name, job_name = split_job_key(key)
    return (
        (not services or service_name in services)
        and (not job_names or job_name in job_names)
        and (not guids or job_guid(service_name, job_name) in guids)
    )


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with a page of jobs, or 400."""
    if event["requestContext"]["http"]["method"] == "POST":
        return answer(200, list_jobs(json_body(event)))
    query = from_query_string(query_parameters(event), ("service_name", "job_name", "job_guid"))
    if "service_name" in (event.get("pathParameters") or {}):
        query["service_name"] = path_parameter(event, "service_name")
    return answer(200, list_jobs(query))
