"""Makes the emulator fork the functions' processes from the template, and unpack each zip only once."""

import hashlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

from ministack.core import lambda_runtime

from local.aws_behaviour.wrapping import around
from local.quick_starts import template

IMPORTED = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
"""Packages that the template imports, and that a function's zip may also contain."""

SECONDS_UNTIL_LOGGED = 2
"""How long an invocation waits for its last line on standard error after its answer."""


def apply(directory: Path) -> None:
    """Call this after aws_behaviour.apply, before the emulator serves. Zips are unpacked in the directory."""
    unpack_each_zip_once(directory)
    mark_the_end_of_each_log()
    if sys.platform == "linux":
        python, _ = lambda_runtime._detect_runtime_binary("python3.13")
        fork_functions_of(python)


def unpack_each_zip_once(directory: Path) -> None:
    """All processes with the same zip share its files. On Lambda, /var/task is read-only too.

    Zips share the packages that they have in common. Otherwise a stage would unpack, and remove in the end,
    some 30,000 files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    unpacking = threading.Lock()

    class Zip(zipfile.ZipFile):
        """A zip that is unpacked into a directory of its own, to which each process gets a link."""

        def extractall(self, path: Any = None, *rest: Any, **named: Any) -> None:
            """Replaces an empty directory with a link."""
            wanted = Path(path)
            if any(wanted.iterdir()):
                super().extractall(path, *rest, **named)
                return
            assert self.filename is not None
            place = directory / hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()
            with unpacking:
                if not place.exists():
                    with tempfile.TemporaryDirectory(dir=directory) as scratch:
                        self._link_parts(Path(scratch))
                        Path(scratch).rename(place)
                        Path(scratch).mkdir()
            wanted.rmdir()
            wanted.symlink_to(place)

        def _link_parts(self, place: Path) -> None:
            """Links each file and directory at the zip's root, and unpacks those that no zip had before."""
            for name, members in self._by_root().items():
                content = repr(sorted((each.filename, each.CRC, each.file_size) for each in members))
                part = directory / hashlib.sha256(content.encode()).hexdigest()
                if not part.exists():
                    with tempfile.TemporaryDirectory(dir=directory) as scratch:
                        super().extractall(scratch, members)
                        (Path(scratch) / name).rename(part)
                if part.is_dir():
                    (place / name).symlink_to(part)
                else:  # Python would look beside the file that a symbolic link leads to
                    (place / name).hardlink_to(part)

        def _by_root(self) -> dict[str, list[zipfile.ZipInfo]]:
            found: dict[str, list[zipfile.ZipInfo]] = {}
            for member in self.infolist():
                found.setdefault(member.filename.partition("/")[0], []).append(member)
            return found

    lambda_runtime.zipfile = SimpleNamespace(
        ZipFile=Zip, BadZipFile=zipfile.BadZipFile, LargeZipFile=zipfile.LargeZipFile
    )


def mark_the_end_of_each_log() -> None:
    """Ends an invocation's log with a marker. Else the emulator waits until no line has come for a while."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    answered = "        _real_stdout.flush()\n\nrun()"
    assert answered in script
    mark = '        print("end of", _ms_ctx.get("request_id"), file=sys.stderr, flush=True)\n'
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(answered, mark + answered)
    request_ids: dict[lambda_runtime.Worker, str] = {}

    @around(lambda_runtime.Worker, "invoke")
    def invoke(
        original: Callable[..., Any], worker: lambda_runtime.Worker, event: Any, request_id: str, **named: Any
    ) -> Any:
        request_ids[worker] = request_id
        return original(worker, event, request_id, **named)

    @around(lambda_runtime.Worker, "_drain_stderr_bounded")
    def drain(original: Callable[..., str], worker: lambda_runtime.Worker, *waits: float) -> str:
        if not worker.config.get("Runtime", "").startswith("python"):
            return original(worker, *waits)
        lines: list[str] = []
        last_line = f"end of {request_ids.pop(worker)}"
        with suppress(queue.Empty):
            while (line := worker._stderr_queue.get(timeout=SECONDS_UNTIL_LOGGED)) != last_line:
                lines.append(line)
        return "\n".join(lines)


def fork_functions_of(python: str) -> None:
    """Forks functions that run in this Python. Starts all others, and those whose zip contains boto3."""
    forking = Template(python)

    class Popen(subprocess.Popen[Any]):
        """The class that the emulator calls to start a function's process."""

        def __new__(cls, command: Sequence[str], **options: Any) -> Any:
            """Returns a process of another class if it is forked."""
            directory = Path(options["cwd"])
            brings_its_own = any((directory / name).exists() for name in IMPORTED)
            if command[0] != python or brings_its_own:
                return super().__new__(cls)
            return forking.process(command[1], directory, options["env"])

    names = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT", "DEVNULL")}
    lambda_runtime.subprocess = SimpleNamespace(Popen=Popen, **names)


class Template:
    """The template's process."""

    def __init__(self, python: str) -> None:
        """Starts it. It ends when this process ends, because its socket is closed then."""
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with asked:
            self._process = subprocess.Popen([python, str(template.__file__)], stdin=asked.fileno())
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends it. The processes that it forked continue."""
        self._asking.close()
        self._process.wait()

    def process(self, script: str, directory: Path, environment: Mapping[str, str]) -> "Forked":
        """Forks a process that runs a script."""
        message = {"script": script, "directory": str(directory), "environment": dict(environment)}
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        from_stderr, stderr = os.pipe()
        until_its_end, life = os.pipe()
        theirs = [stdin, stdout, stderr, life]
        try:
            with self._lock:
                socket.send_fds(self._asking, [json.dumps(message).encode()], theirs)
                pid = self._asking.recv(100)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        if not pid:
            raise OSError("the template of the functions' processes has ended")
        return Forked(int(pid), to_stdin, from_stdout, from_stderr, until_its_end)


class Forked:
    """A process that another one forked, with the part of subprocess.Popen that the emulator uses."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int, until_its_end: int) -> None:
        self.pid = pid
        self.stdin: TextIO = os.fdopen(stdin, "w")
        self.stdout: TextIO = os.fdopen(stdout)
        self.stderr: TextIO = os.fdopen(stderr)
        self._until_its_end = os.fdopen(until_its_end, "rb", 0)

    def close(self) -> None:
        """Closes this end of its pipes. The emulator does not do that itself."""
        for pipe in (self.stdin, self.stdout, self.stderr, self._until_its_end):
            pipe.close()

    def poll(self) -> int | None:
        """None while it runs, as with Popen. Its exit code is not known."""
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""
        ended = self._ended_within(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return ended

    def terminate(self) -> None:
        """Asks it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended_within(self, seconds: float | None) -> int | None:
        """0 if the process closes its pipe within that time, as it does at its end; else None."""
        waiting = select.poll()
        waiting.register(self._until_its_end, select.POLLHUP)
        return 0 if waiting.poll(None if seconds is None else seconds * 1000) else None
