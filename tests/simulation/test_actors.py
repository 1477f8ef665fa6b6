"""The simulation knows which of its own requests the stage may refuse."""

import pytest

from jobmanager.core.clock import ms_of_iso
from tests.simulation.actors import _may_be_refused

START, END = "2026-11-23T12:00:14Z", "2026-11-23T12:03:15Z"


@pytest.mark.parametrize(
    ("body", "answered_at", "may"),
    [
        (None, END, False),
        ({"schedule": "rate(1 minute)"}, END, False),
        ({"schedule": "rate(1 minute)", "start_at": START, "end_at": END}, START, False),
        ({"schedule": "rate(1 minute)", "start_at": END, "end_at": START}, "2026-11-23T12:00:00Z", True),
        ({"schedule": "rate(1 minute)", "start_at": START, "end_at": END}, END, True),  # it took that long
        ({"schedule": "rate(1 minute)", "end_at": END}, END, True),
        ({"schedule": "at(2026-11-23T12:03:15)"}, START, False),
        ({"schedule": "at(2026-11-23T12:03:15)"}, END, True),
    ],
)
def test_a_job_may_be_refused_once_its_last_time_is_past(
    body: dict[str, str] | None, answered_at: str, may: bool
) -> None:
    assert _may_be_refused(body, ms_of_iso(answered_at)) == may
