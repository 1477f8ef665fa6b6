"""A manager on this machine, as a service sees it: it sends notifications and answers callbacks."""

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from sjm.receiver import Receiver

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret of thirty-two byt").decode()
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Callback:
    """One callback as it came."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float

    @property
    def status(self) -> str:
        """The status it reports."""
        return str(self.body["status"])


@dataclass(frozen=True)
class Reply:
    """An answer to a callback. Status 0 closes the connection without one."""

    status: int
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    seconds: float = 0


class Manager:
    """Notes each callback, and answers it as the test says, or with 200."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._callbacks: list[Callback] = []
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = {}
        self._numbers = itertools.count(1)
        handler = type("Handler", (_Handler,), {"manager": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def notification(self, job_name: str = "nightly", *, sync: bool = False, **more: Any) -> dict[str, Any]:
        """A notification of a new execution, with these fields changed. None leaves a field out."""
        if sync:
            more |= {"callback_url": None, "heartbeat_interval_seconds": None}
        execution_id = more.get("execution_id") or f"97cc0000-{next(self._numbers)}"
        fields = {
            "service_name": "billing",
            "job_name": job_name,
            "job_guid": "97cc0000-0000-5000-8000-000000000000",
            "execution_id": execution_id,
            "attempt": 1,
            "callback_url": f"{self.url}/callback/{execution_id}/{more.get('attempt', 1)}",
            "ttl_seconds": 300,
            "heartbeat_interval_seconds": 100,
            "payload": '{"ledger": 7}',
            "schedule": "cron(0 2 * * ? *)",
            "scheduled_time": "2026-11-23T02:00:00Z",
            "scheduled_time_ms": 1795399200000,
            "invocation_latency_ms": 812,
            "invocation_latency_pct": 0.3,
            "async": not sync,
            "exclusive": True,
            "fencing_token": 42,
            "last_successful_execution": {"execution_id": "x", "state": "4711", "status": "success"},
            **more,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def script(self, execution_id: str, *replies: int | Reply) -> None:
        """Answers the next callbacks of an execution so, and later ones with 200 again."""
        with self._changed:
            self._scripts[execution_id].extend(
                each if isinstance(each, Reply) else Reply(each) for each in replies
            )

    def always(self, execution_id: str, reply: int | Reply | None) -> None:
        """Answers all callbacks of an execution so, from now on."""
        with self._changed:
            if reply is None:
                self._always.pop(execution_id, None)
            else:
                self._always[execution_id] = reply if isinstance(reply, Reply) else Reply(reply)

    def callbacks(self, execution_id: str | None = None, status: str | None = None) -> list[Callback]:
        """The callbacks so far, of all executions or of one, in their order."""
        with self._changed:
            return [
                each
                for each in self._callbacks
                if (execution_id is None or f"/{execution_id}/" in each.path)
                and (status is None or each.status == status)
            ]

    def results(self, execution_id: str | None = None) -> list[dict[str, Any]]:
        """The bodies of the results so far."""
        return [each.body for each in self.callbacks(execution_id) if each.status != "processing"]

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Returns as soon as the condition holds. It is tried after each callback, and often meanwhile."""
        until = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < until, f"waited in vain for {what}"
            with self._changed:
                self._changed.wait(0.01)

    def wait_for_result(self, execution_id: str) -> dict[str, Any]:
        """The body of the first result of an execution."""
        self.wait_for(lambda: self.results(execution_id), f"a result of {execution_id}")
        return self.results(execution_id)[0]

    def take(self, callback: Callback) -> Reply:
        """Notes a callback, and says how it is answered."""
        execution_id = callback.path.split("/")[2]
        with self._changed:
            self._callbacks.append(callback)
            self._changed.notify_all()
            if self._scripts[execution_id]:
                return self._scripts[execution_id].popleft()
            return self._always.get(execution_id, Reply(200))

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    manager: Manager
    timeout = 60

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.manager.take(Callback(self.path, json.loads(content), headers, time.monotonic()))
        if reply.seconds:
            time.sleep(reply.seconds)
        if reply.status == 0:
            return
        body = b"{}" if reply.body is None else reply.body
        self.send_response(reply.status)
        for name, value in (reply.headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (reply.headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Where a redirect would lead: a client that follows it would take this for an answer."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def running_manager() -> Iterator[Manager]:
    """A manager that listens on a free port."""
    manager = Manager()
    manager.start()
    try:
        yield manager
    finally:
        manager.stop()


def encoded(notification: Mapping[str, Any]) -> bytes:
    """The body of a webhook, with characters outside ASCII as they are, as the manager sends it."""
    return json.dumps(notification, ensure_ascii=False).encode()


def signed(
    content: bytes, *secrets: str, webhook_id: str = "97cc0000-1", at: float | None = None
) -> dict[str, str]:
    """The headers of a webhook that is signed with these secrets."""
    timestamp = str(int(time.time() if at is None else at))
    message = f"{webhook_id}.{timestamp}.".encode() + content
    signatures = [
        "v1,"
        + base64.b64encode(
            hmac.new(base64.b64decode(secret.removeprefix("whsec_")), message, hashlib.sha256).digest()
        ).decode()
        for secret in secrets or (SECRET,)
    ]
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def deliver(receiver: Receiver, notification: Mapping[str, Any]) -> Any:
    """Lets a receiver receive a signed webhook; returns its answer."""
    content = encoded(notification)
    return receiver.receive(content, signed(content))


@dataclass(frozen=True)
class Answered:
    """What a server answered to a webhook."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def send(url: str, notification: Mapping[str, Any], *, unsigned: bool = False) -> Answered:
    """Sends a webhook to a server."""
    content = encoded(notification)
    return send_bytes(url, content, {} if unsigned else signed(content))


def send_bytes(url: str, content: bytes, headers: Mapping[str, str], method: str = "POST") -> Answered:
    """Sends these bytes to a server."""
    request = urllib.request.Request(url, content, dict(headers), method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=WAIT_SECONDS) as answer:
            return Answered(answer.status, _lowered(answer.headers), answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answered(refused.code, _lowered(refused.headers), refused.read())


def status_of_large(url: str, content: bytes) -> int:
    """The status with which a server refuses a body that it may not read to the end."""
    address = urlsplit(url)
    with closing(HTTPConnection(address.netloc, timeout=WAIT_SECONDS)) as connection:
        # A server may answer and close the connection while the body is sent. Its answer can still be read.
        with suppress(ConnectionError):
            connection.request("POST", address.path, content)
        return connection.getresponse().status


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
