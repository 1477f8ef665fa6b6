"""Each type of the client is its schema of the OpenAPI document: the same fields, of like types."""

import types
from collections.abc import Mapping, Sequence
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest

from sjm.client import errors
from sjm.client import types as client_types
from tests.openapi_document import Json
from tests.unit.sjm.stand_in import DOCUMENT

SCHEMAS: dict[str, Json] = DOCUMENT.content["components"]["schemas"]
OTHER_NAMES = {
    "JobPage": "Page",
    "ExecutionPage": "Page",
    "LimitPage": "Page",
    "WebhookSecretPage": "Page",
    "Problem": "ProblemDocument",
}
# Of messages to services, and of what the client builds itself or turns into an exception.
WITHOUT_A_TYPE = {
    "Cancel",
    "CreateWebhookSecret",
    "GatewayError",
    "Pause",
    "RunNow",
    "Notification",
    "TestNotification",
    "BackfillRequest",
    "ExecutionEvent",
    "LateEvent",
    "JobEvent",
    "OrphanedEvent",
    "ParentWithState",
    "StreakEvent",
    "ReconciledEvent",
    "MissedEvent",
}
# A callback's fields depend on its status, so its schema lists them by case.
BY_CASE = {"Callback"}
OBJECTS = {name for name, schema in SCHEMAS.items() if schema.get("type") == "object"} - WITHOUT_A_TYPE


def type_of(name: str) -> Any:
    return getattr(client_types, OTHER_NAMES.get(name, name))


def fits(schema: Json, hint: Any) -> bool:
    """Whether a type is as wide as a schema."""
    schema = DOCUMENT.resolved(schema)
    if get_origin(hint) in (NotRequired, Required):
        return fits(schema, get_args(hint)[0])
    if hint is Any:
        return not schema.keys() & {"type", "enum", "anyOf", "const"}
    if "enum" in schema or "const" in schema:
        return get_origin(hint) is Literal and set(get_args(hint)) == set(
            schema.get("enum", [schema.get("const")])
        )
    several = schema.get("anyOf") or [
        {**schema, "type": each} for each in schema["type"] if isinstance(schema["type"], list)
    ]
    if several:
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else [hint]
        return len(options) == len(several) and all(any(fits(s, o) for o in options) for s in several)
    kind = schema["type"]
    if kind == "array":
        return get_origin(hint) in (list, Sequence) and (
            "$ref" not in schema["items"] or fits(schema["items"], get_args(hint)[0])
        )
    if kind == "object" and is_typeddict(hint):
        return set(schema.get("properties", {})) == set(get_type_hints(hint))
    if kind == "object":
        return get_origin(hint) in (dict, Mapping)
    return bool(
        hint is {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}[kind]
    )


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_a_type_has_the_fields_of_its_schema(name: str) -> None:
    schema, typed = SCHEMAS[name], type_of(name)
    properties = dict(schema.get("properties", {}))
    for case in schema.get("allOf", []) if name in BY_CASE else []:
        properties |= {field: each for field, each in case["then"]["properties"].items() if each}

    assert typed.__required_keys__ == set(schema.get("required", []))
    assert typed.__optional_keys__ == properties.keys() - set(schema.get("required", []))


@pytest.mark.parametrize("name", sorted(OBJECTS - set(OTHER_NAMES) - BY_CASE))
def test_the_fields_of_a_type_are_as_wide_as_in_its_schema(name: str) -> None:
    hints = get_type_hints(type_of(name), include_extras=True)

    assert [
        field for field, each in SCHEMAS[name]["properties"].items() if not fits(each, hints[field])
    ] == []


def test_a_type_that_is_too_narrow_or_another_is_found() -> None:
    assert not fits({"type": "string"}, int)
    assert not fits({"enum": ["a", "b"]}, Literal["a"])
    assert not fits({"type": ["array", "null"], "items": {}}, list[str])
    assert not fits(SCHEMAS["Paused"], client_types.Seen)
    assert not fits({"type": "array", "items": {"$ref": "#/components/schemas/Seen"}}, list[str])


def test_each_type_of_problem_has_its_exception() -> None:
    assert errors.BY_TYPE.keys() == set(SCHEMAS["Problem"]["properties"]["type"]["enum"])


def test_each_status_of_the_document_has_its_exception() -> None:
    """A status without a problem document is that of API Gateway."""
    statuses = {
        status for operation in DOCUMENT.operations for status in DOCUMENT.answers(operation) if status >= 400
    }

    assert errors.BY_STATUS.keys() == statuses
