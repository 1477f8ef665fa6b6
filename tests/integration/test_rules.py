"""Rules fire by themselves, are shared, and are deleted with the last job that uses them."""

import base64
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import ms_of_iso, now_ms
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

SECONDS_FOR_TWO_TICKS = 150
EVERY_MINUTE = "rate(1 minute)"
TRIES = 12
LEFT_BY = {
    "deleted": "delete_job",
    "paused": "pause_job",
    "paused for failures": "pause_failing_job",
    "moved": "release_schedule",
    "deleted as code": "manage_job",
}
"""How a job leaves its schedule, and the function that settles the trigger then."""
MANAGE_JOB = Path(__file__).resolve().parents[2] / "terraform" / "manage_job.py"


@pytest.mark.slow(2)
def test_a_job_every_minute_fires_by_the_rule_alone_and_again_a_minute_later(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("minutely", schedule=EVERY_MINUTE, payload='{"do": "succeed", "state": "page-1"}')
        try:
            # A result whose answer was lost is sent again.
            service.wait_for(
                lambda s: len({each.notification["execution_id"] for each in s.callbacks}) >= 2,
                SECONDS_FOR_TWO_TICKS,
                "two ticks",
            )
        finally:
            scenario.delete("minutely")
    first, second = service.received[:2]
    apart_ms = second.notification["scheduled_time_ms"] - first.notification["scheduled_time_ms"]
    assert 50_000 <= apart_ms <= 75_000
    assert first.notification["last_successful_execution"] == {}
    handed_back = second.notification["last_successful_execution"]
    assert handed_back["state"] == "page-1"
    assert handed_back["execution_id"] == first.notification["execution_id"]
    assert [execution["status"] for execution in scenario.history("minutely")[-2:]] == ["success", "success"]


def test_two_jobs_with_the_same_schedule_share_one_rule(scenario: Scenario) -> None:
    blanks = scenario.schedule.replace("(", "( ").replace(" ", "  ")
    scenario.put("a")
    scenario.put("b", schedule=blanks)
    (rule,) = scenario.rules()
    assert rule["State"] == "ENABLED"
    assert scenario.job("b")["schedule"] == scenario.schedule


@pytest.mark.parametrize("how", ["deleted", "disabled", "moved"])
def test_the_rule_is_deleted_when_the_last_job_leaves_it(scenario: Scenario, how: str) -> None:
    def leave(job_name: str) -> None:
        if how == "deleted":
            scenario.delete(job_name)
        elif how == "disabled":
            scenario.put(job_name, enabled=False)
        else:
            scenario.put(job_name, schedule="cron(0 0 1 1 ? 2199)")

    scenario.put("a")
    scenario.put("b")
    leave("a")
    assert len(scenario.rules()) == 1
    leave("b")
    assert scenario.rules() == []


@pytest.mark.parametrize("how", LEFT_BY)
def test_a_job_that_leaves_a_rule_repairs_it_for_the_jobs_that_stay(scenario: Scenario, how: str) -> None:
    """The rule was changed by hand. The jobs that stay do not have to wait for the reconciler.

    Another test's reconciler may run first. Then the test repeats with another job. A busy emulator may write
    a function's log lines only with those of its next invocation. So each try reads all of the test's lines.
    """
    events = scenario.aws.client("events")

    def come(job_name: str) -> None:
        if how == "deleted as code":
            as_code(scenario, "put", job_name)
        else:
            scenario.put(job_name)

    def leave(job_name: str) -> None:
        if how == "deleted":
            scenario.delete(job_name)
        elif how == "paused":
            answer = scenario.api.request("POST", scenario.job_path(job_name, "pause"), {"reason": "audit"})
            assert answer.status == 200, answer
        elif how == "paused for failures":
            pause_for_failures(scenario, job_name)
        elif how == "moved":
            scenario.put(job_name, schedule="cron(0 0 1 1 ? 2198)")
        else:
            as_code(scenario, "delete", job_name)

    scenario.put("stays")
    come("a")
    come("b")
    (rule,) = scenario.rules()
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    leave("a")
    events.remove_targets(Rule=rule["Name"], Ids=[target["Id"]])
    leave("b")
    assert events.list_targets_by_rule(Rule=rule["Name"])["Targets"] == [target]
    since_ms = now_ms()
    for number in range(TRIES):
        come(f"leaves-{number}")
        events.remove_targets(Rule=rule["Name"], Ids=[target["Id"]])
        events.delete_rule(Name=rule["Name"])
        leave(f"leaves-{number}")
        assert [again["Name"] for again in scenario.rules()] == [rule["Name"]]
        assert events.list_targets_by_rule(Rule=rule["Name"])["Targets"] == [target]
        if any(
            line.get("rule") == rule["Name"] for line in logged(scenario, LEFT_BY[how], "rule put", since_ms)
        ):
            break
    else:
        pytest.fail(f"{LEFT_BY[how]} never put the rule")
    scenario.delete("stays")
    assert scenario.rules() == []


def logged(scenario: Scenario, function: str, message: str, since_ms: int) -> list[dict[str, Any]]:
    """The lines with this message that a function has logged since then."""
    found = scenario.aws.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{scenario.outputs['function_names'][function]}",
        startTime=since_ms,
        filterPattern=f'"{message}"',
    )
    return [json.loads(each["message"]) for each in found["events"] if each["message"].startswith("{")]


