from collections.abc import Callable

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.simulation.calls import (
    AGAIN,
    CONFLICT,
    DIES_AFTER,
    DIES_BEFORE,
    LOST,
    THROTTLED,
    Calls,
    Ended,
    Invocation,
    Lane,
    Odds,
    Outage,
    delay_ms,
)
from tests.simulation.choices import Choices
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story


class Function:
    """A function that makes one call, whose fault is given, and tells what it sees."""

    def __init__(self, fault: str = "", delay: str = "", operation: str = "UpdateItem") -> None:
        self.scheduler = Scheduler(0)
        label = f"function: {operation} 1"
        given = {label: fault, f"{label} ~": delay}
        self.calls = Calls(self.scheduler, Choices(0, given), Story(), Odds())
        self.happened: list[int] = []
        self.saw: list[str] = []
        self.invocation = Invocation("function", "function", 0, 10_000, {})
        self._operation = operation

    def run(self, effect: Callable[[], None] = lambda: None) -> "Function":
        def happen() -> str:
            self.happened.append(self.scheduler.now_ms)
            effect()
            return "answer"

        def body() -> None:
            try:
                self.saw.append(self.calls.make(self._operation, happen, service="dynamodb"))
            except (ClientError, BotoCoreError) as error:
                self.saw.append(type(error).__name__)

        task = self.scheduler.spawn("function", body, Lane(self.invocation, "function"))
        self.invocation.tasks.append(task)
        self.scheduler.run()
        return self


@pytest.mark.parametrize(
    ("fault", "times", "saw"),
    [
        ("", 1, ["answer"]),
        (THROTTLED, 0, ["ThrottlingException"]),
        (LOST, 1, ["ConnectionClosedError"]),
        (AGAIN, 2, ["answer"]),
        (CONFLICT, 0, ["TransactionConflictException"]),
        (DIES_BEFORE, 0, []),
        (DIES_AFTER, 1, []),
    ],
)
def test_a_call_happens_as_often_as_its_fault_says_and_the_caller_sees_that(
    fault: str, times: int, saw: list[str]
) -> None:
    function = Function(fault).run()
    assert (len(function.happened), function.saw) == (times, saw)
    is_dead = fault in (DIES_BEFORE, DIES_AFTER)
    assert function.invocation.over.is_done == is_dead
    if is_dead:
        assert function.invocation.over.value == Ended(
            error="Runtime.ExitError", cause="RequestId: 1 Error: Runtime exited"
        )


def test_a_transaction_that_is_sent_again_is_written_once() -> None:
    function = Function(AGAIN, operation="TransactWriteItems").run()
    assert (len(function.happened), function.saw) == (1, ["answer"])


def test_a_delay_comes_before_the_call_or_after_it() -> None:
    assert delay_ms("happens 3 s late") == (3000, 0)
    assert delay_ms("is answered 300 ms late") == (0, 300)
    late = Function(delay="happens 3 s late").run()
    assert late.happened[0] >= 3000
    answered_late = Function(delay="is answered 3 s late").run()
    assert answered_late.happened[0] < 100
    assert answered_late.scheduler.now_ms >= 3000


def test_nobody_is_answered_in_an_outage() -> None:
    function = Function()
    function.calls.outage = Outage("dynamodb", 0, 1000)
    assert function.run().saw == ["ThrottlingException"]
    other = Function()
    other.calls.outage = Outage("sns", 0, 1000)
    assert other.run().saw == ["answer"]
