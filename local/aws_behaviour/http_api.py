"""API Gateway's HTTP APIs: the check of signatures, and throttling."""

import contextvars
import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from ministack import app
from ministack.core import iam_evaluator, responses, sigv4
from ministack.services import apigateway

from local.aws_behaviour.wrapping import around

SERVICE, TERMINATOR = "execute-api", "aws4_request"

type Answer = tuple[int, dict[str, str], bytes]


def apply() -> None:
    """Corrects HTTP APIs. This imports the emulator's application, so the other services come first."""
    check_signatures()
    throttle_routes()


@dataclass(frozen=True)
class Sent:
    """A request as it was sent. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Refused(Exception):
    """The signature is refused. `kind` is the type of the error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def check_signatures() -> None:
    """AWS checks the signature of every call to a route with AWS_IAM.

    Ministack does not check signatures with the account's own keys, which are the keys that the local stage
    prints. With other keys, it accepts a signature for another service or region, or without the host, and
    the hash of another body in X-Amz-Content-SHA256. Its refusals are worded differently.

    API Gateway's refusals: https://repost.aws/knowledge-center/api-gateway-iam-sigv4-mismatch and
    https://repost.aws/knowledge-center/api-gateway-troubleshoot-403-forbidden
    """
    sent: contextvars.ContextVar[Sent] = contextvars.ContextVar("sent")

    @around(app, "_handle_execute_api_request")
    async def handle_execute_api_request(
        original: Callable[..., Awaitable[Any]],
        host: str,
        path: str,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        query_params: Mapping[str, Any],
        raw_path: str | None = None,
        raw_query_string: str | None = None,
    ) -> Any:
        sent.set(Sent(method, raw_path or quote(path), raw_query_string or "", headers, body))
        return await original(host, path, method, headers, body, query_params, raw_path, raw_query_string)

    def refusal(api_id: str, stage: str, method: str, path: str) -> Answer | None:
        if apigateway.route_authorization_type(api_id, stage, method, path) == "AWS_IAM":
            account, region = apigateway.find_api_scope(api_id)
            try:
                check_signature(sent.get(), account, region)
            except Refused as refused:
                headers = {"Content-Type": "application/json", "x-amzn-errortype": refused.kind}
                return 403, headers, json.dumps({"message": str(refused)}).encode()
        return None

    refuse_calls(refusal)


def throttle_routes() -> None:
    """AWS answers 429 if a route gets more requests than its stage allows; ministack has no limit.

    Each route has a bucket of at most `throttlingBurstLimit` tokens and gets `throttlingRateLimit` a second.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
    """
    buckets: dict[tuple[str, str, str], Bucket] = {}

    def refusal(api_id: str, stage: str, method: str, path: str) -> Answer | None:
        route, limits = _route(api_id, stage, method, path)
        rate, burst = limits.get("throttlingRateLimit"), limits.get("throttlingBurstLimit")
        if route and rate and burst:
            bucket = buckets.setdefault((api_id, stage, route), Bucket(float(burst)))
            if not bucket.takes(float(rate), float(burst), time.monotonic()):
                return 429, {"Content-Type": "application/json"}, b'{"message":"Too Many Requests"}'
        return None

    refuse_calls(refusal)


def refuse_calls(refusal: Callable[[str, str, str, str], Answer | None]) -> None:
    """Answers a call with what `refusal` returns for its API, stage, method and path, unless that is None."""

    @around(app, "_enforce_execute_api")
    def enforce_execute_api(
        original: Callable[..., Answer | None],
        api_id: str,
        stage: str,
        method: str,
        path: str,
        *arguments: Any,
        **named: Any,
    ) -> Answer | None:
        answer = refusal(api_id, stage, method, path)
        return answer or original(api_id, stage, method, path, *arguments, **named)


