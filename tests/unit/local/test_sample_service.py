"""The sample service with a fake manager, on loopback and without AWS."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from standardwebhooks import Webhook

from local.api_client import ManagerApi, path_of
from local.observed_service import ObservedService
from local.sample_service import Called, Received
from sjm.receiver.callback import CallbackAnswer, post

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "local" / "sample_service.py"
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class FakeManager:
    """Records all requests and callbacks. Answers with the statuses in ``script``, then with 200."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.script: list[int] = []
        manager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                manager.requests.append((self.command, self.path, headers, content))
                if self.path.startswith("/callback/"):
                    manager.callbacks.append((self.path, json.loads(content)))
                status = manager.script.pop(0) if manager.script else 200
                answer = json.dumps({"status": "running"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body in self.callbacks]


@pytest.fixture
def manager() -> Iterator[FakeManager]:
    fake = FakeManager()
    yield fake
    fake.close()


@pytest.fixture
def service() -> Iterator[ObservedService]:
    with ObservedService("billing") as running:
        yield running


def notification(
    manager: FakeManager, payload: object = None, execution_id: str = "guid-1", **more: Any
) -> dict[str, Any]:
    return {
        "service_name": "billing",
        "job_name": "nightly",
        "execution_id": execution_id,
        "callback_url": f"{manager.url}/callback/{execution_id}.secret",
        "payload": payload if isinstance(payload, str) else json.dumps(payload),
        "scheduled_time_ms": int(time.time() * 1000),
        "heartbeat_interval_seconds": 300,
        "last_successful_execution": {},
        **more,
    }


def post_json(url: str, body: dict[str, Any]) -> CallbackAnswer:
    return post(url, body, timeout_seconds=60)


def send(service: ObservedService, body: dict[str, Any]) -> int:
    return post_json(service.webhook_url("nightly"), body).status


def callback_count(count: int) -> Any:
    return lambda service: len(service.callbacks) >= count


def test_a_webhook_is_answered_immediately_while_the_work_continues(
    service: ObservedService, manager: FakeManager
) -> None:
    started = time.monotonic()

    assert send(service, notification(manager, {"do": "succeed", "seconds": 90})) == 202

    assert time.monotonic() - started < 45
    assert [event.outcome for event in service.received] == ["taken"]
    assert service.received[0].channel == "http"
    assert abs(service.received[0].latency_seconds) < 45
    assert service.callbacks == ()


def test_success_comes_after_its_heartbeats(service: ObservedService, manager: FakeManager) -> None:
    payload = {"do": "succeed", "seconds": 0.03, "heartbeats": 2, "summary": "done", "state": "cursor-42"}

    send(service, notification(manager, payload))

    service.wait_for(callback_count(3), 60, "two heartbeats and the success")
    assert manager.bodies() == [
        {"status": "processing", "progress": 33},
        {"status": "processing", "progress": 67},
        {"status": "success", "summary": "done", "state": "cursor-42"},
    ]
    assert manager.callbacks[0][0] == "/callback/guid-1.secret"
    assert [call.answer.status for call in service.callbacks] == [200, 200, 200]


def test_a_failure_reports_its_error(service: ObservedService, manager: FakeManager) -> None:
    send(
        service, notification(manager, {"do": "fail", "error": {"type": "Unbalanced"}, "summary": "off by 1"})
    )

    service.wait_for(callback_count(1), 60, "the failure")
    assert manager.bodies() == [{"status": "fail", "error": {"type": "Unbalanced"}, "summary": "off by 1"}]


@pytest.mark.parametrize(("last", "state"), [({}, "40"), ({"state": "40"}, "80")])
def test_advance_continues_where_the_last_success_stopped(
    service: ObservedService, manager: FakeManager, last: dict[str, str], state: str
) -> None:
    send(service, notification(manager, {"do": "succeed", "advance": 40}, last_successful_execution=last))

    service.wait_for(callback_count(1), 60, "the success")
    assert manager.bodies()[0]["state"] == state
    assert manager.bodies()[0]["summary"] == f"items {int(state) - 39} to {state}"


def test_heartbeats_continue_until_the_execution_is_over(
    service: ObservedService, manager: FakeManager
) -> None:
    manager.script = [200, 200, 410]

    send(service, notification(manager, {"do": "heartbeat_forever", "every": 0.01}))

    service.wait_for(callback_count(3), 60, "three heartbeats")
    time.sleep(0.05)
    assert manager.bodies() == [{"status": "processing"}] * 3


def test_work_stops_when_its_lock_is_lost(service: ObservedService, manager: FakeManager) -> None:
    manager.script = [410]

    send(service, notification(manager, {"do": "succeed", "seconds": 0.04, "heartbeats": 3}))

    service.wait_for(callback_count(1), 60, "the heartbeat that was refused")
    time.sleep(0.06)
    assert manager.bodies() == [{"status": "processing", "progress": 25}]


def test_a_silent_service_never_calls_back(service: ObservedService, manager: FakeManager) -> None:
    assert send(service, notification(manager, {"do": "silent"})) == 202

    time.sleep(0.05)
    assert manager.callbacks == []


@pytest.mark.parametrize("payload", ["", "not JSON", "[1]", '{"foo":"bar"}'])
def test_any_other_payload_succeeds(service: ObservedService, manager: FakeManager, payload: str) -> None:
    send(service, notification(manager, payload))

    service.wait_for(callback_count(1), 60, "the success")
    assert manager.bodies() == [{"status": "success"}]


@pytest.mark.parametrize("payload", [{"do": "dance"}, {"do": "succeed", "seconds": "many"}])
def test_invalid_work_is_reported_as_a_failure(
    service: ObservedService, manager: FakeManager, payload: dict[str, str]
) -> None:
    send(service, notification(manager, payload))

    service.wait_for(callback_count(1), 60, "the failure")
    assert manager.bodies()[0]["status"] == "fail"


def test_a_repeated_notification_is_answered_and_ignored(
    service: ObservedService, manager: FakeManager
) -> None:
    message = notification(manager, {"do": "succeed"})

    assert send(service, message) == 202
    assert send(service, {**message, "callback_url": f"{manager.url}/callback/another-attempt"}) == 202
    service.take(message, "sns")
    send(service, notification(manager, {"do": "succeed"}, execution_id="guid-2"))

    service.wait_for(callback_count(2), 60, "the successes of both executions")
    assert [event.outcome for event in service.received] == ["taken", "repeated", "repeated", "taken"]
    assert sorted(path for path, _ in manager.callbacks) == [
        "/callback/guid-1.secret",
        "/callback/guid-2.secret",
    ]


def test_scripted_answers_come_first_and_a_refused_webhook_is_not_taken(
    service: ObservedService, manager: FakeManager
) -> None:
    service.script_answers(503, 503, 200)
    message = notification(manager, {"do": "succeed"})

    assert [send(service, message) for _ in range(4)] == [503, 503, 200, 202]

    service.wait_for(callback_count(1), 60, "the success")
    assert [event.outcome for event in service.received] == ["refused", "refused", "taken", "repeated"]
    assert len(manager.callbacks) == 1


@pytest.mark.parametrize("body", [b"", b"not JSON", b"[]"])
def test_a_body_that_is_not_a_notification_is_refused(service: ObservedService, body: bytes) -> None:
    request = urllib.request.Request(service.webhook_url("nightly"), data=body, method="POST")

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)

    refused.value.close()
    assert refused.value.code == 400
    assert service.received == ()


