"""make purge deletes a stage's old history. Open executions stay, and can still end."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from jobmanager.core.clock import day
from tests.integration.scenario import Scenario

PROJECT = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000


def purge(scenario: Scenario, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tools.purge", *arguments],
        input=json.dumps(scenario.outputs),
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": "functions/_shared"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_old_history_is_purged_and_open_executions_continue(scenario: Scenario) -> None:
    """The test uses random days long ago, on which other tests have no executions."""
    first_ms = random.randint(0, 7000) * DAY_MS
    old_ms, last_ms = first_ms + 3_600_000, first_ms + DAY_MS + 3_600_000
    days = ("--since", day(first_ms), "--before", day(first_ms + DAY_MS))
    prefix = scenario.outputs["prefix"]
    with scenario.service(over_sns=True):
        scenario.put("done")
        scenario.set_back("done")
        for at_ms in (old_ms, last_ms):
            scenario.tick(at_ms)
        for at_ms in (old_ms, last_ms):
            scenario.wait_until("done", at_ms, "success")
    scenario.delete("done")
    scenario.put("open")
    scenario.set_back("open")
    scenario.tick(old_ms)
    scenario.wait_until("open", old_ms, "running")

    rehearsed = purge(scenario, *days, "--dry-run")
    assert f"{prefix}: executions that would be deleted: 1; open ones that stay: 1" in rehearsed
    assert scenario.execution("done", old_ms) is not None

    assert f"{prefix}: executions deleted: 1; open ones that stay: 1" in purge(scenario, *days)
    assert scenario.execution("done", old_ms) is None
    assert scenario.execution("done", last_ms) is not None
    assert scenario.execution("open", old_ms) is not None

    identifier = scenario.execution_id("open", old_ms)
    answer = scenario.api.request("POST", scenario.job_path("open", "executions", identifier, "cancel"))
    assert answer.status == 200, answer
    scenario.wait_until("open", old_ms, "cancelled")
    of_the_service = ("--since", "1970-01-01", "--before", "2000-01-01", "--service", scenario.service_name)
    assert f"service {scenario.service_name}: executions deleted: 2" in purge(scenario, *of_the_service)
    assert scenario.execution("open", old_ms) is None
