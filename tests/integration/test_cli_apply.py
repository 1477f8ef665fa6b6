"""``sjm apply`` and ``sjm doctor`` against a stage: a file is applied once, and injected faults are found."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import required
from tests.integration.scenario import Scenario
from tests.integration.sjm_command import Run, sjm_of


@pytest.fixture
def sjm(outputs: dict[str, Any]) -> Run:
    """Runs ``sjm`` as a user who may do everything in the account."""
    return sjm_of(outputs)


def written(file: Path, scenario: Scenario, **jobs: dict[str, Any]) -> str:
    """A file of jobs of the service, over SNS, on the schedule of the scenario."""
    common = {"schedule": scenario.schedule, "invocation_type": "sns"}
    named = {f"{scenario.service_name}/{name}": {**common, **job} for name, job in jobs.items()}
    file.write_text(json.dumps({"jobs": named}))
    return str(file)


def actions(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What the review says of each job, by its name without the service."""
    return {each["job"].partition("/")[2]: each["action"] for each in json.loads(done.stdout)}


def test_a_file_is_applied_once_and_the_second_time_nothing_changes(
    scenario: Scenario, sjm: Run, tmp_path: Path
) -> None:
    scenario.put("old", ttl_seconds=60, owner="ann")
    scenario.put("other")
    file = written(
        tmp_path / "jobs.yaml",
        scenario,
        old={"payload": {"b": [1, True], "a": "ä"}},
        new={"retry": {"max_attempts": 2, "on": ["timeout", "fail"]}, "workflow_type": "express"},
    )

    checked = sjm("apply", "--check", "-f", file, "-o", "json")
    assert (checked.returncode, actions(checked)) == (1, {"old": "change", "new": "create"}), checked.stderr
    applied = sjm("apply", "--yes", "-f", file)
    assert applied.returncode == 0, applied.stderr
    assert "owner: ann → none (not in the file: back to its default)" in applied.stdout
    assert "    beside: " in applied.stdout and "    costs: about $" in applied.stdout
    old, new = scenario.job("old"), scenario.job("new")
    assert (old["ttl_seconds"], old["payload"]) == (300, '{"a":"ä","b":[1,true]}')
    assert new["workflow_type"] == "express"

    again = sjm("apply", "--check", "-f", file, "-o", "json")
    assert (again.returncode, actions(again)) == (0, {"old": "none", "new": "none"}), again.stdout
    assert sjm("apply", "--yes", "-f", file).returncode == 0
    assert scenario.job("old")["version"] == old["version"]

    pruned = sjm("apply", "--yes", "--prune", "-f", file)
    assert pruned.returncode == 0, pruned.stderr
    assert f"{scenario.service_name}/other: deleted" in pruned.stdout
    listed = json.loads(sjm("jobs", "list", scenario.service_name, "-o", "json").stdout)
    assert sorted(job["job_name"] for job in listed) == ["new", "old"]


def test_a_job_that_changed_meanwhile_is_not_overwritten(
    scenario: Scenario, outputs: dict[str, Any], tmp_path: Path
) -> None:
    from sjm.client import Manager
    from sjm.review.apply import made, plan
    from sjm.review.jobs_file import read_jobs

    scenario.put("old")
    file = written(tmp_path / "jobs.yaml", scenario, old={"exclusive": True}, new={})
    with Manager(url=outputs["api_url"], region=required("AWS_DEFAULT_REGION")) as manager:
        reviewed = plan(manager, read_jobs(Path(file).read_bytes(), file))
        scenario.put("old", ttl_seconds=77)
        results = {each.change.job_name: each.error for each in made(manager, reviewed.puts)}

    assert results == {"old": "it was changed since its review: run the command again", "new": None}
    assert (scenario.job("old")["ttl_seconds"], scenario.job("old")["exclusive"]) == (77, False)


def test_a_schedule_that_the_manager_refuses_changes_nothing(
    scenario: Scenario, sjm: Run, tmp_path: Path
) -> None:
    file = written(tmp_path / "jobs.yaml", scenario, good={}, bad={"schedule": "cron(0 2 * * *)"})
    done = sjm("apply", "--yes", "-f", file)

    assert done.returncode == 2
    assert f"{scenario.service_name}/bad: /schedule: cron(0 2 * * *): expected 6 fields" in done.stderr
    assert json.loads(sjm("jobs", "list", scenario.service_name, "-o", "json").stdout) == []


# Another run of the reconciler would restore the rule.
@pytest.mark.xdist_group("upkeep")
@pytest.mark.usefixtures("only_reconciler")
def test_the_doctor_finds_a_deleted_rule_and_a_dead_letter(
    scenario: Scenario, sjm: Run, outputs: dict[str, Any]
) -> None:
    name, stage = outputs["prefix"].split("-")
    scenario.put("nightly")
    (rule,) = scenario.rules()
    events, sqs = scenario.aws.client("events"), scenario.aws.client("sqs")
    targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    # Of this test alone, because others count the dead letters of the stage.
    queue = sqs.create_queue(QueueName=f"{outputs['prefix']}-{scenario.service_name}-dead-letters")[
        "QueueUrl"
    ]
    try:
        events.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=rule["Name"])
        sqs.send_message(QueueUrl=queue, MessageBody="{}")
        done = sjm("doctor", "--stage", stage, "--name", name, "--url", outputs["api_url"], "-o", "json")
    finally:
        sqs.delete_queue(QueueUrl=queue)
    found = {each["check"]: each for each in json.loads(done.stdout)}

    assert done.returncode == 1, done.stderr
    assert found["API"]["state"] == found["signed calls"]["state"] == "ok", found
    assert found["clock of this computer"]["state"] == "ok", found
    assert found["rules in step"]["state"] == "wrong"
    assert "sjm schedules reconcile" in found["rules in step"]["advice"]
    assert found["dead letters"]["state"] == "wrong"
    assert f"{scenario.service_name}-dead-letters: 1 message" in found["dead letters"]["detail"]
    assert found["alarms"]["state"] != "not looked at", found["alarms"]

    reconciled = sjm("schedules", "reconcile", "-o", "json")
    assert reconciled.returncode == 0, reconciled.stderr
    assert any(each["Name"] == rule["Name"] for each in scenario.rules())
