"""Remembers attempts in a directory."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from sjm.receiver.names import digest_of, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable


class DirectorySeen:
    """Remembers attempts as empty files: for several processes on one machine, such as gunicorn's workers.

    The claims outlive a restart. Those older than ``keep_seconds``, by default 15 days, are removed. Other
    files in the directory are left alone.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        keep_seconds: float = 15 * 86_400,
        now: Callable[[], float] = time.time,
    ) -> None:
        if keep_seconds <= 0:
            raise ValueError("keep_seconds: expected more than 0")
        self._directory = os.fspath(directory)
        self._keep_seconds = keep_seconds
        self._now = now
        self._lock = threading.Lock()
        self._swept_at = 0.0
        os.makedirs(self._directory, mode=0o700, exist_ok=True)  # noqa: PTH103 (pathlib costs 10 ms)

    def claim(self, execution_id: str, attempt: int) -> bool:
        """Whether the caller is the first to claim this attempt."""
        self._sweep_sometimes()
        try:
            # The file system lets only one process make a file.
            made = os.open(self._path(execution_id, attempt), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        os.close(made)
        return True

    def forget(self, execution_id: str, attempt: int) -> None:
        """Gives up a claim."""
        _remove(self._path(execution_id, attempt))

    def _path(self, execution_id: str, attempt: int) -> str:
        return f"{self._directory}/{digest_of(execution_id, attempt)}"

    def _sweep_sometimes(self) -> None:
        now = self._now()
        with self._lock:
            if now - self._swept_at < min(3600, self._keep_seconds):
                return
            self._swept_at = now
        with os.scandir(self._directory) as entries:
            for entry in entries:
                # Another process may have removed it, or it belongs to another user. No claim fails for that.
                with contextlib.suppress(OSError):
                    if is_digest(entry.name) and now - entry.stat().st_mtime > self._keep_seconds:
                        _remove(entry.path)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
