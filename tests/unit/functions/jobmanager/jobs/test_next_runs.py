"""A job shows when it fires next."""

import json
from typing import Any

import pytest

from functions.get_job.handler import handler as get_job
from jobmanager.core.clock import ms_of_iso
from jobmanager.jobs import pausing
from jobmanager.jobs.next_runs import next_runs_of
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
AT_TWO = "cron(0 2 * * ? *)"
NEXT = ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z", "2026-11-26T02:00:00Z"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": AT_TWO}, NEXT),
        ({"schedule": "cron(30 12 23 11 ? 2026)"}, ["2026-11-23T12:30:00Z"]),
        ({"schedule": "cron(0 0 31 2 ? *)"}, []),
        ({"schedule": AT_TWO, "enabled": False}, []),
        ({"schedule": "rate(1 hour)"}, None),
        ({"schedule": "rate(1 hour)", "enabled": False}, []),
    ],
)
def test_a_job_shows_its_next_fire_times(fields: dict[str, Any], expected: list[str] | None) -> None:
    assert next_runs_of(save_job(**fields), NOON_MS)["next_fire_times"] == expected


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (None, []),
        ("2026-11-25T02:00:00Z", [*NEXT[1:], "2026-11-27T02:00:00Z"]),
        ("2026-11-25T02:00:01Z", [NEXT[2], "2026-11-27T02:00:00Z", "2026-11-28T02:00:00Z"]),
    ],
)
def test_a_paused_job_fires_next_after_its_pause(until: str | None, expected: list[str]) -> None:
    save_job(schedule=AT_TWO)
    pausing_until: Any = {"reason": "holiday"} | ({"until": ms_of_iso(until)} if until else {})
    job = pausing.pause_job("billing", "nightly", pausing_until, "ann", NOON_MS)

    assert next_runs_of(job, NOON_MS)["next_fire_times"] == expected


def test_a_pause_that_has_ended_leaves_nothing_out() -> None:
    save_job(schedule=AT_TWO)
    job = pausing.pause_job("billing", "nightly", {"reason": "x", "until": NOON_MS + 1}, "ann", NOON_MS)

    assert next_runs_of(job, NOON_MS + 1)["next_fire_times"] == NEXT


def test_get_shows_the_next_fire_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.get_job.handler.now_ms", lambda: NOON_MS)
    save_job(schedule=AT_TWO)
    answer = get_job(api_event(service_name="billing", job_name="nightly"), lambda_context())

    assert json.loads(answer["body"])["next_fire_times"] == NEXT
