"""The search of a list, from the path, the query string, or the body of a POST."""

import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from jobmanager.api.fields import bad_field, expect_object
from jobmanager.api.http import Event, json_body, path_parameter, query_parameters

# OpenAPI's style deepObject, which writes an object into a query string.
_TAG = re.compile(r"tags\[(.*)\]", re.DOTALL)

type Search = dict[str, Any]


def canonical(list_name: str, **fields: Any) -> Search:
    """Returns the canonical form of a search of a list: equal searches are equal, however they are written.

    It leaves out empty fields. ``limit`` and ``more`` are not part of a search.
    """
    ordered = {name: sorted(set(v)) if isinstance(v, list) else v for name, v in fields.items() if v}
    return {"list": list_name, **ordered}


def search_query(
    event: Event, multi_valued: tuple[str, ...] = (), repeated: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Collects the fields of a search, without checking them.

    In a query string, the fields ``multi_valued`` may have several values each, separated by commas, or with
    the name repeated, which API Gateway turns into commas. The values of the fields ``repeated`` may hold
    commas, so only a repeated name gives them several. Write tags as ``tags[team]=payments``. Raises
    BadRequest for a field that is given twice, which commas would not show: ``tags[team]=a&tags[team]=b``
    would be the tag ``a,b``.
    """
    is_post = event["requestContext"]["http"]["method"] == "POST"
    # API Gateway decodes queryStringParameters, but joins repeated values; here they are apart:
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    raw = parse_qsl(event.get("rawQueryString", ""), keep_blank_values=True)
    times = Counter(name for name, _ in raw)
    _refuse_repeated(times, (*multi_valued, *repeated))
    apart = {name: [value for found, value in raw if found == name] for name in repeated if times[name] > 1}
    of_the_path = {name: path_parameter(event, name) for name in event.get("pathParameters") or {}}
    found: dict[str, Any] = {}
    for part in (
        expect_object(json_body(event)) if is_post else {},
        _from_query_string(query_parameters(event), multi_valued) | apart,
        of_the_path,
    ):
        for name, value in part.items():
            if name in found:
                raise bad_field(name, "expected it once: in the path, in the query string or in the body")
            found[name] = value
    return found


def _refuse_repeated(times: Counter[str], allowed: tuple[str, ...]) -> None:
    for name, count in times.items():
        if count > 1 and name not in allowed:
            is_tag = _TAG.fullmatch(name)
            raise bad_field(
                "tags" if is_tag else name, f"expected {name if is_tag else 'it'} once, not {count} times"
            )


def _from_query_string(query: dict[str, str], multi_valued: tuple[str, ...]) -> dict[str, Any]:
    tags = {match[1]: value for name, value in query.items() if (match := _TAG.fullmatch(name))}
    if tags and "tags" in query:
        raise bad_field("tags", "expected tags[name]=value, such as tags[team]=payments")
    plain = {name: value for name, value in query.items() if not _TAG.fullmatch(name)}
    found: dict[str, Any] = {
        name: value.split(",") if name in multi_valued else value for name, value in plain.items()
    }
    return found | {"tags": tags} if tags else found
