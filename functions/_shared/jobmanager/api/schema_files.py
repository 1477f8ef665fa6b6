"""The JSON Schemas in schemas/, by which bodies are checked and the API is described."""

import json
from pathlib import Path
from typing import Any

_SCHEMAS = Path(__file__).parent / "schemas"


def schema_file(name: str) -> dict[str, Any]:
    """``schemas/<name>.schema.json``, read anew."""
    found: dict[str, Any] = json.loads((_SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return found
