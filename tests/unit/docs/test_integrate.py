"""The service of docs/integrate.md does what the page says of it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from sjm.receiver import Receiver
from tests.unit.sjm.receiver.manager import SECRET, Manager, deliver, running_manager
from tests.unit.terraform.blocks import ROOT

PAGE = (ROOT / "docs" / "integrate.md").read_text()


class Served(Exception):
    """The service would listen now."""


@pytest.fixture
def manager() -> Iterator[Manager]:
    with running_manager() as manager:
        yield manager


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """The receiver of the example, which does not listen here."""
    (source,) = re.findall(r"```python\n(# service\.py\n.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}

    def make_server(host: str, port: int, application: Any) -> None:
        assert (host, port, callable(application)) == ("", 8080, True)
        raise Served

    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr("wsgiref.simple_server.make_server", make_server)
    with pytest.raises(Served):
        exec(compile(source, "service.py", "exec"), names)
    receiver: Receiver = names["jobs"]
    receiver.engine.results.backoff_seconds = 0.01
    yield receiver
    receiver.close(timeout_seconds=0, grace_seconds=0)


def test_the_service_of_the_page_repeats_its_result_after_429_and_503(
    jobs: Receiver, manager: Manager
) -> None:
    notification = manager.notification(last_successful_execution={"state": "7"})
    manager.script(notification["execution_id"], 429, 503)
    assert deliver(jobs, notification).status == 202
    manager.wait_for(lambda: len(manager.results()) == 3, "three results")

    assert manager.results() == [{"status": "success", "summary": "closed the books", "state": "10"}] * 3
    assert deliver(jobs, notification).outcome == "duplicate"


def test_the_page_begins_with_the_service() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)

    assert headings[0] == "A service in Python"
    assert "hmac" not in PAGE
