"""The console, served on loopback in a thread of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from sjm.client import Manager
from sjm.console.access import Access
from sjm.console.app import create_app
from sjm.console.serve import bind
from sjm.console.site import FRAME_AFTER_SECONDS

_SECONDS_TO_START = 30


@contextmanager
def console(
    manager: Manager, stage: str = "test", *, frame_after_seconds: float = FRAME_AFTER_SECONDS
) -> Iterator[Access]:
    """The keys of a console that serves. For frame_after_seconds see create_app."""
    listener = bind(0)
    access = Access(listener.getsockname()[1])
    listener.listen()
    config = uvicorn.Config(
        create_app(manager, stage, access, frame_after_seconds=frame_after_seconds),
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
