"""GET /jobs, GET /services/{service_name}/jobs, POST /jobs: lists jobs, or searches them.

A search is answered from a list of sources, each in the order of job_key, which is also that of the pages: a
page ends at a job_key, and the next begins behind it. The catalog, an index, filters by owner and tags, and
may be late; so each job is looked at again as it was read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api import fields
from jobmanager.api.bounded_merge import Seen, first, items_a_read, seen
from jobmanager.api.fields import refuse_unknown
from jobmanager.api.http import answer, api_handler
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical, search_query
from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item
from jobmanager.aws.tables import query_pages
from jobmanager.core.names import job_guid, job_key, split_job_key
from jobmanager.core.settings import setting
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import job_view
from jobmanager.runtime.step import step

_SEVERAL = ("service_name", "job_name", "job_guid", "owner")
_FIELDS = (*_SEVERAL, "tags", "limit", "more")


@dataclass(frozen=True)
class _Wanted:
    """What a job must have to be listed: in each field that is searched by, one of the values."""

    services: list[str]
    job_names: list[str]
    guids: list[str]
    owners: list[str]
    tags: dict[str, str]

    def has_key(self, key: str) -> bool:
        service_name, job_name = split_job_key(key)
        return (
            (not self.services or service_name in self.services)
            and (not self.job_names or job_name in self.job_names)
            and (not self.guids or job_guid(service_name, job_name) in self.guids)
        )

    def is_met_by(self, job: jobs.Job) -> bool:
        return (not self.owners or job.get("owner") in self.owners) and (
            self.tags.items() <= job.get("tags", {}).items()
        )


def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """A page of the jobs that match every field given, in the order of their keys; it may be short, or empty.

    ``query``: ``service_name``, ``job_name``, ``job_guid``, ``owner``, each a string or an array of strings;
    ``tags``, all of which a job must have; ``limit``, ``more``. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    most = limit(query.get("limit"))
    wanted = _Wanted(
        services=fields.names(query, "service_name"),
        job_names=fields.names(query, "job_name"),
        guids=fields.guids(query),
        owners=fields.owners(query),
        tags=fields.tags(query),
    )
    fields.few_jobs(wanted.services, wanted.job_names)
    searched = canonical(
        "jobs",
        service_name=wanted.services,
        job_name=wanted.job_names,
        job_guid=wanted.guids,
        owner=wanted.owners,
        tags=wanted.tags,
    )
    after = position(query.get("more"), searched) or ""
    keys, more = first(_behind(after, wanted, most), most)
    found = [job_view(job, whole=False) for job in jobs.many(keys) if wanted.is_met_by(job)]
    return page(found, more, searched)


def _behind(after: str, wanted: _Wanted, most: int) -> Iterator[Seen]:
    """The job_keys behind ``after``, sorted, of the narrowest sources that hold all that may match."""
    if wanted.services and wanted.job_names:
        yield from _known([job_key(s, n) for s in wanted.services for n in wanted.job_names], after, wanted)
    elif wanted.guids:
        yield from _known(list(_keys_of(wanted.guids)), after, wanted)
    else:
        for prefix in sorted(f"{service}/" for service in wanted.services) or [""]:
            yield from _catalog(prefix, after, wanted, most)


def _known(keys: list[str], after: str, wanted: _Wanted) -> Iterator[Seen]:
    return (Seen(key) for key in sorted(keys) if key > after and wanted.has_key(key))


def _keys_of(guids: list[str]) -> Iterator[str]:
    for guid in guids:
        answer = dynamodb().query(
            TableName=setting("JOBS_TABLE"),
            IndexName="by_guid",
            KeyConditionExpression="job_guid = :guid",
            ExpressionAttributeValues=to_item({":guid": guid}),
        )
        for item in map(from_item, answer["Items"]):
            yield job_key(item["service_name"], item["job_name"])


def _catalog(prefix: str, after: str, wanted: _Wanted, most: int) -> Iterator[Seen]:
    if after > prefix and not after.startswith(prefix):
        return iter(())
    condition, names, values = _filter(wanted)
    pages = query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="catalog",
        # Names have no character above "~", so this is the end of what begins with the prefix.
        KeyConditionExpression="#catalog = :jobs AND job_key BETWEEN :low AND :high",
        ProjectionExpression="job_key",
        ExpressionAttributeNames={"#catalog": "catalog", **names},
        ExpressionAttributeValues=to_item(
            {":jobs": "jobs", ":low": max(after, prefix) or "!", ":high": f"{prefix}~", **values}
        ),
        Limit=items_a_read(most, filtered=bool(condition or wanted.job_names)),
        **condition,
    )
    return seen(pages, lambda item: str(item["job_key"]), lambda key: key > after and wanted.has_key(key))


def _filter(wanted: _Wanted) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Lets the index filter by what it holds: FilterExpression, its names and its values."""
    owners = {f":owner{number}": owner for number, owner in enumerate(wanted.owners)}
    names = {f"#tag{number}": name for number, name in enumerate(wanted.tags)}
    values = {f":tag{number}": value for number, value in enumerate(wanted.tags.values())}
    conditions = [f"#tags.#tag{number} = :tag{number}" for number in range(len(wanted.tags))]
    if owners:
        conditions.append(f"#owner IN ({', '.join(owners)})")
    used = ({"#tags": "tags"} if wanted.tags else {}) | ({"#owner": "owner"} if owners else {})
    return (
        {"FilterExpression": " AND ".join(conditions)} if conditions else {},
        names | used,
        owners | values,
    )


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with a page of jobs, or 400."""
    return answer(200, list_jobs(search_query(event, _SEVERAL)))
