"""The doors, behind the servers and in the frameworks that services are made with."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager, send, status_of_large

ROOT = Path(__file__).resolve().parents[5]
SERVICES = "tests.unit.sjm.receiver.doors.services"
GUNICORN = ["gunicorn", "--workers=2", "--no-control-socket"]
UVICORN = ["uvicorn", "--factory", "--log-level=warning"]
CASES = {
    "gunicorn, before it forks": [*GUNICORN, "--preload", f"{SERVICES}:plain_wsgi()"],
    "gunicorn with threads": [*GUNICORN, "--threads=4", f"{SERVICES}:plain_wsgi()"],
    "gunicorn, mounted in Flask": [*GUNICORN, f"{SERVICES}:flask_mounted()"],
    "gunicorn, a view of Flask": [*GUNICORN, f"{SERVICES}:flask_view()"],
    "gunicorn, a view of Django": [*GUNICORN, f"{SERVICES}:django_view()"],
    "uvicorn": [*UVICORN, f"{SERVICES}:plain_asgi"],
    "uvicorn, two processes": [
        *UVICORN,
        "--workers=2",
        "--timeout-worker-healthcheck=60",
        f"{SERVICES}:plain_asgi",
    ],
    "uvicorn, mounted in FastAPI": [*UVICORN, f"{SERVICES}:fastapi_mounted"],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(command: list[str], directory: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    port = free_port()
    bind = [f"--bind=127.0.0.1:{port}"] if command[0] == "gunicorn" else [f"--port={port}"]
    log = directory / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", command[0], *bind, *command[1:]],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'sjm' / 'src'}",
                "SERVICE_DIRECTORY": str(directory),
            },
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + WAIT_SECONDS
        while not listens(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/jobs/nightly", server
    finally:
        server.terminate()
        server.wait(WAIT_SECONDS)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.mark.samples(3)
@pytest.mark.parametrize("case", CASES)
def test_a_service_behind_a_real_server(manager: Manager, tmp_path: Path, case: str) -> None:
    with serving(CASES[case], tmp_path) as (url, server):
        # A webhook is taken, its duplicates are not, whichever process gets them.
        notification = manager.notification(payload="ß € 🎉")
        outcomes = [send(url, notification).json["outcome"] for _ in range(6)]
        assert outcomes == ["accepted", *["duplicate"] * 5]
        assert manager.wait_for_result(notification["execution_id"])["state"] == "ß € 🎉"

        # What is no webhook of the manager is refused.
        assert send(url, manager.notification(), unsigned=True).status == 401
        assert send(url, manager.notification("monthly")).status == 404
        assert status_of_large(url, b"x" * 2_000_000) == 413
        assert send(url, {"test": True, "job_name": "nightly"}).json["outcome"] == "tested"

        # A sync job is answered with its result.
        answer = send(url, manager.notification("now", sync=True, payload="ß"))
        assert (answer.status, answer.json) == (200, {"state": "ß"})

        # A coroutine runs in the loop of the server, if it has one.
        notification = manager.notification("coroutine")
        send(url, notification)
        thread = manager.wait_for_result(notification["execution_id"])["summary"]
        assert thread.startswith("in MainThread" if "uvicorn" in case else "in sjm-worker-")

        # The end of the server waits for what runs.
        running = [manager.notification("slow") for _ in range(3)]
        for notification in running:
            assert send(url, notification).status == 202
        server.send_signal(signal.SIGTERM)
        for notification in running:
            assert manager.wait_for_result(notification["execution_id"])["summary"] == "done in the end"
        assert server.wait(WAIT_SECONDS) in (0, -signal.SIGTERM)
    assert len(manager.results()) == 5
    assert list((tmp_path / "spool").glob("*.json")) == []
