import pytest

from jobmanager.aws import invocations
from tests.unit.functions.lambdas import Lambdas


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What start_waiting_executions was invoked with."""
    stand_in = Lambdas("start-waiting")
    monkeypatch.setattr(invocations, "lambdas", lambda: stand_in)
    return stand_in.asked
