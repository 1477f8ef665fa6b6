"""The service of docs/integrate.md repeats its result while the API throttles it."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.terraform.blocks import ROOT

PAGE = (ROOT / "docs" / "integrate.md").read_text()


class Manager(ThreadingHTTPServer):
    """Answers callbacks with these statuses, as API Gateway and the manager do."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.callbacks: list[dict[str, Any]] = []
        manager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                manager.callbacks.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(manager.statuses.pop(0))
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/callback/secret"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The example's functions, which do not wait here."""
    (source,) = re.findall(r"```python\n(# service\.py\n.*?)```", PAGE, re.DOTALL)
    functions, served, _ = source.partition("\nThreadingHTTPServer(")
    assert served
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
    names: dict[str, Any] = {}
    exec(compile(functions, "service.py", "exec"), names)
    monkeypatch.setattr(names["time"], "sleep", lambda seconds: None)
    yield names


def test_the_service_of_the_page_repeats_its_result_after_429_and_503(service: dict[str, Any]) -> None:
    with Manager(429, 429, 200, 429, 503, 200) as manager:
        service["work"]({"callback_url": manager.url, "last_successful_execution": {"state": "7"}})
        manager.shutdown()

    assert [body["status"] for body in manager.callbacks] == ["processing"] * 3 + ["success"] * 3
    assert manager.callbacks[-1] == {"status": "success", "summary": "closed the books", "state": "8"}


def test_the_service_of_the_page_stops_after_410(service: dict[str, Any]) -> None:
    with Manager(200, 410) as manager:
        service["work"]({"callback_url": manager.url, "last_successful_execution": {}})
        manager.shutdown()

    assert [body["status"] for body in manager.callbacks] == ["processing"] * 2
