"""A service that is killed. It forks a life for each line of its input, and says how each has ended."""

import contextlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sjm.receiver import Receiver, Run, Success
from tests.unit.sjm.receiver.manager import SECRET, encoded, signed

logging.disable()


def live(order: dict[str, Any]) -> None:
    """Takes one notification and is killed meanwhile; without one, sends what is in the spool."""
    receiver = Receiver(secrets=[SECRET], spool=order["spool"])
    receiver.engine.results.backoff_seconds = 0.01

    @receiver.job("nightly")
    def nightly(run: Run) -> Success:
        threading.Thread(target=die, args=(random.uniform(0, order["seconds"]),), daemon=True).start()
        time.sleep(order["seconds"] / 4)
        Path(order["done"]).touch()  # the work is done
        return Success(state=run.execution_id)

    if order["notification"] is None:
        until = time.monotonic() + 60
        while any(Path(order["spool"]).glob("*.json")) and time.monotonic() < until:
            time.sleep(0.01)
        return
    content = encoded(order["notification"])
    assert receiver.receive(content, signed(content)).status == 202
    time.sleep(60)


def die(seconds: float) -> None:
    """As `kill -9` does."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Forks, because a new process would take a hundred times as long to start."""
    for line in sys.stdin:
        random.seed(line)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                live(json.loads(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
