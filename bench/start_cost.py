"""Measures the CPU time that start_due_executions needs to start one execution.

The function's own code calls a local server, which answers every start immediately. The server is another
process, so only the caller's time counts. TLS is missing here and comes on top on AWS.
"""

import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from unittest.mock import patch

from jobmanager.aws import clients as aws_clients
from jobmanager.core.clock import ms_of_iso
from jobmanager.executions import tick as ticks
from jobmanager.executions.limits import task_limits
from jobmanager.executions.tick_parts import Tick

_WARM_UP_STARTS = 300
_STARTS = 2000
_TICK: Tick = {"schedule": "rate(1 hour)", "scheduled_time": "2026-11-25T12:00:00Z"}
_LIMITS = task_limits({"ttl_seconds": 300, "max_duration_seconds": 86_400, "async": True})
_ANSWER = json.dumps({"executionArn": "arn", "startDate": ms_of_iso(_TICK["scheduled_time"]) / 1000}).encode()


class _Starts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
        )


def _serve(port: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Starts)
    server.daemon_threads = True
    port.send(server.server_address[1])
    server.serve_forever()


def cpu_seconds_of_a_start() -> float:
    """The CPU seconds of one start, while many run at the same time."""
    process_kind = multiprocessing.get_context("spawn")
    our_end, server_end = process_kind.Pipe()
    server = process_kind.Process(target=_serve, args=(server_end,), daemon=True)
    server.start()
    environment = {
        "AWS_ENDPOINT_URL_SFN": f"http://127.0.0.1:{our_end.recv()}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:bench-run-job",
    }
    try:
        with patch.dict(os.environ, environment), ThreadPoolExecutor(ticks._STARTS_AT_ONCE) as pool:
            aws_clients._client.cache_clear()
            aws_clients.untraced_step_functions()
            _start(pool, _WARM_UP_STARTS)
            began = time.process_time()
            _start(pool, _STARTS)
            return (time.process_time() - began) / _STARTS
    finally:
        aws_clients._client.cache_clear()
        server.terminate()
        server.join()


def _start(pool: ThreadPoolExecutor, starts: int) -> None:
    outcomes = set(
        pool.map(lambda n: ticks._start(f"bench/job-{n}", _LIMITS, _TICK, "bench", True, ""), range(starts))
    )
    if outcomes != {"started"}:
        raise RuntimeError(f"every start should answer 'started', but the answers were {outcomes}")
