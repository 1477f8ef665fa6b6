"""The fields of a request's body or query, each checked with an error that names it."""

import json
from typing import Any

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import BadRequest, FieldError, pointer_to
from jobmanager.core.names import NAME_EXPECTED, is_guid, is_name

MOST_STRINGS = 100
_MOST_REASON_CHARACTERS = 1024
_MOST_OWNER_CHARACTERS = 256
_MOST_TAGS = 10
_MOST_TAG_NAME_CHARACTERS = 128
_MOST_TAG_VALUE_CHARACTERS = 256


def strings(query: dict[str, Any], name: str) -> list[str]:
    """A search field that may be one string, several, or absent. Raises BadRequest."""
    value = query.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) and each for each in values):
        raise bad_field(name, "expected a string or an array of strings")
    if len(values) > MOST_STRINGS:
        raise bad_field(name, f"expected at most {MOST_STRINGS} strings")
    return list(dict.fromkeys(values))


def object_expected(body: Any) -> dict[str, Any]:
    """The body, if it is an object; else raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("expected an object", errors=[FieldError(pointer="", detail="expected object")])
    return body


def refuse_unknown(query: Any, known: tuple[str, ...]) -> None:
    """Raises BadRequest, naming each field that the request does not take."""
    object_expected(query)
    unknown = [name for name in query if name not in known]
    if unknown:
        expected = f"unknown field: expected one of {', '.join(known)}"
        raise BadRequest(
            f"{len(unknown)} fields are unknown",
            errors=[FieldError(pointer=pointer_to(name), detail=expected) for name in unknown],
        )


def bad_field(name: str, detail: str) -> BadRequest:
    """The refusal of one field."""
    return BadRequest(f"{name}: {detail}", errors=[FieldError(pointer=f"/{name}", detail=detail)])


def names(query: dict[str, Any], name: str) -> list[str]:
    """Like :func:`strings`, of names that a service or a job could have."""
    values = strings(query, name)
    if not all(map(is_name, values)):
        raise bad_field(name, NAME_EXPECTED)
    return values


def guids(query: dict[str, Any]) -> list[str]:
    """The ``job_guid`` of a search, like :func:`strings`."""
    values = strings(query, "job_guid")
    if not all(map(is_guid, values)):
        raise bad_field("job_guid", "expected the job_guid of a job")
    return values


def few_jobs(service_names: list[str], job_names: list[str]) -> None:
    """Raises BadRequest if services and jobs together name more than 100 jobs."""
    if len(service_names) * len(job_names) > MOST_STRINGS:
        raise bad_field("job_name", f"expected at most {MOST_STRINGS} jobs in all")


def time_ms(name: str, value: Any) -> int:
    """A UTC time, in ms since 1970. Raises BadRequest."""
    try:
        return ms_of_iso(str(value))
    except ValueError:
        raise bad_field(name, "expected a UTC time such as 2026-11-23T02:00:00Z") from None


def owners(query: dict[str, Any]) -> list[str]:
    """The ``owner`` of a search, like :func:`strings`."""
    values = strings(query, "owner")
    if any(len(value) > _MOST_OWNER_CHARACTERS for value in values):
        raise bad_field("owner", f"expected at most {_MOST_OWNER_CHARACTERS} characters")
    return values


def tags(query: dict[str, Any]) -> dict[str, str]:
    """The ``tags`` of a search, all of which a job must have; by default none. Raises BadRequest."""
    value = query.get("tags")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise bad_field("tags", "expected an object of strings; in a query string, tags[name]=value")
    if len(value) > _MOST_TAGS:
        raise bad_field("tags", f"expected at most {_MOST_TAGS} tags")
    if not all(1 <= len(name) <= _MOST_TAG_NAME_CHARACTERS for name in value):
        raise bad_field("tags", f"expected names of 1 to {_MOST_TAG_NAME_CHARACTERS} characters")
    if any(len(each) > _MOST_TAG_VALUE_CHARACTERS for each in value.values()):
        raise bad_field("tags", f"expected values of at most {_MOST_TAG_VALUE_CHARACTERS} characters")
    return dict(value)


def size_error(pointer: str, text: str, most_bytes: int) -> list[FieldError]:
    """JSON Schema counts characters; what is stored and sent is counted in bytes of UTF-8.

    As JSON it may be twice as long. Control characters are six times: a notification would outgrow SNS.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > most_bytes:
        detail = f"expected at most {most_bytes} bytes of UTF-8, not {size}"
        return [FieldError(pointer=pointer, detail=detail)]
    size = len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > 2 * most_bytes + len('""'):
        detail = f"expected at most {2 * most_bytes} bytes as JSON, not {size}: fewer control characters"
        return [FieldError(pointer=pointer, detail=detail)]
    return []


def reason(value: Any) -> str:
    """Why somebody does something: 1 to 1024 characters. Raises BadRequest."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MOST_REASON_CHARACTERS:
        raise bad_field("reason", f"expected a string of 1 to {_MOST_REASON_CHARACTERS} characters")
    return value
