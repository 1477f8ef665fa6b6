"""Puts faults into the emulator: into the processes in which it runs functions, and into its retries."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from ministack.core import lambda_runtime
from ministack.services import stepfunctions

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
    """The functions find no module of ours: this one is loaded from its file, and is on no path."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    ready, invoked = "    try:\n        mod = importlib", "            result = handler_fn(event, context)"
    assert ready in script and invoked in script
    load = f"""
    import importlib.util
    faults_spec = importlib.util.spec_from_file_location("faults_of_the_local_stage", {worker.__file__!r})
    faults = importlib.util.module_from_spec(faults_spec)
    faults_spec.loader.exec_module(faults)
    faults.install()
"""
    begin = '            faults.begin(init["function_name"], event)\n'
    script = script.replace(ready, load + ready).replace(invoked, begin + invoked)
    lambda_runtime._PYTHON_WORKER_SCRIPT = script


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