@dataclass
class Bucket:
    """The requests that a route may still accept at once."""

    tokens: float
    at: float = field(default_factory=time.monotonic)

    def takes(self, rate: float, burst: float, now: float) -> bool:
        """Whether there is a token for one more request; takes it."""
        self.tokens = min(burst, self.tokens + rate * (now - self.at))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def _route(api_id: str, stage: str, method: str, path: str) -> tuple[str, Mapping[str, Any]]:
    """The key of the route and its settings for throttling; an empty key if there is no route."""
    scope = apigateway.find_api_scope(api_id)
    if scope is None:
        return "", {}
    with responses.request_scope(*scope):
        route = apigateway._match_route(api_id, method, "/" + path.lstrip("/"))
        settings = apigateway._stages.get(api_id, {}).get(stage, {})
    key = str(route["routeKey"]) if route else ""
    return key, {**settings.get("defaultRouteSettings", {}), **settings.get("routeSettings", {}).get(key, {})}


def check_signature(sent: Sent, account: str, region: str) -> None:
    """Raises Refused if the signature is not valid for this request and API.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    if not sent.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        raise Refused("ForbiddenException", "Forbidden")
    signature = sigv4.parse_header_signature(sent.headers)
    if isinstance(signature, tuple):
        raise Refused("IncompleteSignatureException", signature[1])
    (credential,) = re.findall(r"Credential=([^\s,]+)", sent.headers["authorization"])[:1]
    _check_scope(signature, region, credential.rpartition("/")[2])
    if "host" not in signature.signed_headers.split(";"):
        raise Refused(
            "IncompleteSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        )
    if skewed := sigv4.request_time_failure(signature):  # five minutes either way
        raise Refused("InvalidSignatureException", skewed[1])
    secret = _secret(signature.access_key_id, account, sent.headers.get("x-amz-security-token", ""))
    canonical = canonical_request(sent, signature.signed_headers)
    to_sign = sigv4.build_string_to_sign(
        signature.amz_date, signature.date_stamp, signature.region, signature.service, canonical
    )
    key = sigv4._cached_signing_key(secret, signature.date_stamp, signature.region, signature.service)
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.signature.encode()):
        raise Refused(
            "InvalidSignatureException",
            f"{sigv4.SIGNATURE_MISMATCH}\n\nThe Canonical String for this request should have been\n"
            f"'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n",
        )


def canonical_request(sent: Sent, signed_headers: str) -> str:
    """The canonical request, from the path, query and body as they were sent."""
    path = sigv4.uri_encode(sigv4._remove_dot_segments(sent.path), encode_slash=False)
    query = "&".join(f"{name}={value}" for name, value in sorted(_encoded_pairs(sent.query)))
    headers = sigv4.build_canonical_headers(sent.headers, signed_headers)
    payload = hashlib.sha256(sent.body).hexdigest()
    return "\n".join((sent.method, path, query, headers, signed_headers, payload))


def _encoded_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Names and values, encoded as AWS encodes them, however they were sent."""
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            yield quote(unquote_to_bytes(name), safe="-_.~"), quote(unquote_to_bytes(value), safe="-_.~")


def _check_scope(signature: sigv4.HeaderSignature, region: str, terminator: str) -> None:
    wrong = ""
    if sigv4._amz_datetime(signature.amz_date) is None:
        wrong = f"Date must be in ISO-8601 'basic format'. Got '{signature.amz_date}'. "
    elif signature.date_stamp != signature.amz_date[:8]:
        wrong = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP. "
    elif signature.region != region:
        wrong = f"Credential should be scoped to a valid region, not '{signature.region}'. "
    elif signature.service != SERVICE:
        wrong = f"Credential should be scoped to correct service: '{SERVICE}'. "
    elif terminator != TERMINATOR:
        wrong = f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'. "
    if wrong:
        raise Refused("InvalidSignatureException", wrong)


def _secret(access_key_id: str, account: str, session_token: str) -> str:
    account = responses._account_from_sts_session(access_key_id) or account
    found = iam_evaluator.resolve_credential(access_key_id, account, session_token)
    if isinstance(found, iam_evaluator.CredentialResolutionError):
        if found.code == "ExpiredTokenException":
            raise Refused(found.code, found.message)
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    return str(found.secret_access_key)
