"""Lets botocore's clients of DynamoDB ask the stand-in, in place of the network.

botocore still checks the parameters, calls its hooks around a call, and raises its errors. It does not retry,
and does not parse the answer.
"""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests.stand_ins.dynamodb import Tables
from tests.stand_ins.errors import Unsupported


def answer_from(tables: Tables, patch: pytest.MonkeyPatch) -> None:
    """Sends the requests of all clients of DynamoDB to these tables."""
    ask_the_network: Any = BaseClient._make_request  # type: ignore[attr-defined]

    def make_request(client: BaseClient, operation: Any, request: Any, context: Any) -> Any:
        if client.meta.service_model.service_name != "dynamodb":
            return ask_the_network(client, operation, request, context)
        try:
            answer = getattr(tables, xform_name(operation.name))(**json.loads(request["body"]))
        except ClientError as error:
            return _answered(400, error.response)
        except Exception as error:
            raise Unsupported(f"{operation.name} {request['body']!r}") from error
        return _answered(200, answer)

    patch.setattr(BaseClient, "_make_request", make_request)


def _answered(status: int, answer: Any) -> tuple[Any, Any]:
    """What botocore makes of an answer: the answer of HTTP, and its parsed body."""
    metadata = {"HTTPStatusCode": status, "RetryAttempts": 0}
    return SimpleNamespace(status_code=status), {**answer, "ResponseMetadata": metadata}
