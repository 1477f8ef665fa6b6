"""The JSON Schemas in schemas/, which validate bodies and are part of the OpenAPI document."""

import json
from pathlib import Path
from typing import Any

_SCHEMAS = Path(__file__).parent / "schemas"


def schema_file(name: str) -> dict[str, Any]:
    """Reads ``schemas/<name>.schema.json``."""
    found: dict[str, Any] = json.loads((_SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return found
