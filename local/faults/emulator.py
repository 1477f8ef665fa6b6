"""Puts faults into the emulator: into the processes in which it runs functions, and into its retries."""

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

HASTE = 0.05


def apply() -> None:
    """To be called before the emulator serves."""
    Path(os.environ[SETTING]).mkdir(parents=True, exist_ok=True)
    stand_in_the_workers()
    hurry_between_retries()


def stand_in_the_workers() -> None:
    """Each call of a function is noted, and may go wrong, in the function's process."""
    module = worker_script.install(worker)
    worker_script.call_before_each_invocation(f'{module}.begin(init["function_name"], event)')


def hurry_between_retries() -> None:
    """An execution for which a fault is planned waits as often as it should, but not as long.

    A task that fails for good is given up after minutes; nothing depends on how long they were.
    """
    directory = Path(os.environ[SETTING])

    @around(stepfunctions, "_scaled_sleep")
    def scaled_sleep(original: Callable[[float], None], seconds: float) -> None:
        running = running_execution.get()
        given = running.record().get("input", "{}") if running else "{}"
        original(seconds * HASTE if worker.planned(directory, json.loads(given)) else seconds)
