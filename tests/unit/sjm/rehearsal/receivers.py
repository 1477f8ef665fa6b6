"""A good receiver, and receivers with one fault each, in the standard library alone.

``found_by`` are the scenes that must find the fault, and no others.
"""

import base64
import hashlib
import hmac
import json
import socketserver
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Body = dict[str, Any]


class Receiver:
    """A good receiver. Its job works as many seconds as its payload says, ``{"seconds": 4}``."""

    found_by: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[Any] = set()
        self._is_closed = threading.Event()
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jobs/nightly"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        """The answer to a webhook: its status and, of a sync job, its body."""
        if not self.is_genuine(headers, content):
            return 401, None
        body = json.loads(content)
        if body.get("test"):
            return 200, None
        if not body["async"]:
            return 200, {"state": "1", "summary": "done"}
        if self.is_new(self.key_of(body)):
            self.start(body)
            return 202, None
        return self.answer_to_duplicate(), None

    def is_genuine(self, headers: Mapping[str, str], content: bytes) -> bool:
        timestamp = headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal() or not self.is_fresh(int(timestamp)):
            return False
        signed = f"{headers['webhook-id']}.{timestamp}.".encode() + self.verified(content)
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        expected = f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
        found = headers.get("webhook-signature", "").split()
        return any(hmac.compare_digest(expected, each) for each in self.considered(found))

    def is_fresh(self, timestamp: int) -> bool:
        return abs(time.time() - timestamp) <= 300

    def verified(self, content: bytes) -> bytes:
        return content

    def considered(self, signatures: list[str]) -> list[str]:
        return signatures

    def key_of(self, body: Body) -> Any:
        return body["execution_id"], body["attempt"]

    def is_new(self, key: Any) -> bool:
        with self._lock:
            if key in self._seen:
                return False
            self._seen.add(key)
            return True

    def answer_to_duplicate(self) -> int:
        return 202

    def start(self, body: Body) -> None:
        threading.Thread(target=self.work, args=(body,), daemon=True).start()

    def work(self, body: Body) -> None:
        try:
            self.perform(body)
        except InterruptedError:
            return
        self.report(body, status="success", state="1", summary="done")

    def perform(self, body: Body) -> None:
        """Works, and raises InterruptedError on 410."""
        until = time.monotonic() + seconds_in(body["payload"])
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, body["heartbeat_interval_seconds"] / 2))
            self.heartbeat(body)

    def heartbeat(self, body: Body) -> None:
        if self.call_back(body, status="processing", progress=50)[0] == 410:
            raise InterruptedError

    def report(self, body: Body, **result: str) -> None:
        """Repeats a result until it is answered."""
        for pause in (1, 1, 2, 4, 8, 8, 16):
            status, retry_after = self.call_back(body, **result)
            if 200 <= status < 500 and status != 429:
                return
            if self._is_closed.wait(max(pause, retry_after)):
                return

    def call_back(self, body: Body, **fields: Any) -> tuple[int, int]:
        """The status of the answer, or 0 if nobody answered, and the seconds in Retry-After.

        Nothing is sent after the test, because somebody else may have the manager's port by then.
        """
        if self._is_closed.is_set():
            return 0, 0
        content, headers = json.dumps(fields).encode(), {"content-type": "application/json"}
        request = urllib.request.Request(body["callback_url"], content, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, 0
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, int(refused.headers.get("retry-after", 0))
        except OSError:
            return 0, 0


class WithoutVerification(Receiver):
    found_by: ClassVar = {"unsigned", "forged", "altered", "stale"}

    def is_genuine(self, headers: Mapping[str, str], content: bytes) -> bool:
        return True


class VerifiesWhatItParsed(Receiver):
    found_by: ClassVar = {"altered", "odd-payload"}

    def verified(self, content: bytes) -> bytes:
        return json.dumps(json.loads(content), ensure_ascii=False).encode()


class AcceptsOldWebhooks(Receiver):
    found_by: ClassVar = {"stale"}

    def is_fresh(self, timestamp: int) -> bool:
        return True


class ReadsOneSignature(Receiver):
    found_by: ClassVar = {"rotated"}

    def considered(self, signatures: list[str]) -> list[str]:
        return signatures[:1]


class WorksForEachDuplicate(Receiver):
    found_by: ClassVar = {"duplicate", "simultaneous", "lost-answer"}

    def is_new(self, key: Any) -> bool:
        return True


class ForgetsWhatIsDone(Receiver):
    found_by: ClassVar = {"duplicate"}

    def work(self, body: Body) -> None:
        super().work(body)
        # Not at once: a duplicate that is on its way would find it done, and it is no test for that.
        time.sleep(0.05 * body["ttl_seconds"])
        self._seen.discard(self.key_of(body))


class LooksFirstAndNotesLater(Receiver):
    found_by: ClassVar = {"simultaneous"}

    def is_new(self, key: Any) -> bool:
        if key in self._seen:
            return False
        time.sleep(0.3)
        self._seen.add(key)
        return True


class RefusesDuplicates(Receiver):
    found_by: ClassVar = {"duplicate", "simultaneous", "lost-answer"}

    def answer_to_duplicate(self) -> int:
        return 409


class IgnoresTheAttempt(Receiver):
    found_by: ClassVar = {"second-attempt"}

    def key_of(self, body: Body) -> Any:
        return body["execution_id"]


class CallsTheFirstAttemptsUrl(Receiver):
    found_by: ClassVar = {"second-attempt"}

    def __init__(self) -> None:
        super().__init__()
        self._urls: dict[str, str] = {}

    def start(self, body: Body) -> None:
        url = self._urls.setdefault(body["execution_id"], body["callback_url"])
        super().start({**body, "callback_url": url})


class WorksBeforeItAnswers(Receiver):
    found_by: ClassVar = {"slow-answer"}

    def start(self, body: Body) -> None:
        self.work(body)


class GoesOnAfter410(Receiver):
    found_by: ClassVar = {"stop"}

    def heartbeat(self, body: Body) -> None:
        with suppress(InterruptedError):
            super().heartbeat(body)


class ReportsOnce(Receiver):
    found_by: ClassVar = {"throttled", "server-error", "unreachable"}

    def report(self, body: Body, **result: str) -> None:
        self.call_back(body, **result)


class RepeatsWithoutPause(Receiver):
    found_by: ClassVar = {"throttled", "unreachable"}

    def report(self, body: Body, **result: str) -> None:
        for _ in range(5):
            if self.call_back(body, **result)[0] == 200:
                return


class ReadsTheExecutionFirst(Receiver):
    found_by: ClassVar = {"test"}

    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        json.loads(content)["execution_id"]
        return super().receive(headers, content)


class RefusesUnknownFields(Receiver):
    found_by: ClassVar = {"unknown-fields"}

    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        if any("later" in name for name in json.loads(content)):
            return 400, None
        return super().receive(headers, content)


class TakesSmallBodiesOnly(Receiver):
    found_by: ClassVar = {"odd-payload"}

    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        return (413, None) if len(content) > 16_384 else super().receive(headers, content)


class DiesWithItsJob(Receiver):
    """An error of the job ends its thread, and is not reported."""

    found_by: ClassVar = {"odd-payload"}

    def perform(self, body: Body) -> None:
        if not body["payload"].isascii():
            raise InterruptedError
        super().perform(body)


class SendsNoHeartbeats(Receiver):
    found_by: ClassVar = {"heartbeats"}

    def heartbeat(self, body: Body) -> None:
        """Sends none."""


class GoesOnBeatingWhenItIsDone(Receiver):
    found_by: ClassVar = {"heartbeats"}

    def report(self, body: Body, **result: str) -> None:
        super().report(body, **result)
        if seconds_in(body["payload"]) > body["heartbeat_interval_seconds"]:
            for _ in range(5):
                time.sleep(body["heartbeat_interval_seconds"] / 4)
                self.call_back(body, status="processing")


class SendsTextAsProgress(Receiver):
    found_by: ClassVar = {"good"}

    def heartbeat(self, body: Body) -> None:
        self.call_back(body, status="processing", progress="50 %")


FAULTY: list[type[Receiver]] = Receiver.__subclasses__()


def seconds_in(payload: str) -> float:
    """How long the payload lets the job work."""
    try:
        return float(json.loads(payload)["seconds"])
    except (ValueError, KeyError, TypeError):
        return 0.1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    timeout = 60

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, body = self.receiver.receive(headers, content)
        except (LookupError, ValueError):
            status, body = 500, None
        answer = json.dumps(body).encode() if body else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        if status == 503:
            self.send_header("retry-after", "1")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass
