"""The fields of a request's body or query, each checked with an error that names it."""

from typing import Any

from jobmanager.errors import BadRequest, FieldError, pointer_to
from jobmanager.names import NAME_EXPECTED, is_name

MOST_STRINGS = 100
_MOST_REASON_CHARACTERS = 1024


def strings(query: dict[str, Any], name: str) -> list[str]:
    """A search field that may be one string, several, or absent. Raises BadRequest."""
    value = query.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) and each for each in values):
        raise bad_field(name, "expected a string or an array of strings")
    if len(values) > MOST_STRINGS:
        raise bad_field(name, f"expected at most {MOST_STRINGS} strings")
    return list(dict.fromkeys(values))


def refuse_unknown(query: Any, known: tuple[str, ...]) -> None:
    """Raises BadRequest, naming each field that the request does not take."""
    if not isinstance(query, dict):
        raise BadRequest("expected an object", errors=[FieldError(pointer="", detail="expected object")])
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


def reason(value: Any) -> str:
    """Why somebody does something: 1 to 1024 characters. Raises BadRequest."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MOST_REASON_CHARACTERS:
        raise bad_field("reason", f"expected a string of 1 to {_MOST_REASON_CHARACTERS} characters")
    return value
