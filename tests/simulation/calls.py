"""The points at which a function can be overtaken, refused, left without an answer, or killed: its calls.

A call takes a few milliseconds, by a choice seconds: before it happens, or after. So others go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from botocore.exceptions import ConnectionClosedError

from tests.simulation.choices import Choices
from tests.simulation.scheduler import Future, Killed, Scheduler, Task
from tests.simulation.story import Story
from tests.stand_ins.errors import ByName, Unsupported, client_error

THROTTLED, LOST, AGAIN = "is throttled", "gets no answer", "gets no answer and is sent again"
DIES_BEFORE, DIES_AFTER, CONFLICT = "kills the function before", "kills the function after", "is in conflict"

FAULTS = (THROTTLED, LOST, AGAIN, DIES_BEFORE, DIES_AFTER)
_OF_RULES = ("PutRule", "PutTargets", "RemoveTargets", "DeleteRule")
_IN_CONFLICT = ("UpdateItem", "TransactWriteItems", *_OF_RULES)
_SENT_ONCE = ("StartSyncExecution",)
_SAME_WHEN_SENT_AGAIN = ("TransactWriteItems",)  # boto3 sends a token with it
_DELAYS_MS = {"50 ms": 50, "300 ms": 300, "1 s": 1000, "3 s": 3000, "9 s": 9000}
DELAYS = tuple(f"{word} {text} late" for word in ("happens", "is answered") for text in _DELAYS_MS)
_GIVES_UP_AFTER_MS = 6000
_SENDS_AGAIN_AFTER_MS = 1500


def delay_ms(deviation: str) -> tuple[int, int]:
    """How much later than usual a call happens, and is answered."""
    if not deviation:
        return 0, 0
    word, _, text = deviation.partition(" late")[0].partition(" ")
    if word == "is":
        return 0, _DELAYS_MS[text.removeprefix("answered ")]
    return _DELAYS_MS[text], 0


@dataclass(frozen=True)
class Odds:
    """How likely a call has a fault, or a delay, an Express machine dies, and something else is odd."""

    fault: float = 0.0
    delay: float = 0.0
    other: float = 0.0
    death: float = 0.0


@dataclass(frozen=True)
class Outage:
    """A time in which a service of AWS answers nobody."""

    service: str
    from_ms: int
    until_ms: int


@dataclass(eq=False)
class Invocation:
    """One invocation of a function: its tasks, and what becomes known of its end."""

    function: str
    label: str
    began_ms: int
    deadline_ms: int
    event: Any
    over: Future[Ended] = field(default_factory=Future)
    tasks: list[Task] = field(default_factory=list)
    when_over: list[Callable[[Ended], None]] = field(default_factory=list)
    is_task_unknown: bool = False
    """Whether it could not learn that its task still waits. Then it notifies the service all the same."""
    faults: int = 0
    """How many of its calls had a fault."""

    def end(self, ended: Ended) -> None:
        """Ends it, and all that it still does."""
        if not self.over.is_done:
            for callback in self.when_over:
                callback(ended)
            self.over.set(ended)
        for task in self.tasks:
            task.kill()


@dataclass(frozen=True)
class Ended:
    """How an invocation ended: its value, or the name and the message of its error."""

    value: Any = None
    error: str = ""
    cause: str = ""


@dataclass(eq=False)
class Lane:
    """One of the tasks of an invocation, with the number of its calls by their names."""

    invocation: Invocation
    label: str
    calls: dict[str, int] = field(default_factory=dict)

    def next(self, call: str) -> str:
        """The label of its next call of that name."""
        number = self.calls[call] = self.calls.get(call, 0) + 1
        return f"{self.label}: {call} {number}"


class Calls:
    """Makes the calls of the functions."""

    def __init__(self, scheduler: Scheduler, choices: Choices, story: Story, odds: Odds) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._story = story
        self.odds = odds
        self.fault = ""
        """The fault of the call that happens now."""
        self.outage: Outage | None = None

    def is_out(self, service: str) -> bool:
        """Whether a service of AWS answers nobody now."""
        outage = self.outage
        if outage is None or outage.service != service:
            return False
        return outage.from_ms <= self._scheduler.now_ms < outage.until_ms

    def out_for_ms(self, service: str) -> int:
        """How long a service of AWS still answers nobody."""
        if self.outage is None or not self.is_out(service):
            return 0
        return self.outage.until_ms - self._scheduler.now_ms

    @property
    def lane(self) -> Lane:
        """The task of a function that runs now."""
        lane = self._scheduler.current.context
        assert isinstance(lane, Lane)
        return lane

    def make[T](
        self,
        operation: str,
        effect: Callable[[], T],
        about: Callable[[], str] = str,
        service: str = "",
    ) -> T:
        """Makes a call, with all that may befall it. ``effect`` is what happens in one moment."""
        lane = self.lane
        self._scheduler.current.check()
        label = lane.next(operation)
        fault = self._choices.deviates(label, _faults(operation), self.odds.fault)
        delay = self._choices.deviates(f"{label} ~", DELAYS, self.odds.delay)
        before_ms, after_ms = delay_ms(delay)
        usual_ms = self._choices.between(f"{label} takes", 3, 12)
        self._scheduler.sleep(before_ms + usual_ms // 2)
        said = about() if self._story.is_told else ""
        if self.is_out(service):
            fault = THROTTLED
        lane.invocation.faults += bool(fault)
        if operation == "SendTaskHeartbeat" and fault in (THROTTLED, LOST):
            lane.invocation.is_task_unknown = True
        if fault == DIES_BEFORE:
            self._tell(lane, operation, said, fault)
            self._die(lane)
        if fault in (THROTTLED, CONFLICT):
            self._tell(lane, operation, said, fault)
            self._scheduler.sleep(usual_ms)
            raise self._refusal(operation, fault)
        self.fault = fault
        outcome = _Outcome.of(effect)
        self._tell(lane, operation, said, outcome, fault, delay)
        if fault == DIES_AFTER:
            self._die(lane)
        if fault == LOST:
            self._scheduler.sleep(_GIVES_UP_AFTER_MS)
            raise ConnectionClosedError(endpoint_url=operation)
        if fault == AGAIN:
            self._scheduler.sleep(_SENDS_AGAIN_AFTER_MS)
            if operation not in _SAME_WHEN_SENT_AGAIN or outcome.error is not None:
                self.fault = fault
                outcome = _Outcome.of(effect)
                self._tell(lane, operation, said, outcome, "the second time")
        self._scheduler.sleep(after_ms + usual_ms - usual_ms // 2)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[no-any-return]

    def _refusal(self, operation: str, fault: str) -> Exception:
        if fault == THROTTLED:
            return client_error("ThrottlingException", "Rate exceeded", operation)
        if operation == "UpdateItem":
            return client_error("TransactionConflictException", "Transaction is ongoing", operation)
        if operation in _OF_RULES:
            return client_error("ConcurrentModificationException", "changed by others", operation)
        reasons = [{"Code": "TransactionConflict"}]
        return client_error(
            "TransactionCanceledException", "cancelled", operation, CancellationReasons=reasons
        )

    def _die(self, lane: Lane) -> None:
        lane.invocation.end(Ended(error="Runtime.ExitError", cause="RequestId: 1 Error: Runtime exited"))
        raise Killed

    def _tell(self, lane: Lane, operation: str, said: str, *facts: object) -> None:
        if self._story.is_told:
            known = ", ".join(filter(None, map(str, facts)))
            self._story.tell(lane.label, f"{operation} {said}: {known}")


@cache
def _faults(operation: str) -> tuple[str, ...]:
    found = tuple(fault for fault in FAULTS if not (fault == AGAIN and operation in _SENT_ONCE))
    return (*found, CONFLICT) if operation in _IN_CONFLICT else found


class _Outcome(NamedTuple):
    value: Any
    error: Exception | None = None

    @staticmethod
    def of(effect: Callable[[], Any]) -> _Outcome:
        try:
            return _Outcome(effect())
        except Exception as error:
            return _Outcome(None, error)

    def __str__(self) -> str:
        return "done" if self.error is None else f"refused, {type(self.error).__name__}"


class Client:
    """Stands for one of boto3's clients: each of its methods is a call."""

    def __init__(
        self,
        service: str,
        calls: Calls,
        backend: Any,
        operations: dict[str, str],
        about: Callable[[Any], str],
    ) -> None:
        self.exceptions = ByName()
        self._service = service
        self._calls = calls
        self._backend = backend
        self._operations = operations
        self._about = about

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in self._operations:
            raise Unsupported(f"the operation {method}")
        operation, effect = self._operations[method], getattr(self._backend, method)

        def call(**request: Any) -> Any:
            return self._calls.make(
                operation, lambda: effect(**request), lambda: self._about(request), self._service
            )

        setattr(self, method, call)  # so that it is not asked for again
        return call