def test_only_the_path_of_jobs_accepts_notifications(service: ObservedService, manager: FakeManager) -> None:
    url = service.webhook_url("nightly").replace("/jobs/", "/else/")

    assert post_json(url, notification(manager)).status == 404


def test_events_are_reported_as_they_happen(manager: FakeManager) -> None:
    events: list[Received | Called] = []
    with ObservedService("billing", on_event=events.append) as service:
        send(service, notification(manager, {"do": "succeed"}))
        service.wait_for(callback_count(1), 60, "the success")

    assert [type(event) for event in events] == [Received, Called]
    assert [event.job_name for event in events] == ["nightly", "nightly"]


def test_a_wait_that_times_out_says_what_it_waited_for(service: ObservedService) -> None:
    with pytest.raises(TimeoutError, match=r"billing waited 0\.05 s in vain for a miracle"):
        service.wait_for(lambda _: False, 0.05, "a miracle")


def test_stopping_the_service_abandons_its_work(manager: FakeManager) -> None:
    with ObservedService("billing") as service:
        url = service.webhook_url("nightly")
        send(service, notification(manager, {"do": "succeed", "seconds": 600, "heartbeats": 1}))

    assert manager.callbacks == []
    assert post_json(url, {}).status == 0


def test_a_result_is_repeated_until_it_is_answered(service: ObservedService, manager: FakeManager) -> None:
    manager.script = [500, 429, 200]
    send(service, notification(manager, {"do": "succeed", "state": "s"}))

    service.wait_for(callback_count(3), 60, "three results")
    assert manager.bodies() == [{"status": "success", "state": "s"}] * 3
    assert [call.answer.status for call in service.callbacks] == [500, 429, 200]


