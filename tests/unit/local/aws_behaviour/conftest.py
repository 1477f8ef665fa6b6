"""The Scheduler of each test."""

from collections.abc import Iterator

import pytest
from ministack.core import iam_evaluator
from ministack.services import iam, scheduler, sqs

from tests.unit.local.aws_behaviour.emulated_scheduler import EmulatedScheduler


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedScheduler]:
    """Scheduler with nothing in it. It is 12:00 on the first of March 2027, in UTC."""
    services = (scheduler, iam, sqs)
    for service in services:
        service.reset()
    monkeypatch.setattr(iam_evaluator, "authenticate", lambda *_: None)  # nothing is signed here
    found = EmulatedScheduler()
    monkeypatch.setattr(scheduler, "_now", lambda: found.now)
    found.at("2027-03-01T12:00:00+00:00")
    yield found
    for service in services:
        service.reset()
