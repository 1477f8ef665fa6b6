"""What the receiver raises."""

from __future__ import annotations


class ReceiverError(Exception):
    """Everything that the receiver raises."""


class Stopped(ReceiverError):
    """Raised in a handler when the manager has answered 410: the execution is over, or its lock is gone.

    Let it pass. The receiver then sends no result, because nobody waits for one.
    """


class OutOfTime(ReceiverError):
    """Raised in a handler shortly before its time is up: at a shutdown, or in Lambda, or in a sync job.

    If you let it pass, the attempt fails with it. You may also catch it, save what is done, and return
    ``Success(state=…)`` from which the next run continues.
    """


class Refused(ReceiverError):
    """A notification that the receiver does not take. ``status`` is the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class NothingToDo(ReceiverError):
    """Raised by ``with jobs.run(message)`` instead of running its body."""


class Duplicate(NothingToDo):
    """The same attempt was taken before."""


class TestNotification(NothingToDo):
    """The manager only tests whether the service listens."""

    __test__ = False  # pytest takes classes of this name for tests


class ResultNotDelivered(ReceiverError):
    """Raised at the end of ``with jobs.run(message)`` if the manager did not take the result in time.

    If nobody answered, a spool keeps the result, and it is sent when the manager can be reached.
    """
