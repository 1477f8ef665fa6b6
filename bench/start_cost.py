"""Measures the CPU time that start_due_executions needs to start one execution, and to read 1,000 jobs.

The function's own code calls a local server, which answers every call immediately. The server is another
process, so only the caller's time counts. TLS is missing here and comes on top on AWS.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import ClassVar
from unittest.mock import patch

from bench.start_quota import due_item
from jobmanager.aws import clients as aws_clients
from jobmanager.core.clock import ms_of_iso
from jobmanager.executions import start_jobs
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import store

_WARM_UP_STARTS = 300
_STARTS = 2000
_JOBS_OF_A_PAGE = 1000
_PAGES = 20
_TICK: Tick = {"schedule": "rate(1 hour)", "scheduled_time": "2026-11-25T12:00:00Z"}
_STARTED = {"executionArn": "arn", "startDate": ms_of_iso(_TICK["scheduled_time"]) / 1000}
_PAGE = {"Count": _JOBS_OF_A_PAGE, "Items": [due_item(number) for number in range(_JOBS_OF_A_PAGE)]}


@dataclass(frozen=True)
class Cost:
    """CPU seconds: of one start, while many run at the same time; of the same by boto3; of a page of jobs."""

    start: float
    start_by_boto3: float
    page: float


class _Aws(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: ClassVar = {name: json.dumps(each).encode() for name, each in (("S", _STARTED), ("Q", _PAGE))}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        answer = self.answers["Q" if self.headers["x-amz-target"].endswith(".Query") else "S"]
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(answer), answer)
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # all threads connect at once


def _serve(port: Connection) -> None:
    server = _Server(("127.0.0.1", 0), _Aws)
    port.send(server.server_address[1])
    server.serve_forever()


def cost_of_a_start() -> Cost:
    """Measures in turns, so that a busy machine slows down both kinds of starts. Takes the best of three."""
    process_kind = multiprocessing.get_context("spawn")
    our_end, server_end = process_kind.Pipe()
    server = process_kind.Process(target=_serve, args=(server_end,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{our_end.recv()}"
    environment = {
        "AWS_ENDPOINT_URL_SFN": url,
        "AWS_ENDPOINT_URL_DYNAMODB": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "JOBS_TABLE": "jobs",
        "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:bench-run-job",
    }
    try:
        with patch.dict(os.environ, environment), ThreadPoolExecutor(start_jobs._STARTS_AT_ONCE) as pool:
            aws_clients._client.cache_clear()
            aws_clients.step_functions()
            aws_clients.untraced_step_functions()
            turns = [
                Cost(_start(pool, True), _start(pool, False), _cpu_seconds(_read_pages) / _PAGES)
                for _ in range(3)
            ]
            return Cost(*(min(getattr(turn, field.name) for turn in turns) for field in fields(Cost)))
    finally:
        aws_clients._client.cache_clear()
        server.terminate()
        server.join()


def _cpu_seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _job(number: int) -> store.DueJob:
    return {
        "job_key": f"bench/job-{number}",
        "ttl_seconds": 300,
        "max_duration_seconds": 86_400,
        "async": True,
    }


def _start(pool: ThreadPoolExecutor, is_lean: bool) -> float:
    def start(starts: int) -> None:
        found = pool.map(
            lambda n: start_jobs._start(_job(n), _TICK, "bench", is_lean, ""),
            range(starts),
        )
        if (outcomes := set(found)) != {"started"}:
            raise RuntimeError(f"every start should answer 'started', but the answers were {outcomes}")

    start(_WARM_UP_STARTS)
    return _cpu_seconds(lambda: start(_STARTS)) / _STARTS


def _read_pages() -> None:
    for _ in range(_PAGES):
        (page,) = store.pages_of_due(_TICK["schedule"], None, _JOBS_OF_A_PAGE)
        if len(page) != _JOBS_OF_A_PAGE:
            raise RuntimeError(f"a page should have {_JOBS_OF_A_PAGE} jobs, but it has {len(page)}")