def test_a_job_that_does_not_fire_has_no_rule_after_it_was_resumed(scenario: Scenario) -> None:
    """A function that died between writing the rule and the job, or a person, left a rule behind."""
    scenario.put("a")
    (rule,) = scenario.rules()
    scenario.put("a", enabled=False)
    assert scenario.rules() == []
    scenario.aws.client("events").put_rule(Name=rule["Name"], ScheduleExpression=scenario.schedule)
    answer = scenario.api.request("POST", scenario.job_path("a", "resume"))
    assert answer.status == 200, answer
    assert scenario.rules() == []


def pause_for_failures(scenario: Scenario, job_name: str) -> None:
    """Lets a job have failed as often as it may, and invokes the function that then pauses it."""
    name = scenario.execution_id(job_name, scenario.tick_time())
    key = {"service_name": scenario.service_name, "job_name": job_name}
    table, client = scenario.outputs["jobs_table_name"], scenario.aws.client("dynamodb")
    item = from_item(client.get_item(TableName=table, Key=to_item(key), ConsistentRead=True)["Item"])
    to_pause = {"since_ms": item["active_since_ms"], "failures": 1, "execution_id": name}
    streak = {"failures": 1, "is_failing": False, "counted": [name], "to_pause": to_pause}
    client.update_item(
        TableName=table,
        Key=to_item(key),
        UpdateExpression="SET streak = :streak, pause_after_failures = :one",
        ExpressionAttributeValues=to_item({":streak": streak, ":one": 1}),
    )
    answer = scenario.aws.client("lambda").invoke(
        FunctionName=scenario.outputs["function_names"]["pause_failing_job"],
        Payload=json.dumps({**key, "execution_id": name}),
    )
    assert json.load(answer["Payload"]) == {"paused": True}


def as_code(scenario: Scenario, action: str, job_name: str, fails: bool = False, **fields: str) -> str:
    """Runs what `terraform apply` of the stage runs for a job as code. Returns its error message."""
    job = {"schedule": scenario.schedule, "invocation_type": "sns", "test_invocation": False, **fields}
    done = subprocess.run(
        [sys.executable, str(MANAGE_JOB), action, f"{scenario.service_name}/{job_name}"],
        env=os.environ
        | {
            "JOB": base64.b64encode(gzip.compress(json.dumps(job).encode())).decode(),
            "MANAGED_BY": "terraform/environments/local/jobs.tf",
            "MANAGE_JOB_FUNCTION": scenario.outputs["function_names"]["manage_job"],
            "MANAGE_JOB_REGION": os.environ["AWS_DEFAULT_REGION"],
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr


def test_the_last_job_as_code_is_deleted_with_its_rule(scenario: Scenario) -> None:
    as_code(scenario, "put", "a")
    assert scenario.job("a")["managed_by"] == "terraform/environments/local/jobs.tf"
    assert scenario.api.request("DELETE", scenario.job_path("a")).status == 409
    assert len(scenario.rules()) == 1
    as_code(scenario, "delete", "a")
    assert scenario.api.request("GET", scenario.job_path("a")).status == 404
    assert scenario.rules() == []


def test_the_same_put_twice_changes_nothing(scenario: Scenario) -> None:
    first = scenario.put("a", tags={"team": "ledger"}, expected=(201,))
    before = scenario.job("a")
    again = scenario.put("a", tags={"team": "ledger"}, expected=(200,))
    assert again.body == first.body
    assert scenario.job("a") == before
    assert len(scenario.rules()) == 1


def test_another_schedule_moves_the_job_to_the_other_rule(scenario: Scenario) -> None:
    scenario.put("a")
    scenario.put("a", schedule="cron(1 0 1 1 ? 2199)")
    assert scenario.rules() == []
    at_ms = scenario.tick(schedule=scenario.schedule)
    assert scenario.execution("a", at_ms) is None


def test_an_invalid_schedule_leaves_the_job_and_its_rule_as_they_were(scenario: Scenario) -> None:
    scenario.put("a")
    before, rules = scenario.job("a"), scenario.rules()
    answer = scenario.put("a", schedule="cron(0 0 * * * *)", expected=(400,))
    assert [error["pointer"] for error in answer.body["errors"]] == ["/schedule"]
    assert scenario.job("a") == before
    assert scenario.rules() == rules


def test_ticks_that_cannot_be_delivered_go_to_the_dead_letter_queue(scenario: Scenario) -> None:
    scenario.put("a")
    (rule,) = scenario.rules()
    (target,) = scenario.aws.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    queue = scenario.aws.client("sqs").get_queue_attributes(
        QueueUrl=scenario.outputs["tick_dead_letter_queue_url"], AttributeNames=["QueueArn"]
    )
    assert target["DeadLetterConfig"]["Arn"] == queue["Attributes"]["QueueArn"]


def test_an_execution_has_the_scheduled_time_of_its_tick(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a")
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "success")
    assert ms_of_iso(execution["scheduled_time"]) == at_ms
    assert 0 <= execution["invocation_latency_ms"] < 60_000
    assert poll(lambda: scenario.history("a"), 10, "history")[0]["execution_id"] == execution["execution_id"]
