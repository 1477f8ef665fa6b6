"""Validates the body of a PUT, and turns it into the definition of a limit."""

from typing import Any, cast

from jobmanager.api.schema import schema_errors
from jobmanager.core.errors import BadRequest, FieldError, counted
from jobmanager.core.mappings import picked
from jobmanager.core.names import limit_name_errors
from jobmanager.core.settings import is_on
from jobmanager.limits.definition import DEFINITION_FIELDS, LimitDefinition


def limit_definition(service_name: str, limit_name: str, body: Any) -> LimitDefinition:
    """Returns the definition in a body. Raises BadRequest for it, or for the names of the path."""
    errors = limit_name_errors(service_name, limit_name) + schema_errors("limit", body)
    if isinstance(body, dict) and "per_second" in body and not is_on("SPREAD"):
        detail = (
            "expected no such field: this stage cannot delay starts, because its Terraform variable spread is"
            " false"
        )
        errors.append(FieldError(pointer="/per_second", detail=detail))
    if errors:
        raise BadRequest(counted(len(errors), "field", "not as expected"), errors=errors)
    return cast(LimitDefinition, picked(body, DEFINITION_FIELDS))
