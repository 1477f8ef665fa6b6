"""Reads an OpenAPI 3.1 document: lists its operations, and validates values against its schemas."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

type Json = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_URI = "urn:document"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    described: Json

    @property
    def operation_id(self) -> str:
        """The operation's name."""
        return str(self.described["operationId"])

    @property
    def route(self) -> str:
        """The route as Terraform writes it, for example ``GET /jobs``."""
        return f"{self.method.upper()} {self.path}"


class Document:
    """A whole document. References are resolved inside it."""

    def __init__(self, content: Json) -> None:
        self.content = content
        self._registry: Any = Registry().with_resource(_URI, DRAFT202012.create_resource(content))

    @cached_property
    def operations(self) -> list[Operation]:
        """All operations of the document."""
        return [
            Operation(path, method, described)
            for path, item in self.content["paths"].items()
            for method, described in item.items()
            if method in METHODS
        ]

    def resolved(self, value: Json) -> Json:
        """The target of a reference. Returns other values unchanged."""
        while "$ref" in value:
            value = self._registry.resolver(_URI).lookup(f"{_URI}{value['$ref']}").contents
        return value

    def parameters(self, operation: Operation) -> list[Json]:
        """An operation's parameters."""
        return [self.resolved(parameter) for parameter in operation.described.get("parameters", [])]

    def answers(self, operation: Operation) -> dict[int, Json]:
        """The answers of an operation, by status."""
        responses = operation.described["responses"]
        return {int(status): self.resolved(response) for status, response in responses.items()}

    def errors(self, schema: Json, value: Any) -> list[str]:
        """The errors of a value against a schema of the document."""
        validator = Draft202012Validator(self._absolute(schema), registry=self._registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def event_errors(self, event: Json) -> list[str]:
        """The errors of a message of the events topic against the schema of its ``event``."""
        schema = self._webhook_schema("event")["discriminator"]["mapping"].get(event.get("event"))
        return [f"no event {event.get('event')}"] if schema is None else self.errors({"$ref": schema}, event)

    def notification_errors(self, notification: Json) -> list[str]:
        """The errors of the body of a webhook, or of a message of the notifications topic."""
        due, test = self._webhook_schema("notification")["anyOf"]
        return self.errors(test if "test" in notification else due, notification)

    def _webhook_schema(self, name: str) -> Json:
        content = self.content["webhooks"][name]["post"]["requestBody"]["content"]
        schema: Json = content["application/json"]["schema"]
        return schema

    def operation_of(self, method: str, path: str) -> Operation | None:
        """The operation that answers a request. Like API Gateway, it prefers fewer path parameters."""
        candidates = [
            operation
            for operation in self.operations
            if operation.method == method.lower()
            and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", operation.path), path)
        ]
        return min(candidates, key=lambda operation: operation.path.count("{"), default=None)

    def _absolute(self, value: Any) -> Any:
        """The schema with references that include the document's URI."""
        if isinstance(value, list):
            return [self._absolute(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            name: f"{_URI}{inner}" if name == "$ref" and isinstance(inner, str) else self._absolute(inner)
            for name, inner in value.items()
        }


def objects(document: Document, schema: Json, seen: tuple[str, ...] = ()) -> Iterator[Json]:
    """Every schema of an object that a schema contains or refers to."""
    if (target := schema.get("$ref")) in seen:
        return
    seen = (*seen, target) if target else seen
    schema = document.resolved(schema)
    if "object" in (
        schema.get("type"),
        *([] if isinstance(schema.get("type"), str) else schema.get("type", [])),
    ):
        yield schema
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), schema.get("items")]
    for each in below:
        if isinstance(each, dict):
            yield from objects(document, each, seen)
