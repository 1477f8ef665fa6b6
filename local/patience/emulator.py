"""Counts the limits of functions and of tasks by a clock that goes slower as the emulator does."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import stepfunctions

from local import worker_script
from local.aws_behaviour.wrapping import around
from local.patience import worker
from local.slowness import PatientClock

SECONDS_BETWEEN_LOOKS = 0.5


def apply() -> None:
    """To be called before the emulator serves."""
    clock = PatientClock().start()
    limit_functions_by(clock)
    limit_tasks_by(clock)
    worker_script.install(worker)


def waited(clock: PatientClock, seconds: float, is_over: Callable[[float], bool]) -> bool:
    """Whether it is over within that time of the clock; ``is_over`` waits as long as it is told to."""
    deadline = clock.now() + seconds
    while (left := deadline - clock.now()) > 0:
        if is_over(min(left, SECONDS_BETWEEN_LOOKS)):
            return True
    return is_over(0)


def limit_functions_by(clock: PatientClock) -> None:
    """The emulator waits for a function's answer, with a thread, for as long as the function's Timeout."""

    class Thread(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            def is_over(seconds: float) -> bool:
                super(Thread, self).join(seconds)
                return not self.is_alive()

            if timeout is None:
                super().join()
            else:
                waited(clock, timeout, is_over)

    names = {name: getattr(threading, name) for name in threading.__all__}
    lambda_runtime.threading = SimpleNamespace(**names | {"Thread": Thread})


def limit_tasks_by(clock: PatientClock) -> None:
    """TimeoutSeconds of a task that waits for no callback. Those of a task that does are a job's own."""

    @around(stepfunctions, "_invoke_resource_with_timeout")
    def invoke(_original: Callable[..., Any], resource: str, given: Any, timeout: float) -> Any:
        pool = ThreadPoolExecutor(max_workers=1)
        in_context = contextvars.copy_context().run
        answer: Future[Any] = pool.submit(in_context, stepfunctions._invoke_resource, resource, given)
        pool.shutdown(wait=False)
        if not waited(clock, timeout, lambda seconds: bool(wait([answer], seconds).done)):
            message = f"Task timed out after {timeout} seconds"
            raise stepfunctions._ExecutionError("States.Timeout", message)
        return answer.result()
