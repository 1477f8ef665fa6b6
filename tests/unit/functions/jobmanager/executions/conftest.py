import pytest

from jobmanager.aws import invocations
from jobmanager.executions import pacing
from tests.unit.functions.waiting import Turns


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Puts a stand-in for Lambda and SQS in place of the manager's clients."""
    stand_in = Turns()
    monkeypatch.setattr(invocations, "lambdas", lambda: stand_in)
    monkeypatch.setattr(pacing, "sqs", lambda: stand_in)
    return stand_in
