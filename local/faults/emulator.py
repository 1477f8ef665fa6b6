"""Puts faults into the functions' processes, and shortens the emulator's waits before retries."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from ministack.services import stepfunctions

from local import worker_script
from local.aws_behaviour.step_functions import running_execution
from local.aws_behaviour.wrapping import around
from local.faults import worker
from local.faults.plans import SETTING

WAIT_FACTOR = 0.05


def apply() -> None:
    """Call this before the emulator serves."""
    Path(os.environ[SETTING]).mkdir(parents=True, exist_ok=True)
    install_in_workers()
    shorten_waits()


def install_in_workers() -> None:
    """Records each call of a function in its process, and may make it fail."""
    module = worker_script.install(worker)
    worker_script.call_before_each_invocation(f'{module}.begin(init["function_name"], event)')


def shorten_waits() -> None:
    """An execution with a planned fault retries as often as usual, but waits less.

    Otherwise a permanent fault would take minutes. Nothing depends on the length of these waits.
    """
    directory = Path(os.environ[SETTING])

    @around(stepfunctions, "_scaled_sleep")
    def scaled_sleep(original: Callable[[float], None], seconds: float) -> None:
        running = running_execution.get()
        given = running.record().get("input", "{}") if running else "{}"
        original(seconds * WAIT_FACTOR if worker.planned(directory, json.loads(given)) else seconds)