def test_a_heartbeat_is_never_repeated(service: ObservedService, manager: FakeManager) -> None:
    manager.script = [500]
    send(service, notification(manager, {"do": "succeed", "seconds": 0.02, "heartbeats": 1}))

    service.wait_for(callback_count(2), 60, "the success")
    assert [body["status"] for body in manager.bodies()] == ["processing", "success"]


def test_a_sync_job_is_answered_with_its_result(service: ObservedService, manager: FakeManager) -> None:
    sync = {"async": False, "callback_url": None}
    done = notification(manager, {"do": "succeed", "state": "s"}, "guid-1", **sync)
    failed = notification(manager, {"do": "fail", "error": "off by 1"}, "guid-2", **sync)
    url = service.webhook_url("nightly")

    answers = [post_json(url, each) for each in (done, failed)]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, {"state": "s"}),
        (422, {"error": "off by 1"}),
    ]
    assert [event.outcome for event in service.received] == ["taken", "taken"]


def test_webhooks_are_taken_only_with_a_signature_once_there_is_a_secret(
    service: ObservedService, manager: FakeManager
) -> None:
    message = notification(manager, {"do": "succeed"})
    service.trust_only(SECRET)
    assert send(service, message) == 401
    content = json.dumps(message)
    at = datetime.now(UTC)
    signed = {
        "webhook-id": "guid-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("guid-1", at, content),
    }
    request = urllib.request.Request(service.webhook_url("nightly"), content.encode(), signed, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 202

    service.wait_for(callback_count(1), 60, "the success")
    assert [event.outcome for event in service.received] == ["refused", "taken"]


def test_a_message_of_a_queue_that_is_no_notification_stays_there(service: ObservedService) -> None:
    with pytest.raises(RuntimeError, match="no job_name"):
        service.take({"hello": "world"}, "sns")
    assert service.received == ()


def test_api_requests_are_signed_and_quoted(manager: FakeManager) -> None:
    api = ManagerApi(f"{manager.url}/$default", Credentials("AKID", "secret"), "us-east-1")

    answer = api.request(
        "PUT", path_of("services", "a b", "jobs", "c/d"), {"x": 1}, query={"since": "12:00 +1"}
    )
    api.unsigned_request("GET", "/jobs")

    method, path, headers, content = manager.requests[0]
    assert (method, path) == ("PUT", "/$default/services/a%20b/jobs/c%2Fd?since=12%3A00%20%2B1")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/us-east-1/execute-api/aws4_request" in headers["authorization"]
    assert (headers["content-type"], json.loads(content)) == ("application/json", {"x": 1})
    assert (answer.status, answer.body) == (200, {"status": "running"})
    assert "authorization" not in manager.requests[1][2]


def test_an_error_status_of_the_api_is_returned_and_not_raised(manager: FakeManager) -> None:
    manager.script = [503]
    api = ManagerApi(manager.url, Credentials("AKID", "secret"), "us-east-1")

    assert api.request("GET", "/jobs").status == 503
    assert len(manager.requests) == 1


def test_the_sample_service_imports_only_the_standard_library_the_package_and_boto3() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(SAMPLE.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported - sys.stdlib_module_names == {"boto3", "botocore", "sjm"}


def test_a_copy_of_the_sample_service_works_on_its_own(manager: FakeManager, tmp_path: Path) -> None:
    copy = shutil.copy(SAMPLE, tmp_path / "service.py")
    with subprocess.Popen(
        [sys.executable, "-P", "-s", str(copy)],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT / "sjm" / "src")
        },  # it can import the package, and nothing else of the project
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            url = (
                running.stdout.readline().removeprefix("webhooks: ").strip().replace("<job_name>", "nightly")
            )
            message = notification(manager, {"do": "succeed", "state": "cursor-42"})
            assert post_json(url, message).status == 202
            deadline = time.monotonic() + 60
            while not manager.callbacks and time.monotonic() < deadline:
                time.sleep(0.01)
            assert manager.bodies() == [{"status": "success", "state": "cursor-42"}]
        finally:
            running.terminate()
