"""GET /openapi.json: the API's description of itself, for people and for tools. Anyone may read it.

openapi.json beside this file says all but what is said elsewhere: the schemas of the two bodies that the
functions check by a JSON Schema are those very schemas, and the server is the stage.
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

_WRITTEN = Path(__file__).parent / "openapi.json"
_CHECKED_BY_SCHEMA = {"Job": "job", "Callback": "callback"}
_OF_A_FILE = ("$schema", "$id")


def openapi(api_url: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the stage whose API is at ``api_url``."""
    document: dict[str, Any] = json.loads(_WRITTEN.read_text("utf-8"))
    document["servers"] = [{"url": api_url}]
    for name, file in _CHECKED_BY_SCHEMA.items():
        schema = {key: value for key, value in schema_file(file).items() if key not in _OF_A_FILE}
        document["components"]["schemas"][name] = schema
    return document


@cache
def _answer(api_url: str) -> dict[str, Any]:
    """Made once for each execution environment: nothing in it changes."""
    return answer(200, openapi(api_url))


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200."""
    return _answer(setting("API_URL"))
