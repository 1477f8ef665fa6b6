"""A manager on this machine. It notes what it is sent, and answers with the OpenAPI document's examples."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from functions.get_openapi.handler import openapi
from sjm.client import Manager, Retries
from tests.openapi_document import Document, Json, Operation

DOCUMENT = Document(openapi("https://manager.example", "1.2.3"))
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a/session+token=")
REGION = "eu-central-1"


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes
    port: int = 0  # of the client, which tells connections apart

    @property
    def path(self) -> str:
        """The path, as it was sent."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters of the query string, decoded."""
        return (
            parse_qsl(urlsplit(self.target).query, keep_blank_values=True, strict_parsing=True)
            if "?" in self.target
            else []
        )

    @property
    def body(self) -> Any:
        """The body; None if there is none."""
        return json.loads(self.content) if self.content else None


@dataclass(frozen=True)
class Reply:
    """An answer. ``seconds`` is the time before it; ``breaks_off`` closes the connection in its middle."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    seconds: float = 0
    breaks_off: bool = False

    def content(self) -> bytes:
        """The body as it is sent."""
        return (
            b""
            if self.body is None
            else self.body
            if isinstance(self.body, bytes)
            else json.dumps(self.body).encode()
        )

    def media_type(self) -> str:
        """The media type, by default as the API has it."""
        return self.content_type or ("application/json" if self.status < 400 else "application/problem+json")


class StandIn(ThreadingHTTPServer):
    """Answers with the given replies, one after the other; without any, with the example of the operation."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: list[Reply] = []
        self.released = threading.Event()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without it, each answer waits up to 40 ms for an acknowledgement of its headers.
            disable_nagle_algorithm = True

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.command, self.path, headers, content, self.client_address[1])
                stand_in.received.append(received)
                reply = stand_in.replies.pop(0) if stand_in.replies else stand_in.answer(received)
                if reply.seconds:
                    stand_in.released.wait(reply.seconds)
                sent = reply.content()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if sent:
                    self.send_header("content-type", reply.media_type())
                if reply.status != 204:
                    self.send_header("content-length", str(len(sent) + (10 if reply.breaks_off else 0)))
                self.end_headers()
                self.wfile.write(sent)
                self.close_connection = reply.breaks_off

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are expected here."""

    def answer(self, received: Received) -> Reply:
        """The answer to a request for which there is no reply."""
        return example(received)

    @property
    def url(self) -> str:
        """The address, with a path, as that of the local stage."""
        return f"http://127.0.0.1:{self.server_address[1]}/apis/a1"

    def manager(self, **settings: Any) -> Manager:
        """A client of this stand-in that does not wait."""
        given: dict[str, Any] = {
            "url": self.url,
            "region": REGION,
            "credentials": CREDENTIALS,
            "retries": NO_WAIT,
        }
        return Manager(**given | settings)


NO_WAIT = Retries(sleep=lambda seconds: None)


@contextmanager
def serving[T: StandIn](server: T) -> Iterator[T]:
    """A stand-in while it serves."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A stand-in that serves."""
    with serving(StandIn()) as server:
        yield server


def operation_of(received: Received) -> Operation:
    """The operation of the document that a request asks for."""
    path = "/" + received.path.removeprefix("/apis/a1/")
    operation = DOCUMENT.operation_of(received.method, path)
    assert operation, received
    return operation


def example(received: Received) -> Reply:
    """The first example of the first good answer of the operation."""
    operation = operation_of(received)
    status, answer = min(DOCUMENT.answers(operation).items())
    headers = {
        name: DOCUMENT.resolved(header)["example"] for name, header in answer.get("headers", {}).items()
    }
    body = example_of(answer)
    if isinstance(body, dict) and (more := body.get("paging", {}).get("more")) is not None:
        sent = received.body if received.method == "POST" else dict(received.query)
        if sent.get("more") == more:  # the example leads to one more page
            body = {**body, "paging": {}}
    return Reply(status, body, headers)


def example_of(answer: Json) -> Any:
    """The first example of an answer, or None if it has no body."""
    content = answer.get("content", {}).get("application/json")
    if content is None:
        return None
    if "examples" not in content:  # the OpenAPI document itself
        return DOCUMENT.content
    return DOCUMENT.resolved(next(iter(content["examples"].values())))["value"]


def example_answer(operation_id: str) -> Any:
    """The example with which the stand-in answers an operation."""
    (operation,) = (each for each in DOCUMENT.operations if each.operation_id == operation_id)
    return example_of(min(DOCUMENT.answers(operation).items())[1])


def errors_of_request(received: Received) -> list[str]:
    """What is wrong with a request, by the document: its parameters, headers and body."""
    operation = operation_of(received)
    named = {(each["in"], each["name"]): each for each in DOCUMENT.parameters(operation)}
    sent = {("query", name.partition("[")[0]): value for name, value in received.query}
    sent |= {
        ("header", name): value
        for kind, name in named
        if kind == "header" and (value := received.headers.get(name.lower())) is not None
    }
    wrong = [f"{each} is not described" for each in sent.keys() - named.keys()]
    required = {key for key, each in named.items() if each.get("required") and key[0] != "path"}
    wrong += [f"{each} is missing" for each in required - sent.keys()]
    for key, value in sent.items():
        wrong += (
            DOCUMENT.errors(named[key]["schema"], decoded(received, named[key], value))
            if key in named
            else []
        )
    templates, parts = operation.path.split("/")[1:], received.path.removeprefix("/apis/a1").split("/")[1:]
    for template, part in zip(templates, parts, strict=True):
        if template.startswith("{"):
            wrong += DOCUMENT.errors(named["path", template.strip("{}")]["schema"], unquote(part))
    return wrong + errors_of_body(operation, received)


def decoded(received: Received, parameter: Json, value: str) -> Any:
    """A parameter's value, as its style and its schema say."""
    schema = DOCUMENT.resolved(parameter["schema"])
    if parameter.get("style") == "deepObject":
        return {
            name.partition("[")[2].rstrip("]"): each
            for name, each in received.query
            if name.startswith(f"{parameter['name']}[")
        }
    if schema.get("type") == "array":
        if parameter["explode"]:
            return [each for name, each in received.query if name == parameter["name"]]
        return value.split(",")
    return int(value) if schema.get("type") == "integer" else value


def errors_of_body(operation: Operation, received: Received) -> list[str]:
    """What is wrong with the body of a request."""
    described = operation.described.get("requestBody")
    if described is None or received.body is None:
        needed = described is not None and described["required"]
        return ["a body is missing"] * needed + ["a body; expected none"] * (received.body is not None)
    if received.headers.get("content-type") != "application/json":
        return ["the body is not sent as JSON"]
    return DOCUMENT.errors(described["content"]["application/json"]["schema"], received.body)


def signature_of_botocore(received: Received, host: str) -> str:
    """The Authorization header that botocore's own signer makes of what was received."""
    signed = received.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: received.headers[name] for name in signed}
    request = AWSRequest(
        method=received.method, url=f"http://{host}{received.target}", headers=headers, data=received.content
    )
    request.context["timestamp"] = received.headers["x-amz-date"]
    signer: Any = SigV4Auth(CREDENTIALS, "execute-api", REGION)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    return (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={';'.join(sorted(signed))},"
        f" Signature={signer.signature(to_sign, request)}"
    )
