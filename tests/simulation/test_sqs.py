"""The stand-in of SQS: it delays, doubles and repeats messages, and gives up."""

from typing import Any

import pytest

from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Function, Lambdas
from tests.simulation.scheduler import Scheduler
from tests.simulation.sqs import Queue
from tests.simulation.story import Story
from tests.stand_ins.errors import Unsupported

SIX_MINUTES_MS = 360_000


class World:
    """A queue, and the function that reads it, which fails so often."""

    def __init__(self, odd: str = "", failures: int = 0) -> None:
        self.scheduler = Scheduler(0)
        self.failures = failures
        self.came: list[tuple[int, Any]] = []
        choices, story = Choices(0, {"message 1": odd} if odd else {}), Story()
        calls = Calls(self.scheduler, choices, story, Odds())
        function = Function(self._read, 60)
        self.lambdas = Lambdas({"start_spread_executions": function}, self.scheduler, choices, calls, story)
        self.queue = Queue(self.scheduler, choices, calls, self.lambdas, story)

    def _read(self, event: Any, _: Any) -> dict[str, int]:
        (record,) = event["Records"]
        self.came.append((self.scheduler.now_ms, record["body"]))
        if len(self.came) <= self.failures:
            raise RuntimeError("not yet")
        return {"started": 1}

    def send(self, *delays: int) -> Any:
        entries = [
            {"Id": str(number), "MessageBody": f"body {number}", "DelaySeconds": delay}
            for number, delay in enumerate(delays)
        ]
        answer = self.queue.send_message_batch("queue", entries)
        self.scheduler.run()
        return answer

    @property
    def seconds(self) -> list[int]:
        return [at_ms // 1000 for at_ms, _ in self.came]


def test_a_message_comes_after_its_delay() -> None:
    world = World()
    assert world.send(0, 30, 900)["Failed"] == []
    assert (world.seconds, [body for _, body in world.came]) == ([0, 30, 900], ["body 0", "body 1", "body 2"])


@pytest.mark.parametrize(
    ("odd", "seconds"), [("comes twice", [7, 7]), ("comes 40 s late", [47]), ("comes 2 s late", [9])]
)
def test_a_message_may_come_twice_or_late(odd: str, seconds: list[int]) -> None:
    world = World(odd)
    world.send(7)
    assert world.seconds == seconds


def test_a_message_may_not_be_taken_while_the_others_of_its_call_are() -> None:
    world = World("is not taken")
    assert [each["Id"] for each in world.send(1, 2)["Failed"]] == ["0"]
    assert [body for _, body in world.came] == ["body 1"]


def test_a_message_that_fails_comes_again_and_at_last_is_a_dead_letter() -> None:
    world = World(failures=2)
    world.send(0)
    assert [at_ms // SIX_MINUTES_MS for at_ms, _ in world.came] == [0, 1, 2]
    assert world.lambdas.dead_letters == []

    world = World(failures=99)
    world.send(0)
    assert len(world.came) == 5
    ((function, event),) = world.lambdas.dead_letters
    assert (function, event["Records"][0]["body"]) == ("start_spread_executions", "body 0")


@pytest.mark.parametrize("delays", [(901,), (-1,), (0,) * 11])
def test_what_sqs_refuses_is_refused_loudly(delays: tuple[int, ...]) -> None:
    with pytest.raises(Unsupported):
        World().send(*delays)
