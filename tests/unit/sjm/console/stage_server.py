"""Serves a stand-in of a stage over HTTP, as API Gateway serves the manager."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.credentials import Credentials

from functions.get_openapi.handler import openapi
from jobmanager.core.errors import Refused
from sjm.client import Manager, Retries
from tests.openapi_document import Document, Operation
from tests.unit.sjm.console.stage_stand_in import REGION, TOPIC, Answer, Json, Stage

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
DOCUMENT = Document(openapi("https://manager.example", "1.2.3"))
_PROBLEM = "application/problem+json"
_CHECKED = 3
# As API Gateway refuses a request without a signature.
_UNSIGNED: Answer = (403, {"message": "Forbidden"}, {})
_OPEN = ("receive_callback", "get_openapi")
# Settings of the functions whose rules the stand-in uses.
_ALLOWED = ("ALLOW_HTTP_TARGETS", "ALLOW_PRIVATE_TARGETS", "ALLOW_LOOPBACK_TARGETS")
_SETTINGS = {"NOTIFICATIONS_TOPIC_ARN": TOPIC, **dict.fromkeys(_ALLOWED, "false"), "SPREAD": "true"}


class StageServer(ThreadingHTTPServer):
    """A stage with an address."""

    daemon_threads = True

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.wrong: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without it, each answer waits up to 40 ms for an acknowledgement of its headers.
            disable_nagle_algorithm = True

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, body, more = server.answer(self.command, self.path, headers, content)
                sent = b"" if body is None else json.dumps(body).encode()
                kind = _media_type(status, body)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        stage.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are expected here."""

    def answer(self, method: str, target: str, headers: Json, content: bytes) -> Answer:
        """Answers a request, and notes what is not as the OpenAPI document says."""
        stage = self.stage
        parts = urlsplit(target)
        operation = DOCUMENT.operation_of(method, parts.path)
        with stage.lock:
            stage.received.append((method, target))
            failure = next(
                (each for each in stage.failures if each[0].search(f"{method} {parts.path}")), None
            )
            if failure:
                stage.failures.remove(failure)
        if stage.seconds_to_answer:
            time.sleep(stage.seconds_to_answer)
        if failure:
            return failure[1], failure[2] or {"message": "Service Unavailable"}, {}
        if operation is None:
            return 404, {"message": "Not Found"}, {}
        if "authorization" not in headers and operation.operation_id not in _OPEN:
            return _UNSIGNED
        try:
            with stage.lock:
                answer = self._done(operation, parts.path, parts.query, headers, content)
        except Refused as refusal:
            members = {"type": refusal.type, "title": refusal.title, "status": refusal.http_status}
            answer = refusal.http_status, {**members, "detail": refusal.detail, **refusal.extra}, {}
        self._check(operation, answer)
        return answer

    def _check(self, operation: Operation, answer: Answer) -> None:
        status, body, _ = answer
        described = DOCUMENT.answers(operation).get(status)
        if described is None:
            self.wrong.append(f"{operation.route}: {status} is not described")
        media = (described or {}).get("content", {}).get(_media_type(status, body))
        if media is not None:
            errors = DOCUMENT.errors(media["schema"], _some(body))
            self.wrong += [f"{operation.route}: {each}" for each in errors]

    def _done(self, operation: Operation, path: str, query: str, headers: Json, content: bytes) -> Answer:
        stage = self.stage
        named = _named(operation.path, path)
        body: Any = json.loads(content) if content else {}
        search = _search(query) | (body if operation.operation_id.endswith("_by_search") else {}) | named
        routes: dict[str, Callable[[], Answer]] = {
            "put_job": lambda: stage.put_job(**named, body=body, headers=headers),
            "get_job": lambda: stage.get_job(**named),
            "delete_job": lambda: stage.delete_job(**named, headers=headers),
            "backfill_job": lambda: stage.backfill_job(**named, body=body),
            "pause_job": lambda: stage.pause_job(**named, body=body),
            "resume_job": lambda: stage.resume_job(**named),
            "test_job": lambda: stage.test_job(**named),
            "list_jobs": lambda: stage.list_jobs(search),
            "list_jobs_of_service": lambda: stage.list_jobs(search),
            "list_jobs_by_search": lambda: stage.list_jobs(search),
            "start_execution": lambda: stage.start_execution(**named, body=body, headers=headers),
            "get_execution": lambda: stage.get_execution(**named),
            "get_chain": lambda: stage.get_chain(**named),
            "cancel_execution": lambda: stage.cancel_execution(**named, body=body),
            "rerun_execution": lambda: stage.rerun_execution(**named, headers=headers),
            "list_executions": lambda: stage.list_executions(search),
            "list_executions_of_service": lambda: stage.list_executions(search),
            "list_executions_of_job": lambda: stage.list_executions(search),
            "list_executions_by_search": lambda: stage.list_executions(search),
            "list_schedules": lambda: stage.list_schedules(search),
            "preview_schedule": lambda: stage.preview_schedule(search),
            "reconcile_schedules": stage.reconcile_schedules,
            "put_limit": lambda: stage.put_limit(**named, body=body, headers=headers),
            "get_limit": lambda: stage.get_limit(**named),
            "list_limits": lambda: stage.list_limits(**named),
            "delete_limit": lambda: stage.delete_limit(**named),
            "create_webhook_secret": lambda: stage.create_webhook_secret(**named, body=body),
            "list_webhook_secrets": lambda: stage.list_webhook_secrets(**named),
            "delete_webhook_secret": lambda: stage.delete_webhook_secret(**named, force=search.get("force")),
            "receive_callback": lambda: stage.receive_callback(**named, body=body),
            "get_openapi": lambda: (200, DOCUMENT.content, {}),
        }
        return routes[operation.operation_id]()

    def manager(self, **settings: Any) -> Manager:
        """A client of this stage that gives up soon."""
        given: dict[str, Any] = {
            "url": self.stage.url,
            "region": REGION,
            "credentials": CREDENTIALS,
            "retries": Retries(max_attempts=2, base_seconds=0.01),
        }
        return Manager(**given | settings)


@contextmanager
def served(stage: Stage) -> Iterator[StageServer]:
    """The stage with an address. Fails at the end if an answer was not as the OpenAPI document says."""
    with patch.dict(os.environ, _SETTINGS), StageServer(stage) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
        assert not server.wrong, f"the stand-in is not like the API: {server.wrong[:5]}"


def _media_type(status: int, body: Json | None) -> str:
    """As the API answers, or API Gateway itself, whose refusals are no problem documents."""
    return "application/json" if status < 400 or "type" not in (body or {}) else _PROBLEM


def _some(body: Any) -> Any:
    """The answer with the first of many results, because their check takes a while."""
    if isinstance(body, dict) and isinstance(body.get("results"), list):
        return {**body, "results": body["results"][:_CHECKED]}
    return body


def _named(template: str, path: str) -> dict[str, str]:
    """The parameters of a path."""
    pairs = zip(template.split("/"), path.split("/"), strict=True)
    return {name.strip("{}"): unquote(value) for name, value in pairs if name.startswith("{")}


def _search(query: str) -> Json:
    """The fields of a query string; all but owners and tags have commas between several values."""
    found: Json = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.startswith("tags["):
            found.setdefault("tags", {})[name[5:-1]] = value
        elif name == "owner":
            found.setdefault("owner", []).append(value)
        elif name in ("service_name", "job_name", "job_guid", "status", "reason"):
            found[name] = value.split(",")
        else:
            found[name] = value
    return found
