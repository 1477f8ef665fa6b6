"""GET /openapi.json: the OpenAPI document of the stage. Anyone may read it.

It is openapi.json in this folder, completed by the version and the address of the stage, and by the JSON
Schemas with which the functions validate jobs, limits and callbacks.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.api.schema_files import schema_file
from jobmanager.core.settings import setting
from jobmanager.runtime.step import step

_DOCUMENT = Path(__file__).parent / "openapi.json"
_SCHEMA_FILES = {"Job": "job", "Callback": "callback", "LimitDefinition": "limit"}
_FILE_KEYWORDS = ("$schema", "$id")


def openapi(api_url: str, version: str) -> dict[str, Any]:
    """Builds the OpenAPI 3.1 document of the stage of this version whose API is at ``api_url``."""
    document: dict[str, Any] = json.loads(_DOCUMENT.read_text("utf-8"))
    document["info"]["version"] = version
    document["servers"] = [{"url": api_url}]
    for name, file in _SCHEMA_FILES.items():
        schema = {key: value for key, value in schema_file(file).items() if key not in _FILE_KEYWORDS}
        document["components"]["schemas"][name] = schema
    return document


@cache
def _answer(api_url: str, version: str) -> dict[str, Any]:
    """Builds the response once for each execution environment, because it never changes."""
    return answer(200, openapi(api_url, version))


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the document."""
    return _answer(setting("API_URL"), setting("VERSION"))
