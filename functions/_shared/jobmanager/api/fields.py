"""Reads and checks the fields of a request's body or query; each error names its field."""

import re
from typing import Any

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import BadRequest, FieldError, counted, pointer_to
from jobmanager.core.json_text import dumps
from jobmanager.core.names import NAME_EXPECTED, is_guid, is_name, service_name_errors

MAX_STRINGS = 100
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_REASON_CHARACTERS = 1024
_MAX_OWNER_CHARACTERS = 256
_MAX_TAGS = 10
_MAX_TAG_NAME_CHARACTERS = 128
_MAX_TAG_VALUE_CHARACTERS = 256


def strings(query: dict[str, Any], name: str) -> list[str]:
    """Returns the values of a search field: one string, an array of strings, or absent. Raises BadRequest."""
    value = query.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) and each for each in values):
        raise bad_field(name, "expected a string or an array of strings")
    if len(values) > MAX_STRINGS:
        raise bad_field(name, f"expected at most {MAX_STRINGS} strings")
    return list(dict.fromkeys(values))


def expect_object(body: Any) -> dict[str, Any]:
    """Returns the body; raises BadRequest if it is not a JSON object."""
    if not isinstance(body, dict):
        raise BadRequest("expected a JSON object", errors=[FieldError(pointer="", detail="expected object")])
    return body


def refuse_unknown(query: Any, known: tuple[str, ...]) -> None:
    """Raises BadRequest if there are unknown fields, and names each of them."""
    expect_object(query)
    unknown = [name for name in query if name not in known]
    if unknown:
        expected = f"unknown field: expected one of {', '.join(known)}"
        raise BadRequest(
            f"{counted(len(unknown), 'field', 'unknown')}: leave {'it' if len(unknown) == 1 else 'them'} out",
            errors=[FieldError(pointer=pointer_to(name), detail=expected) for name in unknown],
        )


def bad_field(name: str, detail: str) -> BadRequest:
    """Builds the BadRequest for one field."""
    return BadRequest(f"{name}: {detail}", errors=[FieldError(pointer=f"/{name}", detail=detail)])


def names(query: dict[str, Any], name: str) -> list[str]:
    """Like :func:`strings`, for names of services or jobs."""
    values = strings(query, name)
    if not all(map(is_name, values)):
        raise bad_field(name, NAME_EXPECTED)
    for value in values if name == "service_name" else ():
        if errors := service_name_errors(value):
            raise bad_field(name, errors[0]["detail"])
    return values


def guids(query: dict[str, Any]) -> list[str]:
    """The ``job_guid`` of a search, like :func:`strings`."""
    values = strings(query, "job_guid")
    if not all(map(is_guid, values)):
        raise bad_field("job_guid", "expected the job_guid of a job, as GET on the job returns it")
    return values


def check_job_count(service_names: list[str], job_names: list[str]) -> None:
    """Raises BadRequest if the pairs of service and job names are more than 100 jobs."""
    if len(service_names) * len(job_names) > MAX_STRINGS:
        raise bad_field("job_name", f"expected at most {MAX_STRINGS} jobs: service names times job names")


def check_idempotency_key(key: str) -> None:
    """Raises BadRequest for a malformed Idempotency-Key."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise bad_field("Idempotency-Key", "expected 1 to 255 visible ASCII characters")


def boolean(name: str, value: Any) -> bool:
    """Returns a field that is true or false. Raises BadRequest."""
    if not isinstance(value, bool):
        raise bad_field(name, "expected true or false")
    return value


def time_ms(name: str, value: Any) -> int:
    """Parses a time to ms since 1970. Raises BadRequest."""
    try:
        return ms_of_iso(str(value))
    except ValueError:
        raise bad_field(
            name,
            "expected a time such as 2026-11-23T02:00:00Z or 2026-11-23T03:00:00+01:00; in a query string"
            " write %2B for +",
        ) from None


def time_or_day_ms(name: str, value: Any) -> int:
    """Like :func:`time_ms`; a day such as ``2026-11-23`` is its first moment in UTC."""
    is_day = isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value)
    return time_ms(name, f"{value}T00:00:00Z" if is_day else value)


def owners(query: dict[str, Any]) -> list[str]:
    """The ``owner`` of a search, like :func:`strings`."""
    values = strings(query, "owner")
    if any(len(value) > _MAX_OWNER_CHARACTERS for value in values):
        raise bad_field("owner", f"expected at most {_MAX_OWNER_CHARACTERS} characters")
    return values


def tags(query: dict[str, Any]) -> dict[str, str]:
    """The ``tags`` of a search; a job must have all of them. Raises BadRequest."""
    value = query.get("tags")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise bad_field("tags", "expected an object of strings; in a query string, tags[name]=value")
    if len(value) > _MAX_TAGS:
        raise bad_field("tags", f"expected at most {_MAX_TAGS} tags")
    if not all(1 <= len(name) <= _MAX_TAG_NAME_CHARACTERS for name in value):
        raise bad_field("tags", f"expected names of 1 to {_MAX_TAG_NAME_CHARACTERS} characters")
    if any(len(each) > _MAX_TAG_VALUE_CHARACTERS for each in value.values()):
        raise bad_field("tags", f"expected values of at most {_MAX_TAG_VALUE_CHARACTERS} characters")
    return dict(value)


def size_error(pointer: str, text: str, max_bytes: int) -> list[FieldError]:
    """Returns an error if a text has more bytes than allowed. JSON Schema can only count characters.

    Escaped as JSON, the text may take twice as many bytes. Control characters take six bytes each in JSON and
    could exceed SNS's limit.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        detail = f"expected at most {max_bytes} bytes of UTF-8, not {size}"
        return [FieldError(pointer=pointer, detail=detail)]
    size = len(dumps(text).encode("utf-8", "surrogatepass"))
    if size > 2 * max_bytes + len('""'):
        detail = f"expected at most {2 * max_bytes} bytes as JSON, not {size}: use fewer control characters"
        return [FieldError(pointer=pointer, detail=detail)]
    return []


def reason(value: Any) -> str:
    """The caller's reason for a request: 1 to 1024 characters. Raises BadRequest."""
    if value is None:
        detail = f"this field is required: expected a string of 1 to {_MAX_REASON_CHARACTERS} characters"
        raise bad_field("reason", detail)
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_REASON_CHARACTERS:
        raise bad_field("reason", f"expected a string of 1 to {_MAX_REASON_CHARACTERS} characters")
    return value
