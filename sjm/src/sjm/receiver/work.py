"""Calls a job's handler."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from sjm.receiver.outcome import HandedOver, failure_of, result_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

    from sjm.receiver.outcome import Failure, Success
    from sjm.receiver.run import Run

    Handler = Callable[[Run], Any]

logger = logging.getLogger("sjm.receiver")

HeartbeatMode = Literal["auto", "progress"]


class Job:
    """A handler and what was said about it."""

    __slots__ = ("handler", "heartbeat", "short")

    def __init__(self, handler: Handler, heartbeat: HeartbeatMode, *, short: bool) -> None:
        self.handler = handler
        self.heartbeat = heartbeat
        self.short = short


def perform(
    handler: Handler, run: Run, *, with_trace: bool, loop: AbstractEventLoop | None = None
) -> Success | Failure | None:
    """Calls the handler and returns its result; None if none is to be sent.

    A coroutine runs in this loop, or in one of its own. Whatever the handler raises is a failure.
    """
    try:
        returned = handler(run)
        if hasattr(returned, "__await__"):
            returned = _awaited(returned, loop)
        result = result_of(returned)
        if isinstance(result, HandedOver):
            if run.is_sync:
                raise TypeError("a sync job was handed over, but its result is the answer to its webhook")
            return None
    except BaseException as error:  # also SystemExit: the attempt has ended, and its thread goes on
        return raised(error, run, with_trace=with_trace)
    if run.is_stopped:
        logger.warning("%r: was stopped, so its result is not sent", run)
        return None
    return result


def raised(error: BaseException, run: Run, *, with_trace: bool) -> Failure | None:
    """The failure that an exception of the handler means; None if the run was stopped."""
    if run.is_stopped:
        logger.warning("%r: stopped: %r", run, error)
        return None
    logger.error("%r: failed", run, exc_info=error)
    return failure_of(error, with_trace=with_trace)


def _awaited(awaitable: Awaitable[Any], loop: AbstractEventLoop | None) -> Any:
    import asyncio

    async def result() -> Any:
        return await awaitable

    coroutine = result()
    if loop is None:
        return asyncio.run(coroutine)
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop is closed, and nothing will await them
        for each in (coroutine, awaitable):
            if hasattr(each, "close"):
                each.close()
        raise
    return future.result()
