"""Measures what `sjm.receiver` adds to a service: the time from a webhook to its handler, and a heartbeat.

It needs no stage: a server on this machine answers the callbacks.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.figures import percentile
from bench.report import MissedTarget, Row, markdown_table, write
from sjm.receiver import Receiver, Run
from sjm.rehearsal.signature import signed_headers

CALL_GOAL_MS = 1.0
IMPORT_GOAL_MS = 30.0
_KEY = b"a key of the benchmark's own"
_ROUNDS = 2000
_HEARTBEATS = 500
_IMPORTS = 11


class _Manager(BaseHTTPRequestHandler):
    requests = 0

    def do_POST(self) -> None:
        """Takes every callback."""
        type(self).requests += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def run() -> str:
    """Measures, writes the results, and returns the page. Raises MissedTarget."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Manager)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        calls, heartbeats, requests = _measured(f"http://127.0.0.1:{server.server_address[1]}/callback/x")
    finally:
        server.shutdown()
        server.server_close()
    imports = [_import_ms() for _ in range(_IMPORTS)]
    rows: list[Row] = [
        _row("webhook to handler", calls, CALL_GOAL_MS),
        _row("a heartbeat, on loopback", heartbeats, "-"),
        _row("import sjm.receiver, processor time", imports, IMPORT_GOAL_MS),
    ]
    page = (
        "# The receiver\n\nMilliseconds on this machine. A heartbeat is "
        f"{requests / _HEARTBEATS:g} request, sent from one thread for all runs.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )
    write("receiver", page, rows)
    missed = [f"{row['what']} took {row['median']} ms" for row in rows if _is_missed(row)]
    if requests != _HEARTBEATS:
        missed.append(f"{_HEARTBEATS} heartbeats took {requests} requests")
    if missed:
        raise MissedTarget(page, "; ".join(missed))
    return page


def _measured(callback_url: str) -> tuple[list[float], list[float], int]:
    """The milliseconds of each call and of each heartbeat, and how many requests the heartbeats were."""
    calls: list[float] = []
    heartbeats: list[float] = []
    requests: list[int] = []
    with Receiver(secrets=[f"whsec_{base64.b64encode(_KEY).decode()}"]) as jobs:

        @jobs.job("called")
        def called(run: Run) -> None:
            calls.append((time.perf_counter() - float(run.payload)) * 1000)

        @jobs.job("beating")
        def beating(run: Run) -> None:
            before = _Manager.requests
            for _ in range(_HEARTBEATS):
                began = time.perf_counter()
                run.heartbeat(50)
                heartbeats.append((time.perf_counter() - began) * 1000)
            requests.append(_Manager.requests - before)

        for number in range(_ROUNDS + 1):
            job_name = "called" if number < _ROUNDS else "beating"
            fields = {
                "service_name": "bench",
                "job_name": job_name,
                "execution_id": f"bench-{number}",
                "callback_url": callback_url,
                "ttl_seconds": 300,
            }
            # So the time that the sender takes to sign counts too.
            content = json.dumps({**fields, "payload": str(time.perf_counter())}).encode()
            headers = signed_headers([_KEY], "bench", int(time.time()), content)
            assert jobs.receive(content, headers).status == 202
            assert jobs.engine.pool.wait_until_idle(60)
    return calls, heartbeats, requests[0]


def _import_ms() -> float:
    """The processor's time of an import, compiled before."""
    code = "import time; began = time.process_time(); import sjm.receiver; print(time.process_time() - began)"
    source = Path(__file__).resolve().parents[1] / "sjm" / "src"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(source)!r}); {code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout) * 1000


def _row(what: str, milliseconds: list[float], goal: float | str) -> Row:
    return {
        "what": what,
        "median": round(percentile(milliseconds, 50), 3),
        "95%": round(percentile(milliseconds, 95), 3),
        "goal": goal,
    }


def _is_missed(row: Row) -> bool:
    return isinstance(row["goal"], float) and float(row["median"]) > row["goal"]
