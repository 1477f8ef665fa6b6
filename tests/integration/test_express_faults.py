"""What the local stage can do to an Express execution, for tests of what survives that."""

import json
import os
import uuid
from collections.abc import Iterator

import pytest

from local.faults import plans
from local.faults.plans import AGAIN, DIES_AFTER, DIES_BEFORE, RUN, TWICE, Call, Fault
from tests.integration.polling import poll
from tests.integration.workshop import SENDS_ITS_EVENT, Workshop

pytestmark = pytest.mark.skipif(
    plans.SETTING not in os.environ, reason="faults need the emulator that we start"
)

SECOND_FAILS = SENDS_ITS_EVENT.replace('return "returned"', 'assert event["task"] == "First"')


@pytest.fixture
def marker() -> Iterator[str]:
    marker = uuid.uuid4().hex
    yield marker
    plans.forget([marker])


class Machine:
    """An Express machine with two tasks, of which the second fails. Each start has the marker of a plan."""

    def __init__(self, workshop: Workshop, marker: str) -> None:
        self.workshop, self.marker = workshop, marker
        function = workshop.function(SECOND_FAILS)

        def task(name: str) -> dict[str, object]:
            payload = {"task": name, "execution": "{% $states.context.Execution.Id %}"}
            arguments = {"FunctionName": function, "Payload": payload}
            return {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": arguments}

        states = {"First": task("First") | {"Next": "Second"}, "Second": task("Second") | {"End": True}}
        self.arn = workshop.express_machine(states)
        self.name = self.arn.rpartition(":")[2]

    def plan(self, call: str, kind: str) -> Fault:
        fault = Fault(Call(self.name, call), kind)
        plans.plan([self.marker], [fault])
        return fault

    def start(self) -> str:
        text = json.dumps({"faults": self.marker})
        return str(self.workshop.sfn.start_execution(stateMachineArn=self.arn, input=text)["executionArn"])

    def tasks(self, count: int) -> list[tuple[str, str]]:
        """The executions and tasks of this many invocations."""
        messages = [message["event"] for message in self.workshop.messages(count)]
        return sorted((message["execution"], message["task"]) for message in messages)

    def ends_logged(self, executions: list[str]) -> None:
        """Waits for the ends of these executions, in the log."""

        def ended() -> bool:
            lines = self.workshop.logged("ExecutionFailed")
            ends = [line["execution_arn"] for line in lines if line["type"] == "ExecutionFailed"]
            return sorted(ends) == sorted(executions)

        poll(ended, 20, "end of each execution, and of no other")


@pytest.fixture
def machine(workshop: Workshop, marker: str) -> Machine:
    return Machine(workshop, marker)


@pytest.mark.parametrize("kind", [TWICE, AGAIN])
def test_the_next_execution_runs_twice_as_one_execution(machine: Machine, kind: str) -> None:
    fault = machine.plan(RUN, kind)

    twice = machine.start()
    assert machine.tasks(4) == [(twice, "First"), (twice, "First"), (twice, "Second"), (twice, "Second")]
    once = machine.start()

    assert machine.tasks(2) == [(once, "First"), (once, "Second")]
    machine.ends_logged([twice, twice, once])
    assert fault.happened()


@pytest.mark.parametrize(
    ("call", "kind", "invoked"),
    [
        ("First#1", DIES_BEFORE, []),
        ("First#1", DIES_AFTER, ["First"]),
        ("Second#1", DIES_BEFORE, ["First"]),
        ("Second#1", DIES_AFTER, ["First", "Second"]),
    ],
)
def test_the_next_execution_dies_without_a_trace(
    machine: Machine, call: str, kind: str, invoked: list[str]
) -> None:
    fault = machine.plan(call, kind)

    dies = machine.start()
    poll(fault.happened, 20, "fault")
    lives = machine.start()

    expected = [(dies, task) for task in invoked] + [(lives, "First"), (lives, "Second")]
    assert machine.tasks(len(expected)) == sorted(expected)
    machine.ends_logged([lives])
