"""Runs ``sjm`` in this process against a manager on this machine."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from sjm.cli import process
from tests.unit.sjm.stand_in import CREDENTIALS, REGION, StandIn, errors_of_request


@dataclass(frozen=True)
class Done:
    """What a run of ``sjm`` left."""

    code: int
    out: str
    err: str


class Sjm(Protocol):
    """Runs ``sjm`` with these arguments."""

    def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of the user."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def environment(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment in which ``sjm`` finds the manager on this machine."""
    names = {
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
        "AWS_REGION": REGION,
        "SJM_URL": server.url,
    }
    for name in ("SJM_STAGE", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "SJM_TRACE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def sjm(server: StandIn, environment: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Iterator[Sjm]:
    """``sjm``. At the end, each request must have been one that the OpenAPI document describes."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        code = process.exit_code(arguments)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    yield run
    assert [error for received in server.received for error in errors_of_request(received)] == []
