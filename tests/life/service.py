"""A service that reacts as the payload of each job says, and notes everything that it sees."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from local.sample_service import QueueListener, Server
from tests.life import answers
from tests.life.conduct import ACCEPTING, GOOD, LOST, RESULTS
from tests.life.journal import Delivered, Journal, Json, now_ms
from tests.life.work import WORKS, Caller


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
        self._has_recovered = False
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
        """The invocation_target of a job."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/jobs/{job_name}"

    def recover(self) -> None:
        """From now on, the service accepts every new notification and succeeds at once."""
        self._has_recovered = True

    # --- what it receives -------------------------------------------------------------------------------

    def _take_message(self, notification: Json) -> None:
        conduct, _ = self._conduct_of(notification)
        delivered = self._note(notification, "sns", "accept")
        delivered.answered_ms = now_ms()
        self._work_in_background(notification, conduct)

    def take_webhook(self, web: _Web, notification: Json) -> None:
        """Answers one webhook, and works as its conduct says."""
        if notification.get("test"):
            answers.send(web, "accept")
            return
        conduct, number = self._conduct_of(notification)
        planned = conduct["answers"] if notification["async"] else conduct["sync"]
        answer = planned[min(number, len(planned) - 1)]
        delivered = self._note(notification, "http", answer)
        try:
            if not notification["async"]:
                result = answers.result_of(notification["execution_id"])
                delivered.result = result if answer in RESULTS else None
                answers.send(web, answer, result)
                return
            if conduct.get("works_first"):
                self._work(notification, conduct)
            elif answer in ACCEPTING or (conduct.get("works_although_lost") and answer in LOST):
                self._work_in_background(notification, conduct)
            answers.send(web, answer)
        finally:
            delivered.answered_ms = now_ms()

    def _conduct_of(self, notification: Json) -> tuple[Json, int]:
        """The conduct at one attempt of an execution, and how often that attempt was notified before."""
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
        return (GOOD if self._has_recovered else planned[number % len(planned)]), earlier

    def _note(self, notification: Json, channel: str, answer: str) -> Delivered:
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

    # --- what it does -----------------------------------------------------------------------------------

    def _work_in_background(self, notification: Json, conduct: Json) -> None:
        threading.Thread(target=self._work, args=(notification, conduct), daemon=True).start()

    def _work(self, notification: Json, conduct: Json) -> None:
        if conduct["work"] == "wrong tokens, then succeed":
            self._forge(notification)
        WORKS[conduct["work"]](Caller(self._journal, notification), conduct["seconds"])

    def _forge(self, notification: Json) -> None:
        """Calls back with an invented secret, and with that of another execution."""
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


class _Web(BaseHTTPRequestHandler):
    """One webhook. Its answer may be something other than HTTP, or missing."""

    service: WaywardService
    timeout = 20

    def do_POST(self) -> None:
        self.close_connection = True
        notification = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with suppress(ConnectionError):  # the manager has hung up
            self.service.take_webhook(self, notification)

    def write(self, content: bytes) -> None:
        """Sends all of it now."""
        self.wfile.write(content)

    def finish(self) -> None:
        """Closes the files of a connection that may be closed already."""
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass


def _handler_of(service: WaywardService) -> type[_Web]:
    return type("Web", (_Web,), {"service": service})
