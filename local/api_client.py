"""Sends requests to the manager's HTTP API as they are, also invalid and unsigned ones, and retries nothing.

Tests and benchmarks need that: they check statuses, headers and bodies. Programs use ``sjm.client``.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


@dataclass(frozen=True)
class ApiResponse:
    """An answer. Header names are in lower case. A JSON body is parsed; any other body is text."""

    status: int
    headers: dict[str, str]
    body: Any


def path_of(*parts: str) -> str:
    """Join the parts, quoted, to a path: "services" and "a b" to "/services/a%20b"."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class ManagerApi:
    """The API of one stage, called by one caller.

    API Gateway answers within 30 s. The emulator of a busy machine may take longer.
    """

    def __init__(
        self, api_url: str, credentials: Credentials, region: str, *, timeout_seconds: float = 120
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._credentials = credentials
        self._region = region
        self._timeout_seconds = timeout_seconds

    @classmethod
    def from_environment(cls, api_url: str) -> ManagerApi:
        """A client with the credentials and the region that boto3 finds."""
        session = boto3.Session()
        credentials = session.get_credentials()
        if credentials is None or session.region_name is None:
            raise RuntimeError("no AWS credentials, or no AWS region, in the environment")
        return cls(api_url, credentials, session.region_name)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> ApiResponse:
        """Send a signed request. A body other than str or bytes is sent as JSON. Quote names with path_of."""
        return self._send(self._build(method, path, body, headers, query), signed=True)

    def unsigned_request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> ApiResponse:
        """Send the same request without a signature."""
        return self._send(self._build(method, path, body, headers, query), signed=False)

    def _build(
        self,
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str] | None,
        query: Mapping[str, str | int] | None,
    ) -> AWSRequest:
        # Quoted characters stay unchanged, so "%" is safe.
        url = self._api_url + quote(path, safe="/%?=&~:@!$'()*+,;")
        if query:
            url += ("&" if "?" in path else "?") + urlencode(query, quote_via=quote, safe="")
        all_headers = dict(headers or {})
        data: bytes | None = None
        if isinstance(body, bytes):
            data = body
        elif isinstance(body, str):
            data = body.encode()
        elif body is not None:
            data = json.dumps(body).encode()
        if data is not None and "content-type" not in {name.lower() for name in all_headers}:
            all_headers["Content-Type"] = "application/json"
        return AWSRequest(method=method, url=url, data=data, headers=all_headers)

    def _send(self, request: AWSRequest, *, signed: bool) -> ApiResponse:
        if signed:
            SigV4Auth(self._credentials, "execute-api", self._region).add_auth(request)
        wire_request = urllib.request.Request(
            str(request.url), data=request.data, headers=dict(request.headers.items()), method=request.method
        )
        try:
            with urllib.request.urlopen(wire_request, timeout=self._timeout_seconds) as response:
                return api_response(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return api_response(refused.code, refused.headers.items(), refused.read())


def api_response(status: int, headers: Any, content: bytes) -> ApiResponse:
    """An ApiResponse from raw parts. ``headers`` are pairs of a name and a value."""
    lowered = {name.lower(): value for name, value in headers}
    body: Any = content.decode(errors="replace")
    if "json" in lowered.get("content-type", ""):
        body = json.loads(content) if content else None
    return ApiResponse(status, lowered, body)
