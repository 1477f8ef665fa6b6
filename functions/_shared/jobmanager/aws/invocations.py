"""Invokes functions of the stage asynchronously. Lambda repeats an invocation that fails."""

import json
from collections.abc import Mapping
from typing import Any

from jobmanager.aws.clients import lambdas


def invoke_later(function: str, event: Mapping[str, Any]) -> None:
    """Invokes a function, given by its name or ARN, and does not wait for it.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
    """
    lambdas().invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())
