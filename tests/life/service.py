"""A service that conducts itself as the payload of each job tells it, and notes all that it sees."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from local.sample_service import QueueListener, Server
from tests.life.conduct import GOOD
from tests.life.journal import Delivered, Journal, Json, now_ms
from tests.life.work import WORKS, Caller

_MUTE_SECONDS = 12
"""Longer than the manager waits for an answer, or for the result of a sync job with ttl_seconds 10."""


class WaywardService:
    """One service, by webhook and by SNS."""

    def __init__(self, service_name: str, notifications_topic_arn: str, journal: Journal) -> None:
        self.service_name = service_name
        self._journal = journal
        self._lock = threading.Lock()
        self._executions_of: Counter[str] = Counter()
        self._conducts: dict[str, Json] = {}
        self._deliveries: Counter[tuple[str, int]] = Counter()
        self._urls: dict[str, str] = {}
        self._is_well = False
        self._server = Server(("127.0.0.1", 0), _handler_of(self))
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._queue = QueueListener(
            notifications_topic_arn,
            {"service_name": [service_name]},
            lambda notification, _: self._take_message(notification),
            queue_name=f"{service_name}-notifications",
            long_poll_seconds=1,
        )

    def __enter__(self) -> Self:
        self._serving.start()
        self._queue.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.stop()
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def webhook_url(self, job_name: str) -> str:
        """What to register as a job's invocation_target."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/jobs/{job_name}"

    def be_well(self) -> None:
        """From now on, take every new notification and succeed at once."""
        self._is_well = True

    # --- what comes -----------------------------------------------------------------------------------

    def _take_message(self, notification: Json) -> None:
        conduct, _ = self._conduct_of(notification)
        delivered = self._arrived(notification, "sns", "accept")
        delivered.answered_ms = now_ms()
        self._work_apart(notification, conduct)

    def take_webhook(self, web: _Web, notification: Json) -> None:
        """Answers one webhook, and works as its conduct says."""
        if notification.get("test"):
            web.answer(200)
            return
        conduct, number = self._conduct_of(notification)
        answers = conduct["answers"] if notification["async"] else conduct["sync"]
        answer = answers[min(number, len(answers) - 1)]
        delivered = self._arrived(notification, "http", answer)
        try:
            if not notification["async"]:
                _answer_with_result(web, notification, answer)
                return
            is_heard = answer.endswith("accept")
            if conduct.get("works_first"):
                self._work(notification, conduct)
            elif is_heard or (conduct.get("works_unheard") and answer in ("mute", "crash", "garble", "500")):
                self._work_apart(notification, conduct)
            _answer(web, answer)
        finally:
            delivered.answered_ms = now_ms()

    def _conduct_of(self, notification: Json) -> tuple[Json, int]:
        """The conduct at one attempt of an execution, and how often that has been notified before."""
        execution_id, attempt = notification["execution_id"], notification["attempt"]
        planned = json.loads(notification["payload"]).get("conducts") or [GOOD]
        with self._lock:
            if execution_id not in self._conducts:
                number = self._executions_of[notification["job_name"]]
                self._executions_of[notification["job_name"]] += 1
                self._conducts[execution_id] = {"first": number}
            number = self._conducts[execution_id]["first"] + attempt - 1
            earlier = self._deliveries[(execution_id, attempt)]
            self._deliveries[(execution_id, attempt)] += 1
        return (GOOD if self._is_well else planned[number % len(planned)]), earlier

    def _arrived(self, notification: Json, channel: str, answer: str) -> Delivered:
        if "callback_url" in notification:
            with self._lock:
                self._urls[notification["execution_id"]] = notification["callback_url"]
        return self._journal.begin(
            Delivered(
                job=notification["job_name"],
                execution_id=notification["execution_id"],
                attempt=notification["attempt"],
                channel=channel,
                notification=notification,
                answer=answer,
            )
        )

    # --- what is done -----------------------------------------------------------------------------------

    def _work_apart(self, notification: Json, conduct: Json) -> None:
        threading.Thread(target=self._work, args=(notification, conduct), daemon=True).start()

    def _work(self, notification: Json, conduct: Json) -> None:
        if conduct["work"] == "wrong tokens, then succeed":
            self._forge(notification)
        WORKS[conduct["work"]](Caller(self._journal, notification), conduct["seconds"])

    def _forge(self, notification: Json) -> None:
        """With a secret of one's own making, and with that of another execution."""
        base, _, token = notification["callback_url"].rpartition("/")
        own_id, _, own_secret = token.partition(".")
        with self._lock:
            others = [url for execution_id, url in self._urls.items() if execution_id != own_id]
        made = [f"{own_id}.{own_secret[:2]}{secrets.token_urlsafe(32)[: len(own_secret) - 2]}"]
        if others:
            made.append(f"{own_id}.{secrets.choice(others).rpartition('/')[2].partition('.')[2]}")
        for forged in made:
            forger = Caller(self._journal, {**notification, "callback_url": f"{base}/{forged}"})
            forger.wrongly({"status": "success", "state": "forged"})


def _answer(web: _Web, answer: str) -> None:
    match answer:
        case "accept":
            web.answer(202)
        case "slowly accept":
            time.sleep(3)
            web.answer(202)
        case "302":
            web.answer(302, location="http://127.0.0.1:9/elsewhere")
        case "mute":
            time.sleep(_MUTE_SECONDS)
        case "crash":
            pass
        case "garble":
            web.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        case status:
            web.answer(int(status))


def _answer_with_result(web: _Web, notification: Json, answer: str) -> None:
    result = {"state": f"of {notification['execution_id'][-20:]}", "summary": "done"}
    match answer:
        case "result":
            web.answer(200, result)
        case "slow result":
            time.sleep(5)
            web.answer(200, result)
        case "empty":
            web.answer(204)
        case "not json":
            web.answer(200, b"<html>done</html>", media_type="text/html")
        case "state of a wrong type":
            web.answer(200, {"state": {"cursor": 7}})
        case "too large":
            web.answer(200, {"state": "x" * 600_000})
        case "too slow":
            time.sleep(_MUTE_SECONDS)
        case _:
            _answer(web, answer)


class _Web(BaseHTTPRequestHandler):
    """One webhook: answered by what is not HTTP, or not at all, where that is wanted."""

    service: WaywardService
    timeout = 20

    def do_POST(self) -> None:
        self.close_connection = True
        notification = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(ConnectionError):  # the manager has hung up
            self.service.take_webhook(self, notification)

    def answer(
        self,
        status: int,
        body: Json | bytes = b"",
        media_type: str = "application/json",
        location: str | None = None,
    ) -> None:
        """A whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        if content:
            self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _handler_of(service: WaywardService) -> type[_Web]:
    return type("Web", (_Web,), {"service": service})
