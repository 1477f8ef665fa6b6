"""The emulator's waits before the retries of a state."""

import pytest
from ministack.services import stepfunctions

from local.aws_behaviour.step_functions import limit_waits_before_retries

RETRIER = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxAttempts": 9}


@pytest.mark.parametrize(
    ("more", "waits"), [({}, [2, 4, 8, 16, 32]), ({"MaxDelaySeconds": 20}, [2, 4, 8, 16, 20])]
)
def test_a_retrier_waits_at_most_its_max_delay(
    more: dict[str, int], waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepfunctions, "_find_matching_retrier", stepfunctions._find_matching_retrier)
    limit_waits_before_retries()
    seconds = []
    for count in range(len(waits)):
        found, index = stepfunctions._find_matching_retrier([RETRIER | more], "Busy", {0: count})
        assert index == 0
        seconds.append(found["IntervalSeconds"] * found["BackoffRate"] ** count)
    assert seconds == waits
