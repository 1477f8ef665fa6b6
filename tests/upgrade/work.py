"""The service whose jobs run while the stage is updated."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause

MOST_SECONDS_HELD = 900
# Longer than an update of the stage takes.
BUSY_SECONDS = 120


class Work:
    """What the service does with each job. Most work waits until ``release``."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.heartbeats: list[int] = []

    def release(self) -> None:
        """From now on all work succeeds, and the busy service takes notifications."""
        self._released.set()

    @property
    def is_released(self) -> bool:
        """Whether the work succeeds."""
        return self._released.is_set()

    def __call__(self, notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        """Works as the name of the job says."""
        match notification["job_name"]:
            case "silent" if not self.is_released:
                return
            case "failed" if not self.is_released:
                callbacks.fail("NotReleased")
                return
            case "retried" if notification.get("attempt", 1) == 1 and not self.is_released:
                callbacks.fail("NotReleased")
                return
            case "each-minute":
                pass
            case "heartbeats":
                while not self._released.wait(2):
                    self.heartbeats.append(callbacks.heartbeat().status)
            case _:
                self._released.wait(MOST_SECONDS_HELD)
        callbacks.success(state=notification["execution_id"])


class BusyService:
    """Answers 503 with Retry-After until the work is released. Then it passes webhooks on to the service."""

    def __init__(self, service: ObservedService, work: Work) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                if work.is_released:
                    service.take(json.loads(content), "http")
                    self.send_response(202)
                else:
                    self.send_response(503)
                    self.send_header("retry-after", str(BUSY_SECONDS))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The invocation_target to register."""
        return f"http://127.0.0.1:{self._server.server_port}/jobs/busy"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
