"""Counts limits of functions, tasks and Express executions by a clock that slows down with the emulator."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import SimpleNamespace
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import stepfunctions

from local import worker_script
from local.aws_behaviour import express
from local.aws_behaviour.wrapping import around
from local.patience import worker
from local.slowness import PatientClock


def apply() -> None:
    """Call this before the emulator serves."""
    clock = PatientClock().start()
    limit_functions_by(clock)
    limit_tasks_by(clock)
    limit_express_executions_by(clock)
    worker_script.install(worker)


def limit_functions_by(clock: PatientClock) -> None:
    """Extends a function's Timeout, for which the emulator waits with a thread."""

    class Thread(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            def is_over(seconds: float) -> bool:
                super(Thread, self).join(seconds)
                return not self.is_alive()

            if timeout is None:
                super().join()
            else:
                clock.waited(timeout, is_over)

    names = {name: getattr(threading, name) for name in threading.__all__}
    lambda_runtime.threading = SimpleNamespace(**names | {"Thread": Thread})


def limit_tasks_by(clock: PatientClock) -> None:
    """Extends TimeoutSeconds of tasks that wait for no callback. Those of the others are limits of jobs."""

    @around(stepfunctions, "_invoke_resource_with_timeout")
    def invoke(_original: Callable[..., Any], resource: str, given: Any, timeout: float) -> Any:
        answer: Future[Any] = Future()
        in_context = contextvars.copy_context().run

        def run() -> None:
            try:
                answer.set_result(in_context(stepfunctions._invoke_resource, resource, given))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        if not clock.waited(timeout, lambda seconds: wait([answer], seconds).done):
            message = f"Task timed out after {timeout} seconds"
            raise stepfunctions._ExecutionError("States.Timeout", message)
        return answer.result()


def limit_express_executions_by(clock: PatientClock) -> None:
    """Extends the time that an execution of an Express machine has."""

    @around(express, "is_over")
    def is_over(original: Callable[..., bool], running: threading.Thread, seconds: float) -> bool:
        return clock.waited(seconds, lambda seconds_of_the_clock: original(running, seconds_of_the_clock))
