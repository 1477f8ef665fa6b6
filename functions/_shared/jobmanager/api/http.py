"""Requests and responses of the HTTP API (payload format 2.0). A refusal becomes an RFC 9457 problem.

The format of the events:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import expect_object
from jobmanager.core.errors import BadRequest, Refused, UnsupportedMediaType
from jobmanager.core.strict_json import parse
from jobmanager.runtime.logs import logger

type Event = dict[str, Any]
type Answer = dict[str, Any]
type Handler = Callable[[Event, LambdaContext], Answer]


def answer(status: int, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Builds a JSON response, or one without a body for 204. ``headers`` are added; use lower-case names."""
    if body is not None:
        return _json_answer(status, "application/json", body, headers)
    return {"statusCode": status} | ({"headers": headers} if headers else {})


def api_handler(handler: Handler) -> Handler:
    """Returns a problem document if a handler raises Refused, and a plain 500 for any other error.

    A 500 gives no details to the caller. They are in the log, under the ``request_id`` of the response.
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
    """Builds the response for a refusal."""
    return _json_answer(refusal.http_status, "application/problem+json", problem_document(refusal))


def problem_document(refusal: Refused) -> dict[str, Any]:
    """Builds the RFC 9457 document of a refusal."""
    return {
        "type": refusal.type,
        "title": refusal.title,
        "status": refusal.http_status,
        "detail": refusal.detail,
        **refusal.extra,
    }


def path_parameter(event: Event, name: str) -> str:
    """Returns a parameter of the path, percent-decoded."""
    return unquote(event["pathParameters"][name])


def query_parameters(event: Event) -> dict[str, str]:
    """Returns the query string. API Gateway joins the values of a repeated name with commas."""
    return event.get("queryStringParameters") or {}


def caller_arn(event: Event) -> str:
    """Returns the ARN of the caller who signed the request."""
    iam = event.get("requestContext", {}).get("authorizer", {}).get("iam", {})
    return str(iam.get("userArn", "unknown"))


def header(event: Event, name: str) -> str | None:
    """Returns a header by its name in lower case, as API Gateway passes it; None if it was not sent."""
    value = event.get("headers", {}).get(name)
    return None if value is None else str(value)


def optional_json_body(event: Event) -> dict[str, Any]:
    """Like :func:`json_body`, for an object; returns ``{}`` if the request has no body."""
    if not event.get("body"):
        return {}
    return expect_object(json_body(event))


def json_body(event: Event) -> Any:
    """Parses the body of a request; raises UnsupportedMediaType or BadRequest if it is not JSON."""
    media_type = event.get("headers", {}).get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"expected Content-Type: application/json, not {media_type or 'nothing'}")
    raw = event.get("body") or ""
    text = _decoded(raw) if event.get("isBase64Encoded") else raw
    if _has_lost_bytes(event, text):
        raise _bad_body("the body is not UTF-8")
    if not text.strip():
        raise _bad_body("the body is empty: expected JSON")
    try:
        return parse(text)
    except ValueError as error:
        raise _bad_body(f"the body is not JSON: {error}") from None


def _decoded(raw: str) -> str:
    try:
        return base64.b64decode(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_body(f"the body is not UTF-8: byte {error.start + 1} begins no character") from None


def _has_lost_bytes(event: Event, text: str) -> bool:
    """Whether API Gateway has replaced bytes that are not UTF-8, so that the text has another length."""
    sent = header(event, "content-length")
    return "\ufffd" in text and bool(sent) and sent != str(len(text.encode("utf-8", "surrogatepass")))


def _bad_body(detail: str) -> BadRequest:
    return BadRequest(detail, errors=[{"pointer": "", "detail": detail}])


def _json_answer(
    status: int, media_type: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Answer:
    return {
        "statusCode": status,
        "headers": {"content-type": media_type, **(headers or {})},
        "body": json.dumps(body, ensure_ascii=False),
    }
