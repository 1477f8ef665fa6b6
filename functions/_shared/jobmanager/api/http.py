"""Requests and answers of the HTTP API (payload format 2.0), with RFC 9457 problems for what is refused.

The event's form: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import object_expected
from jobmanager.core.errors import BadRequest, Refused, UnsupportedMediaType
from jobmanager.core.strict_json import parse
from jobmanager.runtime.logs import logger

type Event = dict[str, Any]
type Answer = dict[str, Any]
type Handler = Callable[[Event, LambdaContext], Answer]


def answer(status: int, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Answer:
    """A JSON answer; without a body for 204. ``headers``: further ones, their names in lower case."""
    if body is not None:
        return _json_answer(status, "application/json", body, headers)
    return {"statusCode": status} | ({"headers": headers} if headers else {})


def api_handler(handler: Handler) -> Handler:
    """Answers what a handler refuses as a problem document, and anything else that fails as a plain 500.

    The caller of a 500 learns nothing of the inside; the log has it, under the request id that is answered.
    """

    @wraps(handler)
    def handle(event: Event, context: LambdaContext) -> Answer:
        try:
            return handler(event, context)
        except Refused as refusal:
            logger.info("refused", extra={"status": refusal.http_status, "detail": refusal.detail})
            return problem(refusal)
        except Exception as error:
            logger.error("request failed", extra={"error": type(error).__name__}, exc_info=True)
            return _json_answer(
                500,
                "application/problem+json",
                {
                    "type": "/problems/internal-error",
                    "title": HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
                    "status": 500,
                    "detail": "The manager failed. Repeat the request; it is safe to do so.",
                    "request_id": context.aws_request_id,
                },
            )

    return handle


def problem(refusal: Refused) -> Answer:
    """A refusal as the API answers it."""
    return _json_answer(refusal.http_status, "application/problem+json", problem_document(refusal))


def problem_document(refusal: Refused) -> dict[str, Any]:
    """The RFC 9457 document of a refusal."""
    return {
        "type": refusal.type,
        "title": refusal.title,
        "status": refusal.http_status,
        "detail": refusal.detail,
        **refusal.extra,
    }


def path_parameter(event: Event, name: str) -> str:
    """A part of the path, percent-decoded."""
    return unquote(event["pathParameters"][name])


def query_parameters(event: Event) -> dict[str, str]:
    """The query string: a name given twice has its values joined by a comma."""
    return event.get("queryStringParameters") or {}


def caller_arn(event: Event) -> str:
    """Who signed the request."""
    iam = event.get("requestContext", {}).get("authorizer", {}).get("iam", {})
    return str(iam.get("userArn", "unknown"))


def header(event: Event, name: str) -> str | None:
    """A header by its name in lower case, as API Gateway gives them; None if it was not sent."""
    value = event.get("headers", {}).get(name)
    return None if value is None else str(value)


def optional_json_body(event: Event) -> dict[str, Any]:
    """The body of a request that may do without: then ``{}``. Raises like :func:`json_body`."""
    if not event.get("body"):
        return {}
    return object_expected(json_body(event))


def json_body(event: Event) -> Any:
    """The body of a request, which must be JSON; raises UnsupportedMediaType or BadRequest."""
    media_type = event.get("headers", {}).get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"expected Content-Type: application/json, not {media_type or 'nothing'}")
    raw = event.get("body") or ""
    try:
        text = base64.b64decode(raw).decode("utf-8") if event.get("isBase64Encoded") else raw
        return parse(text)
    except ValueError as error:
        detail = f"the body is not JSON: {error}"
        raise BadRequest(detail, errors=[{"pointer": "", "detail": detail}]) from None


def _json_answer(
    status: int, media_type: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Answer:
    return {
        "statusCode": status,
        "headers": {"content-type": media_type, **(headers or {})},
        "body": json.dumps(body, ensure_ascii=False),
    }
