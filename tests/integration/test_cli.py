"""The command ``sjm`` against a stage: runs are followed, and exit by their outcomes."""

import json
import threading
from typing import Any

import pytest
from botocore.credentials import Credentials

from local.sample_service import Callbacks, Notification, Pause
from tests.integration.scenario import Scenario
from tests.integration.sjm_command import Run, sjm_of


@pytest.fixture
def sjm(outputs: dict[str, Any], credentials: Credentials) -> Run:
    """Runs ``sjm`` as a user who may only call the API."""
    keys = {"AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key}
    return sjm_of(outputs, **keys)


def test_runs_are_followed_and_what_failed_is_rerun(scenario: Scenario, sjm: Run) -> None:
    service = scenario.service_name
    ledger_is_closed = threading.Event()
    ledger_is_closed.set()

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        callbacks.heartbeat(50)
        if ledger_is_closed.is_set():
            callbacks.fail("LedgerClosed", summary="nothing is written")
        else:
            callbacks.success(summary="312 invoices")

    with scenario.service(over_sns=True, work=work):
        made = sjm("jobs", "set", f"{service}/nightly", "--schedule", scenario.schedule, "--owner", service)
        assert made.returncode == 0, made.stderr
        failed = sjm("jobs", "run", f"{service}/nightly", "--payload", "7", "--follow")
        assert failed.returncode == 1, failed.stderr
        assert "LedgerClosed: nothing is written" in failed.stdout

        ledger_is_closed.clear()
        bulk = ("executions", "rerun", "--failed", "--since", "1h", "--service", service)
        refused = sjm(*bulk)
        assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
        rerun = sjm(*bulk, "--yes", "-o", "json")
        assert rerun.returncode == 0, rerun.stderr
        (result,) = json.loads(rerun.stdout)
        assert (result["outcome"], result["status"]) == ("rerun", "fail")
        assert "There is nothing to rerun." in sjm(*bulk, "--yes").stderr

        watched = sjm("executions", "watch", f"{service}/nightly", "-o", "json")
        assert watched.returncode == 0, watched.stderr
        ended = json.loads(watched.stdout)
        assert (ended["execution_id"], ended["payload"]) == (result["rerun"], "7")
        assert ended["rerun_of"] == result["execution_id"]

    listed = sjm("executions", "list", service, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["status"] for line in listed] == ["success", "fail"]


def test_a_job_is_changed_shown_listed_and_deleted(scenario: Scenario, sjm: Run) -> None:
    name = f"{scenario.service_name}/nightly"
    scenario.put("nightly", ttl_seconds=60, tags={"team": "a"}, retry={"max_attempts": 2})
    before = scenario.job("nightly")
    changed = sjm("jobs", "set", name, "--ttl-seconds", "90", "--tag", "tier=gold", "--retry-on", "timeout")
    after = scenario.job("nightly")
    again = sjm("jobs", "set", name, "--ttl-seconds", "90")
    paused = sjm("jobs", "pause", name, "--reason", "migration", "--until", "2h")
    shown, listed = sjm("jobs", "show", name), sjm("jobs", "list", scenario.service_name)
    deleted, gone = sjm("jobs", "delete", name, "--yes"), sjm("jobs", "show", name)

    assert changed.returncode == 0, changed.stderr
    moved = {"version", "updated_at", "updated_by", "ttl_seconds", "tags", "retry"}
    assert {k: v for k, v in after.items() if k not in moved} == {
        k: v for k, v in before.items() if k not in moved
    }
    assert (after["ttl_seconds"], after["tags"]) == (90, {"team": "a", "tier": "gold"})
    assert (after["retry"]["max_attempts"], after["retry"]["on"]) == (2, ["timeout"])
    assert "is like that already" in again.stderr
    assert paused.returncode == 0, paused.stderr
    assert "paused until" in shown.stdout
    assert name in listed.stdout
    assert (deleted.returncode, gone.returncode) == (0, 10)
    assert f"There is no job {name}." in gone.stderr


def test_webhook_secrets_and_schedules(sjm: Run, service_name: str) -> None:
    created = sjm("secrets", "create", service_name)
    assert created.stdout.startswith("whsec_"), created.stderr
    (listed,) = json.loads(sjm("secrets", "list", service_name, "-o", "json").stdout)
    last = sjm("secrets", "delete", service_name, listed["secret_id"], "--yes")
    assert last.returncode == 10
    assert "Create another first" in last.stderr
    forced = sjm("secrets", "delete", service_name, listed["secret_id"], "--yes", "--force")
    assert forced.returncode == 0, forced.stderr
    preview = sjm("schedules", "preview", "cron(0 2 * * ? *)", "--count", "3", "--utc")
    assert [line.split()[1:] for line in preview.stdout.splitlines()] == [["02:00:00", "UTC"]] * 3
