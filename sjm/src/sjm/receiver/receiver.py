"""The receiver: what a service is made with."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from sjm.receiver.answer import Answer, busy, duplicate, refusal, tested
from sjm.receiver.engine import Engine
from sjm.receiver.errors import Refused
from sjm.receiver.notification import MAX_BYTES, Notification, parse
from sjm.receiver.outcome import Failure, Success
from sjm.receiver.seen import MemorySeen
from sjm.receiver.signature import Signatures
from sjm.receiver.work import HeartbeatMode, Job

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from sjm.receiver.doors.asgi import AsgiApplication
    from sjm.receiver.doors.context import RunContext
    from sjm.receiver.doors.wsgi import WsgiApplication
    from sjm.receiver.engine import Claimed, OnCallback
    from sjm.receiver.seen import Seen
    from sjm.receiver.work import Handler

logger = logging.getLogger("sjm.receiver")


class Headers(Protocol):
    """The headers of a request, in any case: a mapping, or what a web framework has."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values."""


H = TypeVar("H", bound="Handler")

ANY_OTHER_JOB: Final = "*"


class Receiver:
    """Takes the notifications of one service, calls the handlers of its jobs, and calls back.

    * ``secrets``: the webhook secrets (``whsec_…``) of the service, of which any may have signed, or a
      function that returns them. None takes no webhook at all: for a service that is notified over SNS.
    * ``seen`` remembers which attempts were taken: :class:`MemorySeen` for one process, the default,
      :class:`DirectorySeen` for several on one machine, :class:`DynamoDBSeen` for Lambda and several
      machines.
    * ``spool``: a directory, in which a result outlives this process until it is answered.
    * ``workers``: how many attempts run at once. To more, the service answers 503 with ``Retry-After``
      ``busy_seconds``, and the manager sends the notification again.
    * ``trace``: whether a failure also tells the trace of its exception, which may name secrets.
    * ``on_callback``: called with the notification, the body and the answer of each callback, for metrics.
    * ``give_up_seconds``: how long a result is repeated while nobody answers, by default a day.
    * ``leave_seconds``: how long before Lambda's deadline ``track`` and ``progress`` raise OutOfTime.
    * ``allow_unsigned``: takes webhooks without a signature. For trials on your own machine.
    """

    def __init__(
        self,
        *,
        secrets: Iterable[str] | Callable[[], Iterable[str]] | None,
        seen: Seen | None = None,
        spool: str | os.PathLike[str] | None = None,
        workers: int = 16,
        busy_seconds: int = 30,
        trace: bool = False,
        on_callback: OnCallback | None = None,
        give_up_seconds: float = 86_400,
        leave_seconds: float = 5,
        allow_unsigned: bool = False,
    ) -> None:
        if secrets is not None and allow_unsigned:
            raise ValueError("allow_unsigned: there are secrets, so it would only weaken them")
        if busy_seconds < 1 or give_up_seconds <= 0 or leave_seconds < 0:
            raise ValueError("busy_seconds, give_up_seconds, leave_seconds: expected more than 0")
        self._signatures = None if secrets is None else Signatures(secrets)
        self._allow_unsigned = allow_unsigned
        self._seen = MemorySeen() if seen is None else seen
        self._spool = spool
        self.workers = workers
        self._busy_seconds = busy_seconds
        self.tells_traces = trace
        self._on_callback = on_callback
        self._give_up_seconds = give_up_seconds
        self.leave_seconds = leave_seconds
        self._jobs: dict[str, Job] = {}
        self._forking = threading.Lock()
        self._process = os.getpid()
        self._engine = self._new_engine()
        atexit.register(self.close)
        self.start()

    # Jobs

    def job(self, name: str, *, heartbeat: HeartbeatMode = "auto", short: bool = False) -> Callable[[H], H]:
        """Makes a function, also an ``async def``, the handler of a job. It gets a :class:`Run`.

        The return value is the result: :class:`Success`, :class:`Failure`, a string as the summary of a
        success, nothing, or :data:`HANDED_OVER`. An exception is a failure. The name ``"*"`` stands for every
        job without a handler of its own.

        ``heartbeat``: ``"auto"`` sends heartbeats as long as the handler runs. ``"progress"`` sends them only
        while ``track`` or ``progress`` are called, so that a handler that hangs ends as a timeout.

        ``short``: in Lambda behind HTTP, work before the answer. The work must take less than 10 seconds.
        """
        if heartbeat not in ("auto", "progress"):
            raise ValueError(f'heartbeat: expected "auto" or "progress", got {heartbeat!r}')

        def register(handler: H) -> H:
            if name in self._jobs:
                raise ValueError(f"the job {name!r} has a handler already")
            self._jobs[name] = Job(handler, heartbeat, short=short)
            return handler

        return register

    def handler_of(self, notification: Notification) -> Job:
        """The handler of a notification's job; raises Refused with status 404 if there is none."""
        job = self._jobs.get(notification.job_name) or self._jobs.get(ANY_OTHER_JOB)
        if job is None:
            known = ", ".join(sorted(self._jobs)) or "none"
            raise Refused(404, f"this service has no job {notification.job_name!r}; it has: {known}")
        return job

    # Doors

    def wsgi(self) -> WsgiApplication:
        """A WSGI application: for gunicorn, or to mount in Flask or Django."""
        from sjm.receiver.doors.wsgi import wsgi

        return wsgi(self)

    def asgi(self) -> AsgiApplication:
        """An ASGI application: for uvicorn, or to mount in FastAPI or Starlette.

        Coroutines run in the server's event loop.
        """
        from sjm.receiver.doors.asgi import asgi

        return asgi(self)

    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[None]:
        """The lifespan of a FastAPI or Starlette application in which :meth:`asgi` is mounted.

        Only the outer application learns that the server ends. Without this, what runs is not waited for.
        """
        from sjm.receiver.doors.asgi import lifespan

        return lifespan(self)

    def lambda_http(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """The handler of a Lambda function behind an HTTP API or a function URL.

        Lambda freezes a function once it has answered. So the function answers 202 and invokes itself for the
        work, for which its role needs ``lambda:InvokeFunction`` on it. The work of sync jobs and of ``short``
        jobs is done before the answer.
        """
        from sjm.receiver.doors.lambda_http import lambda_http

        return lambda_http(self, event, context)

    def lambda_sqs(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """The handler of a Lambda function that reads a queue subscribed to the notifications topic.

        Switch ``ReportBatchItemFailures`` on in its event source mapping.
        """
        from sjm.receiver.doors.lambda_sqs import lambda_sqs

        return lambda_sqs(self, event, context)

    def run(
        self,
        message: bytes | str | Mapping[str, Any],
        headers: Headers | None = None,
        *,
        trace_header: str | None = None,
    ) -> RunContext:
        """Runs the body of a ``with`` statement as the handler: for everything that has no door of its own.

        ``message`` is a notification as it arrived, raw or in SNS's envelope. With ``headers`` it is a
        webhook, and verified. Raises NothingToDo for a duplicate or a test, Refused for what is not a
        notification. Set ``run.result`` in the body, or it is a success without ``state``. An exception is a
        failure, and passes on; Stopped does not. Raises ResultNotDelivered if the result is not answered
        in time.
        """
        from sjm.receiver.doors.context import RunContext

        return RunContext(self, message, headers, trace_header)

    def receive(
        self,
        content: bytes,
        headers: Headers,
        *,
        loop: AbstractEventLoop | None = None,
    ) -> Answer:
        """Takes a webhook and returns its answer: for a web framework that has no door of its own.

        ``content`` is the body as it arrived, byte for byte. Coroutines run in ``loop``, or each in one of
        its own. It answers at once, except for sync jobs.
        """
        try:
            notification = self.verified(content, headers)
            job = self.handler_of(notification)
        except Refused as error:
            return self.refused(error)
        if notification.is_test:
            return tested()
        if notification.is_sync:
            return self.answer_sync(job, notification, loop=loop)
        return self._begin(job, notification, loop)

    def take(
        self,
        message: bytes | str | Mapping[str, Any],
        *,
        trace_header: str | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> Answer:
        """Takes a message that needs no signature, such as one of a queue; works in a thread.

        ``message`` is a notification, raw or in SNS's envelope. If the answer's status is below 300, delete
        the message. Otherwise leave it in the queue.
        """
        try:
            notification = self.trusted(message, trace_header)
        except Refused as error:
            return self.refused(error)
        if notification.is_test:
            return tested()
        return self._begin(self.handler_or_failure_of(notification), notification, loop)

    # The life of the receiver

    def start(self) -> None:
        """Sends what earlier processes left in the spool. The constructor does so too."""
        self.engine.results.start()

    def close(self, timeout_seconds: float = 25, grace_seconds: float = 5) -> bool:
        """Takes no more work, and waits for what runs; returns whether all has ended and no result is lost.

        After ``timeout_seconds`` the next ``track`` or ``progress`` of what still runs raises OutOfTime, and
        it has ``grace_seconds`` left. A process that ends normally calls this by itself.
        """
        atexit.unregister(self.close)
        return self._engine.close(timeout_seconds, grace_seconds) if self._process == os.getpid() else True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # For the doors

    @property
    def engine(self) -> Engine:
        """What works in this process."""
        if self._process != os.getpid():
            with self._forking:
                if self._process != os.getpid():  # this process was forked, and threads were not
                    self._engine, self._process = self._new_engine(), os.getpid()
                    self._engine.results.start()
        return self._engine

    def _new_engine(self) -> Engine:
        return Engine(
            self._seen,
            self._spool,
            workers=self.workers,
            give_up_seconds=self._give_up_seconds,
            with_trace=self.tells_traces,
            on_callback=self._on_callback,
        )

    def verified(self, content: bytes, headers: Headers) -> Notification:
        """Reads a webhook; raises Refused unless it is signed."""
        if len(content) > MAX_BYTES:
            raise Refused(413, f"the body has {len(content)} bytes: expected at most {MAX_BYTES}")
        lowered = {name.lower(): value for name, value in headers.items()}
        if self._signatures is not None:
            self._signatures.verify(lowered, content)
        elif not self._allow_unsigned:
            raise Refused(403, "this service takes no webhooks: its receiver was made with secrets=None")
        return parse(content, lowered.get("x-amzn-trace-id"))

    def trusted(self, message: bytes | str | Mapping[str, Any], trace_header: str | None) -> Notification:
        """Reads a message of a queue; raises Refused."""
        notification = parse(message, trace_header)
        if notification.is_sync and not notification.is_test:
            raise Refused(400, "a sync job is answered over HTTP, not over a queue")
        return notification

    def handler_or_failure_of(self, notification: Notification) -> Job:
        """The handler of a job, or one that fails: nobody reads an answer to a message of a queue."""
        try:
            return self.handler_of(notification)
        except Refused as unknown:
            failure = Failure({"name": "UnknownJob", "message": unknown.reason})
            return Job(lambda _: failure, "auto", short=False)

    def refused(self, error: Refused) -> Answer:
        """The answer to what is refused."""
        logger.warning("refused a notification: %s", error.reason)
        return refusal(error.status, error.reason)

    def busy(self, reason: str) -> Answer:
        """The answer after which the manager sends the notification again."""
        return busy(reason, self._busy_seconds)

    def answer_sync(
        self,
        job: Job,
        notification: Notification,
        *,
        deadline: float | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> Answer:
        """Works on a sync job in this thread and returns its result as the answer."""
        answers = self.engine.sync_answers
        ours, is_first = answers.of(notification.key)
        if not is_first:
            return ours.wait(notification.ttl_seconds) or self.busy("the first webhook is still worked on")
        answer = self._work_sync(job, notification, deadline, loop)
        if answer.outcome == "busy":
            answers.forget(notification.key)
        ours.give(answer)
        return answer

    def _work_sync(
        self,
        job: Job,
        notification: Notification,
        deadline: float | None,
        loop: AbstractEventLoop | None,
    ) -> Answer:
        engine = self.engine
        ends = time.monotonic() + 0.95 * notification.ttl_seconds
        if not self._has_slot(engine):
            return self._full()
        try:
            claimed = self._claimed(notification)
            if isinstance(claimed, Answer):
                if claimed.outcome == "duplicate":
                    # It may have been done, and its result is not known: this is no success.
                    reason = "the attempt was taken before, by a process whose answer is not known"
                    return refusal(409, reason)
                return claimed
            result = engine.work(
                job, claimed, deadline=ends if deadline is None else min(ends, deadline), loop=loop
            )
        finally:
            engine.pool.release()
        return _finished(result)

    def _begin(self, job: Job, notification: Notification, loop: AbstractEventLoop | None) -> Answer:
        engine = self.engine
        if engine.is_running(notification):
            return duplicate()
        if not self._has_slot(engine):
            return self._full()
        try:
            answer = self._submitted(job, notification, loop)
        except BaseException:
            engine.pool.release()
            raise
        if answer.outcome != "accepted":
            engine.pool.release()
        return answer

    def _submitted(self, job: Job, notification: Notification, loop: AbstractEventLoop | None) -> Answer:
        engine = self.engine
        claimed = self._claimed(notification)
        if isinstance(claimed, Answer):
            return claimed
        try:
            engine.pool.submit(lambda: engine.work(job, claimed, loop=loop))
        except RuntimeError:
            logger.exception("%r: no thread can be started", notification)
            engine.disclaim(claimed)
            return self.busy("the service cannot start a thread")
        return Answer(202, "accepted")

    def _claimed(self, notification: Notification) -> Claimed | Answer:
        try:
            claimed = self.engine.claim(notification)
        except Exception:
            logger.exception("%r: cannot be claimed", notification)
            return self.busy("the service cannot note that it has taken this attempt")
        return duplicate() if claimed is None else claimed

    def _has_slot(self, engine: Engine) -> bool:
        """Whether a place to work was free, and is now taken."""
        if engine.is_closing or not engine.pool.slot():
            return False
        if engine.is_closing:  # close may have found all places free, just before this one was taken
            engine.pool.release()
            return False
        return True

    def _full(self) -> Answer:
        if self.engine.is_closing:
            return self.busy("the service is shutting down")
        return self.busy(f"all {self.workers} workers of the service are busy")


def _finished(result: Success | Failure | None) -> Answer:
    if isinstance(result, Success):
        body = {name: value for name, value in result.callback().items() if name in ("state", "summary")}
        return Answer(200, "finished", body)
    error = result.error if isinstance(result, Failure) else "stopped"
    # Not 5xx: the manager would send the notification again.
    return Answer(422, "finished", {"error": error})
