import pytest

from jobmanager.executions import handing_over, pacing
from jobmanager.limits import waiting
from tests.unit.functions.waiting import Turns


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Puts a stand-in for Lambda and SQS in place of the manager's clients."""
    stand_in = Turns()
    for module in (handing_over, waiting):
        monkeypatch.setattr(module, "lambdas", lambda: stand_in)
    monkeypatch.setattr(pacing, "sqs", lambda: stand_in)
    return stand_in
