"""Callbacks of a service to the notification that it received last."""

import json
from typing import Any

from functions.receive_callback.handler import handler
from tests.unit.functions.examples import api_event, lambda_context
from tests.unit.functions.target import Target


def answer_to(target: Target, **body: Any) -> tuple[int, dict[str, Any]]:
    """The status and the body with which a callback is answered."""
    token = target.bodies[-1]["callback_url"].rpartition("/")[2]
    answer = handler(api_event("POST", json.dumps(body), callback_token=token), lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def call_back(target: Target, **body: Any) -> int:
    """The status with which a callback is answered."""
    return answer_to(target, **body)[0]
