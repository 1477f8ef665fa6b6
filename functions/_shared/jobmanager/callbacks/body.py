"""Validates the body of a callback."""

import json
from typing import Any

from jobmanager.api.fields import size_error
from jobmanager.api.schema import schema_errors
from jobmanager.core.errors import FieldError
from jobmanager.executions.outcome import MAX_BYTES

_MAX_ERROR_BYTES = 32 * 1024


def callback_errors(body: Any, ttl_seconds: int) -> list[FieldError]:
    """Returns all errors in the body of a callback."""
    errors = schema_errors("callback", body)
    if not isinstance(body, dict):
        return errors
    for name, max_bytes in MAX_BYTES.items():
        if isinstance(body.get(name), str):
            errors += size_error(f"/{name}", body[name], max_bytes)
    if "error" in body:
        errors += size_error("/error", _as_text(body["error"]), _MAX_ERROR_BYTES)
    extend = body.get("extend_seconds")
    if not errors and isinstance(extend, int | float) and extend > ttl_seconds:
        errors.append(
            FieldError(pointer="/extend_seconds", detail=f"expected at most ttl_seconds, {ttl_seconds}")
        )
    return errors


def _as_text(error: Any) -> str:
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
