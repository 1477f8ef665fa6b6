"""Validates bodies against the JSON Schemas in schemas/; each error names its field."""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from jobmanager.api.schema_files import schema_file
from jobmanager.core.errors import FieldError, pointer_to


def schema_errors(schema_name: str, body: Any) -> list[FieldError]:
    """Returns all errors of ``body`` against ``schemas/<schema_name>.schema.json``."""
    errors = _validator(schema_name).iter_errors(body)
    found = [field_error for error in errors for field_error in _field_errors(error)]
    return sorted(found, key=lambda field_error: field_error["pointer"])


@cache
def _validator(schema_name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_file(schema_name))


def _field_errors(error: ValidationError) -> list[FieldError]:
    instance: Any = error.instance
    schema: Any = error.schema
    wanted: Any = error.validator_value
    at = pointer_to(*error.absolute_path)
    if error.validator == "required":
        missing = [name for name in wanted if name not in instance]
        return [
            FieldError(pointer=at + pointer_to(name), detail="this field is required") for name in missing
        ]
    if error.validator == "additionalProperties" and wanted is False:
        known = schema["properties"]
        unknown = [name for name in instance if name not in known]
        return [
            FieldError(
                pointer=at + pointer_to(name), detail=f"unknown field: expected one of {', '.join(known)}"
            )
            for name in unknown
        ]
    if error.validator == "anyOf" and all(each.keys() == {"required"} for each in wanted):
        names = [name for each in wanted for name in each["required"]]
        return [FieldError(pointer=at, detail=f"expected at least one of {', '.join(names)}")]
    return [FieldError(pointer=at, detail=_expectation(error))]


def _expectation(error: ValidationError) -> str:
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            return f"expected {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
        case "enum":
            return f"expected one of {', '.join(map(json.dumps, wanted))}"
        case "const":
            return f"expected {json.dumps(wanted)}"
        case "minimum":
            return f"expected at least {wanted}"
        case "maximum":
            return f"expected at most {wanted}"
        case "minLength":
            return f"expected at least {wanted} characters"
        case "maxLength":
            return f"expected at most {wanted} characters"
        case _:
            return error.message
