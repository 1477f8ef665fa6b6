"""Lists the limits of a service."""

from itertools import islice
from typing import Any

from jobmanager.api import fields
from jobmanager.api.fields import refuse_unknown
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical
from jobmanager.limits import store
from jobmanager.limits.view import limit_view


def list_limits(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of the limits of a service, sorted by name, from consistent reads.

    ``query``: ``service_name``, ``limit``, ``more``. Raises BadRequest.
    """
    refuse_unknown(query, ("service_name", "limit", "more"))
    page_size = limit(query.get("limit"))
    (service_name,) = fields.names(query, "service_name")
    searched = canonical("limits", service_name=[service_name])
    after = position(query.get("more"), searched)
    found = list(islice(store.of_service(service_name, after, page_size + 1), page_size + 1))
    more = found[page_size - 1]["limit_name"] if len(found) > page_size else None
    views = [limit_view(each, at_ms) for each in found[:page_size]]
    return page(views, more, searched, lambda view: str(view["limit_name"]))
