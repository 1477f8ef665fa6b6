"""Forks processes for functions, from a process that has imported what every function imports.

Runs with a socket on its standard input. Each message on the socket requests one process, and carries its
file descriptors. The process looks like a newly started Python: it has its own environment, working
directory, arguments and standard streams, and its path begins with the script's directory. But boto3 and its
imports are imported already.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import types
from functools import cache
from pathlib import Path
from typing import Any

DESCRIPTORS = 4
"""The standard streams, and a pipe that stays open while the process lives."""

SERVICES = ("dynamodb", "events", "kms", "lambda", "sns", "sqs", "stepfunctions")
MESSAGE_BYTES = 1 << 20


def warm_up() -> None:
    """Imports boto3, and creates a client of each service that functions use, which imports the rest."""
    import boto3
    import botocore.handlers  # noqa: F401
    from botocore.config import Config
    from botocore.loaders import JSONFileLoader

    # The loader reads its files for each session. The functions' sessions get the files that are read here.
    read = cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda _loader, path: read(path)  # type: ignore[assignment, method-assign]
    session: Any = boto3.Session("none", "none", region_name="us-east-1")
    for service in SERVICES:
        session.client(service, config=Config(retries={"mode": "standard"}))


def serve(asked: socket.socket) -> None:
    """Forks a process for each message, until the other end is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(
            asked, MESSAGE_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            asked.close()
            become(json.loads(message), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(pid).encode())


def become(wanted: dict[str, Any], descriptors: list[int]) -> None:
    """Turns this process into the requested one, except for running its script."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(wanted["directory"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    time.tzset()
    sys.argv = [wanted["script"]]
    sys.path[0] = str(Path(wanted["script"]).parent)
    importlib.invalidate_caches()


def run_script() -> None:
    """Runs the script that ``become`` named, as Python runs its main script."""
    script = sys.argv[0]
    main = types.ModuleType("__main__")
    main.__file__ = script
    for alias in ("__main__", "__mp_main__"):
        if alias in sys.modules:
            sys.modules[alias] = main
    exec(compile(Path(script).read_bytes(), script, "exec"), vars(main))


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the system forgets processes that have ended
    with socket.socket(fileno=os.dup(0)) as asked:
        warm_up()
        gc.freeze()
        serve(asked)
    if sys.argv[0] != __file__:
        run_script()
