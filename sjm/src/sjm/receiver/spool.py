"""Keeps results on disk until they are answered, and knows which attempts a dead process had begun.

Each attempt that runs, or whose result is not answered yet, has one file in the directory. Its process holds
a lock on the file, which the operating system frees when the process ends, however it ends. So a file without
a lock was left behind, and the process that finds it sends what is in it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.names import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = logging.getLogger("sjm.receiver")

_SUFFIX: Final = ".json"


class Entry:
    """The file of one attempt, locked by this process. ``document`` is what is in it."""

    __slots__ = ("_descriptor", "_spool", "document", "name")

    def __init__(self, spool: Spool, name: str, descriptor: int, document: dict[str, Any]) -> None:
        self._spool = spool
        self._descriptor = descriptor
        self.name = name
        self.document = document

    def replace(self, **changes: Any) -> None:
        """Writes the changed document. It is on disk when this returns, or OSError is raised."""
        document = {**self.document, **changes}
        written = self._spool.write(self.name, document)
        os.close(self._descriptor)
        self._descriptor, self.document = written, document

    def remove(self) -> None:
        """Forgets the attempt."""
        # First the file, then its lock: nobody finds a file without a lock.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._spool.path(self.name))  # noqa: PTH108
        self.let_go()

    def let_go(self) -> None:
        """Frees the lock, and leaves the file to whoever finds it."""
        os.close(self._descriptor)
        self._spool.forget(self.name)


class Spool:
    """A directory with the mode 0700, and files with the mode 0600: a callback URL is a secret.

    Several processes may share it, also on a network file system that has ``flock``, such as EFS.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            import fcntl
        except ImportError:
            raise NotImplementedError(
                "a spool needs flock, which this operating system does not have"
            ) from None
        import json  # noqa: F401
        import secrets  # noqa: F401  (here, so that no thread imports them while a server forks)

        self._flock = fcntl.flock
        self._exclusively = fcntl.LOCK_EX | fcntl.LOCK_NB
        self._directory = os.fspath(directory)
        self._lock = threading.Lock()
        self._ours: set[str] = set()
        self._unreadable: set[str] = set()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)  # noqa: PTH103

    def begin(self, execution_id: str, attempt: int, document: Mapping[str, Any]) -> Entry:
        """Notes that the work of an attempt begins. It is on disk when this returns, or OSError is raised."""
        name = digest_of(execution_id, attempt)
        descriptor = self.write(name, dict(document), is_new=True)
        with self._lock:
            self._ours.add(name)
        return Entry(self, name, descriptor, dict(document))

    def has(self, execution_id: str, attempt: int) -> bool:
        """Whether there is a file of this attempt, of any process."""
        return os.path.exists(self.path(digest_of(execution_id, attempt)))  # noqa: PTH110

    def left_behind(self) -> Iterator[Entry]:
        """Takes over the files that no process holds a lock on."""
        for name in sorted(os.listdir(self._directory)):  # noqa: PTH208
            if name.startswith("."):
                self._remove_if_abandoned(f"{self._directory}/{name}")
            elif name.endswith(_SUFFIX) and (entry := self._taken_over(name.removesuffix(_SUFFIX))):
                yield entry

    def path(self, name: str) -> str:
        """Where the file of this name is."""
        return f"{self._directory}/{name}{_SUFFIX}"

    def forget(self, name: str) -> None:
        """Called by an entry that gives up its lock."""
        with self._lock:
            self._ours.discard(name)

    def write(self, name: str, document: Mapping[str, Any], *, is_new: bool = False) -> int:
        """Writes and locks a file before it takes its place; returns its descriptor.

        If it raises, a file that ``is_new`` is not there: another process would take it for an interrupted
        attempt.
        """
        import json
        import secrets

        under_way = f"{self._directory}/.{name}.{secrets.token_hex(8)}"
        undone = [under_way]
        descriptor = os.open(under_way, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._flock(descriptor, self._exclusively)
            content = memoryview(json.dumps(document).encode())
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
            os.rename(under_way, self.path(name))  # noqa: PTH104
            undone = [self.path(name)] if is_new else []
            self._sync_directory()
        except BaseException:
            for path in undone:
                with contextlib.suppress(OSError):
                    os.unlink(path)  # noqa: PTH108
            os.close(descriptor)
            raise
        return descriptor

    def _remove_if_abandoned(self, path: str) -> None:
        """Removes a file that a process was writing when it ended. A minute is long enough to lock it."""
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > 60:  # noqa: PTH116
                descriptor = os.open(path, os.O_RDWR)
                try:
                    self._flock(descriptor, self._exclusively)
                    os.unlink(path)  # noqa: PTH108
                finally:
                    os.close(descriptor)

    def _sync_directory(self) -> None:
        """Makes a renamed file durable: its name stands in the directory."""
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _taken_over(self, name: str) -> Entry | None:
        import json

        with self._lock:
            if name in self._ours:
                return None
            self._ours.add(name)
        descriptor = -1
        try:
            descriptor = os.open(self.path(name), os.O_RDWR)
            self._flock(descriptor, self._exclusively)
            # Its owner may have replaced or removed the file since it was opened.
            if os.fstat(descriptor).st_ino != os.stat(self.path(name)).st_ino:  # noqa: PTH116
                raise FileNotFoundError
            with open(descriptor, "rb", closefd=False) as file:
                document = json.loads(file.read())
            if not isinstance(document, dict):
                raise ValueError("not an object")
        except (OSError, ValueError) as error:  # another process has it, or it is none of ours
            if descriptor >= 0:
                os.close(descriptor)
            self.forget(name)
            if not isinstance(error, BlockingIOError | FileNotFoundError) and name not in self._unreadable:
                self._unreadable.add(name)
                logger.error("%s in the spool cannot be read: %s", f"{name}{_SUFFIX}", error)
            return None
        return Entry(self, name, descriptor, document)
