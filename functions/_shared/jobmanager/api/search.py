"""What a list is searched by, be it given in the path, in a query string, or in the body of a POST."""

import re
from typing import Any

from jobmanager.api.fields import bad_field, object_expected
from jobmanager.api.http import Event, json_body, path_parameter, query_parameters

# As OpenAPI's style deepObject writes an object into a query string.
_TAG = re.compile(r"tags\[(.*)\]", re.DOTALL)

type Search = dict[str, Any]


def canonical(listed: str, **fields: Any) -> Search:
    """A search in the one form that all its spellings share; ``listed`` says which list it is of.

    Fields that are not searched by are left out; ``limit`` and ``more`` do not belong to it.
    """
    ordered = {name: sorted(set(v)) if isinstance(v, list) else v for name, v in fields.items() if v}
    return {"list": listed, **ordered}


def search_query(event: Event, several: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a search, not looked at yet; ``several`` are those that may have several values.

    In a query string the values of these are joined by commas, as API Gateway joins those of a repeated name,
    and tags are written as ``tags[team]=payments``. Raises BadRequest for a field that is given twice.
    """
    is_post = event["requestContext"]["http"]["method"] == "POST"
    of_the_path = {name: path_parameter(event, name) for name in event.get("pathParameters") or {}}
    found: dict[str, Any] = {}
    for part in (
        object_expected(json_body(event)) if is_post else {},
        _from_query_string(query_parameters(event), several),
        of_the_path,
    ):
        for name, value in part.items():
            if name in found:
                raise bad_field(name, "expected only once: in the path, the query string or the body")
            found[name] = value
    return found


def _from_query_string(query: dict[str, str], several: tuple[str, ...]) -> dict[str, Any]:
    tags = {match[1]: value for name, value in query.items() if (match := _TAG.fullmatch(name))}
    if tags and "tags" in query:
        raise bad_field("tags", "expected tags[name]=value")
    plain = {name: value for name, value in query.items() if not _TAG.fullmatch(name)}
    found: dict[str, Any] = {
        name: value.split(",") if name in several else value for name, value in plain.items()
    }
    return found | {"tags": tags} if tags else found
