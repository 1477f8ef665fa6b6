"""A service that is killed at any moment tells no false success, and with a spool it loses no result."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.unit.sjm.receiver.manager import Manager

ROOT = Path(__file__).resolve().parents[4]
LIVES = 50


class Service:
    """Lives one life after the other."""

    def __init__(self, process: "subprocess.Popen[str]", spool: Path | None, directory: Path) -> None:
        self._process = process
        self._spool = spool
        self._directory = directory

    def live(self, notification: dict[str, Any] | None, seconds: float = 0) -> int:
        """Returns the exit code: -9 if it was killed."""
        order = {
            "notification": notification,
            "spool": self._spool and str(self._spool),
            "done": notification and str(self.done(notification)),
            "seconds": seconds,
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def done(self, notification: dict[str, Any]) -> Path:
        """The file that is there once the work is done."""
        return self._directory / f"{notification['execution_id']}.done"


@contextmanager
def running(directory: Path, spool: Path | None) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.sjm.receiver.killed_service"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "sjm" / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Service(process, spool, directory)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def check_successes(manager: Manager, service: Service, notifications: list[dict[str, Any]]) -> None:
    for each in notifications:
        results = manager.results(each["execution_id"])
        assert len({result["status"] for result in results}) <= 1
        if results and results[0]["status"] == "success":
            assert service.done(each).exists()
            assert results[0]["state"] == each["execution_id"]


def test_with_a_spool_no_result_is_lost(manager: Manager, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    notifications = [manager.notification() for _ in range(LIVES)]
    with running(tmp_path, spool) as service:
        for number, notification in enumerate(notifications):
            if number % 3 == 0:
                manager.script(notification["execution_id"], 0, 503)
            assert service.live(notification, seconds=0.02) == -signal.SIGKILL
        assert service.live(None) == 0

        check_successes(manager, service, notifications)
    statuses = [(manager.results(each["execution_id"]) or [{"status": "lost"}])[0] for each in notifications]
    assert {each["status"] for each in statuses} == {"success", "fail"}
    assert {each["error"]["name"] for each in statuses if each["status"] == "fail"} == {"Interrupted"}
    assert list(spool.glob("*.json")) == []


def test_without_a_spool_a_result_may_be_lost_but_is_never_false(manager: Manager, tmp_path: Path) -> None:
    notifications = [manager.notification() for _ in range(LIVES)]
    with running(tmp_path, None) as service:
        for notification in notifications:
            assert service.live(notification, seconds=0.02) == -signal.SIGKILL

        check_successes(manager, service, notifications)
    assert {each["status"] for each in manager.results()} <= {"success"}
    assert len(manager.results()) < LIVES  # some were lost: these attempts end as timeouts
