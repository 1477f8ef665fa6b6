import json
from types import SimpleNamespace

import pytest

from jobmanager.aws import invocations


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What start_waiting_executions was invoked with."""
    events: list[dict[str, str]] = []

    def invoke(FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        assert (FunctionName.rpartition(":")[2], InvocationType) == ("start-waiting", "Event")
        events.append(json.loads(Payload))

    monkeypatch.setattr(invocations, "lambdas", lambda: SimpleNamespace(invoke=invoke))
    return events
