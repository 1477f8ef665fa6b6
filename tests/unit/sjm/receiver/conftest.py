"""A manager on this machine, and receivers that are closed after the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sjm.receiver import Receiver
from tests.unit.sjm.receiver.manager import SECRET, Manager, running_manager

MakeReceiver = Callable[..., Receiver]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the machine is none of the tests'."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def manager() -> Iterator[Manager]:
    with running_manager() as manager:
        yield manager


@pytest.fixture
def make_receiver() -> Iterator[MakeReceiver]:
    """Makes receivers. Their results are repeated at once, and they are closed without waiting."""
    made: list[Receiver] = []

    def make(**options: Any) -> Receiver:
        receiver = Receiver(**{"secrets": [SECRET], **options})
        receiver.engine.results.backoff_seconds = 0.01
        made.append(receiver)
        return receiver

    yield make
    for receiver in made:
        receiver.close(timeout_seconds=0, grace_seconds=0)
