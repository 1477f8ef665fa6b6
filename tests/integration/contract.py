"""Checks each answer of the API against the OpenAPI document that the stage serves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.request import urlopen

from botocore.credentials import Credentials

from local.api_client import ApiResponse, ManagerApi
from tests.openapi_document import Document, Json

# HTTP servers and API Gateway add these headers to any answer, and headers that begin with x-amz.
_HEADERS_OF_ANY_ANSWER = {
    "apigw-requestid",
    "connection",
    "content-length",
    "content-type",
    "date",
    "server",
    "transfer-encoding",
}
_A_LONG_TIME_SECONDS = 20
_NO_ROUTE = {"$ref": "#/components/schemas/GatewayError"}


class Contract:
    """What the document promises."""

    def __init__(self, document: Json) -> None:
        self.document = Document(document)
        self.broken_messages: list[str] = []

    def check_event(self, event: Json) -> None:
        """Notes what is wrong with an event; the test that saw it fails at its end."""
        self.broken_messages += [f"{error} in {event}" for error in self.document.event_errors(event)]

    def check_notification(self, notification: Json) -> None:
        """Notes what is wrong with a notification; the test that saw it fails at its end."""
        errors = self.document.notification_errors(notification)
        self.broken_messages += [f"{error} in {notification}" for error in errors]

    @classmethod
    def of_the_stage(cls, api_url: str) -> Contract:
        """The contract in the document that the stage serves."""
        with urlopen(f"{api_url}/openapi.json", timeout=120) as answer:
            return cls(json.load(answer))

    def check(self, method: str, path: str, response: ApiResponse) -> None:
        """Fails if an answer differs from the document. ``path`` begins after the server's URL."""
        broken = self.broken(method, path.partition("?")[0], response)
        assert not broken, f"{method} {path} answered {response}, against the document: {broken}"

    def broken(self, method: str, path: str, response: ApiResponse) -> list[str]:
        """The differences between an answer and the document."""
        operation = self.document.operation_of(method, path)
        if operation is None:
            wrong = [] if response.status == 404 else ["no operation has this path; expected 404"]
            return wrong + self.document.errors(_NO_ROUTE, response.body)
        answers = self.document.answers(operation)
        if response.status not in answers:
            expected = ", ".join(map(str, answers))
            return [f"{operation.operation_id} has no status {response.status}; expected one of {expected}"]
        answer = answers[response.status]
        return self._body(answer.get("content", {}), response) + self._headers(
            answer.get("headers", {}), response
        )

    def _body(self, content: Json, response: ApiResponse) -> list[str]:
        if not content:
            return [] if response.body in ("", None) else ["a body; expected none"]
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if media_type not in content:
            return [f"media type {media_type or '(none)'}; expected one of {', '.join(content)}"]
        return self.document.errors(content[media_type]["schema"], response.body)

    def _headers(self, described: Mapping[str, Json], response: ApiResponse) -> list[str]:
        headers = {name.lower(): self.document.resolved(header) for name, header in described.items()}
        missing = [name for name, header in headers.items() if header.get("required")]
        wrong = [f"the header {name} is missing" for name in missing if name not in response.headers]
        unknown = response.headers.keys() - headers.keys() - _HEADERS_OF_ANY_ANSWER
        wrong += [f"the header {name} is not described" for name in sorted(unknown) if name[:5] != "x-amz"]
        for name, header in headers.items():
            if name in response.headers:
                wrong += self.document.errors(header["schema"], response.headers[name])
        return wrong


class CheckedApi(ManagerApi):
    """The API. Each answer is checked against the document."""

    def __init__(self, api_url: str, credentials: Credentials, region: str, contract: Contract) -> None:
        super().__init__(api_url, credentials, region, timeout_seconds=90)
        self.contract = contract

    def request(self, method: str, path: str, *more: Any, **named: Any) -> ApiResponse:
        """Sends a signed request and checks its answer."""
        began = time.monotonic()
        answer = super().request(method, path, *more, **named)
        # On a busy machine, the cold starts of a PUT's functions can exceed the time limit. Callers retry.
        if answer.status >= 500 and method == "PUT" and time.monotonic() - began > _A_LONG_TIME_SECONDS:
            answer = super().request(method, path, *more, **named)
        return self._checked(method, path, answer)

    def unsigned_request(self, method: str, path: str, *more: Any, **named: Any) -> ApiResponse:
        """Sends a request without a signature and checks its answer."""
        return self._checked(method, path, super().unsigned_request(method, path, *more, **named))

    def _checked(self, method: str, path: str, response: ApiResponse) -> ApiResponse:
        self.contract.check(method, path, response)
        return response
