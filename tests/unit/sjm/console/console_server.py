"""The console, served on loopback: in a thread of this process, or by its command."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import uvicorn

from sjm.client import Manager
from sjm.console.access import Access
from sjm.console.app import create_app
from sjm.console.serve import bind
from sjm.console.site import FRAME_AFTER_SECONDS, PATIENCE_SECONDS
from tests.unit.sjm.console.stage_server import CREDENTIALS, StageServer

_SECONDS_TO_START = 30
_SOURCE = Path(__file__).resolve().parents[4] / "sjm" / "src"


@contextmanager
def console(
    manager: Manager,
    stage: str = "test",
    *,
    frame_after_seconds: float = FRAME_AFTER_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[Access]:
    """The keys of a console that serves. For the seconds see create_app."""
    listener = bind(0)
    access = Access(listener.getsockname()[1])
    listener.listen()
    config = uvicorn.Config(
        create_app(
            manager,
            stage,
            access,
            frame_after_seconds=frame_after_seconds,
            patience_seconds=patience_seconds,
        ),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    with listener:
        thread.start()
        deadline = time.monotonic() + _SECONDS_TO_START
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield access
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def console_command(server: StageServer, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command ``sjm console``, in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(_SOURCE),
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
        "AWS_REGION": "eu-central-1",
    }
    command = [
        sys.executable,
        "-m",
        "sjm.cli",
        "--url",
        server.stage.url,
        "console",
        "--no-browser",
        *arguments,
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def console_apart(server: StageServer) -> Iterator[Access]:
    """The keys of a console in a process of its own, so that nothing in this process slows it down."""
    cookies = CookieJar()
    with console_command(server) as process:
        assert process.stdout
        url = process.stdout.readline().removeprefix("The console is at ").strip()
        with build_opener(HTTPCookieProcessor(cookies)).open(url, timeout=_SECONDS_TO_START) as page:
            page.read()
        access = Access(urlsplit(url).port or 0)
        access.session_key = next(each.value or "" for each in cookies if each.name == access.cookie_name)
        yield access
