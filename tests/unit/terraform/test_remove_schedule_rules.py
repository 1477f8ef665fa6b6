import importlib.util
import json
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.unit.terraform.blocks import TERRAFORM, blocks


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("remove_rules", TERRAFORM / "remove_schedule_rules.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("events", region_name="eu-central-1")


def rule(events: Any, name: str, targets: int = 1) -> None:
    events.put_rule(Name=name, ScheduleExpression="rate(1 hour)")
    if targets:
        arn = "arn:aws:lambda:eu-central-1:123456789012:function:f"
        events.put_targets(Rule=name, Targets=[{"Id": str(n), "Arn": arn} for n in range(targets)])


def test_only_the_rules_of_the_stages_schedules_are_removed(script: ModuleType, events: Any) -> None:
    rule(events, "sjm-dev-schedule-1")
    rule(events, "sjm-dev-schedule-2", targets=0)
    for other in ("sjm-dev2-schedule-1", "sjm-prod-schedule-1", "sjm-dev-alarms"):
        rule(events, other)

    assert script.main(["sjm-dev", "eu-central-1"]) is None

    assert {r["Name"] for r in events.list_rules()["Rules"]} == {
        "sjm-dev2-schedule-1",
        "sjm-prod-schedule-1",
        "sjm-dev-alarms",
    }


def test_only_the_stages_schedules_of_eventbridge_scheduler_are_removed(
    script: ModuleType, events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = boto3.client("scheduler", region_name="eu-central-1")
    scheduler.create_schedule_group(Name="theirs")

    def schedule(name: str, group: str = "default") -> None:
        arn = "arn:aws:lambda:eu-central-1:123456789012:function:f"
        scheduler.create_schedule(
            Name=name,
            GroupName=group,
            ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": "arn:aws:iam::123456789012:role/r"},
        )

    for number in range(60):  # more than a page
        schedule(f"sjm-dev-schedule-{number}")
    for other in ("sjm-dev2-schedule-1", "sjm-prod-schedule-1", "sjm-dev-alarms"):
        schedule(other)
    schedule("sjm-dev-schedule-1", "theirs")

    assert script.main(["sjm-dev", "eu-central-1"]) is None

    assert {(s["GroupName"], s["Name"]) for s in scheduler.list_schedules()["Schedules"]} == {
        ("default", "sjm-dev2-schedule-1"),
        ("default", "sjm-prod-schedule-1"),
        ("default", "sjm-dev-alarms"),
        ("theirs", "sjm-dev-schedule-1"),
    }
    assert "removed 60 schedules of EventBridge Scheduler of sjm-dev" in capsys.readouterr().out


def test_a_missing_argument_is_answered_with_an_example(script: ModuleType) -> None:
    assert "for example: sjm-dev eu-central-1" in script.main(["sjm-dev"])


def machine(states: Any, name: str, running: int) -> str:
    definition = {"StartAt": "wait", "States": {"wait": {"Type": "Wait", "Seconds": 9, "End": True}}}
    role = "arn:aws:iam::123456789012:role/r"
    made = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=role)
    for number in range(running):
        states.start_execution(stateMachineArn=made["stateMachineArn"], name=f"e{number}")
    arn: str = made["stateMachineArn"]
    return arn


def statuses(states: Any, arn: str) -> set[str]:
    return {e["status"] for e in states.list_executions(stateMachineArn=arn)["executions"]}


def test_executions_that_wait_are_stopped_so_that_the_machine_can_be_deleted(
    script: ModuleType, events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    states = boto3.client("stepfunctions", region_name="eu-central-1")
    ours, theirs = machine(states, "sjm-dev-run-job", 3), machine(states, "sjm-prod-run-job", 1)

    assert script.main(["sjm-dev", "eu-central-1", ours]) is None

    assert (statuses(states, ours), statuses(states, theirs)) == ({"ABORTED"}, {"RUNNING"})
    assert "stopped 3 executions of sjm-dev" in capsys.readouterr().out


def test_executions_that_start_or_end_during_the_stop_are_no_obstacle(script: ModuleType) -> None:
    class Gone(Exception):
        pass

    class States:
        """Lists an execution that has ended since, then one that has started since, then none."""

        exceptions = SimpleNamespace(ExecutionDoesNotExist=Gone)

        def __init__(self) -> None:
            self.listed, self.stopped = [["a"], ["b"], []], list[str]()

        def get_paginator(self, operation: str) -> Any:
            return self

        def paginate(self, **asked: str) -> Any:
            assert asked == {"stateMachineArn": "arn", "statusFilter": "RUNNING"}
            return [{"executions": [{"executionArn": arn} for arn in self.listed.pop(0)]}]

        def stop_execution(self, executionArn: str, cause: str) -> None:
            if executionArn == "a":
                raise Gone
            self.stopped.append(executionArn)

    states = States()
    assert script.stop_executions(states, "arn", pause=lambda seconds: None) == {"a", "b"}
    assert states.stopped == ["b"]


def test_terraform_stops_the_executions_before_it_deletes_their_machine() -> None:
    (rules,) = (b for b in blocks("resource") if b.labels == ("terraform_data", "schedule_rules"))

    assert "remove_schedule_rules.py' ${local.prefix} ${local.region} ${local.run_job_arn}" in rules.body
    assert "module.run_job" in rules.body.partition("depends_on")[2]


@pytest.mark.parametrize(
    "resource",
    [
        ("aws_apigatewayv2_route", "route"),
        ("aws_cloudwatch_event_target", "upkeep"),
        ("aws_lambda_event_source_mapping", "spread"),
    ],
    ids=lambda labels: labels[1],
)
def test_on_destroy_nothing_makes_a_trigger_or_starts_an_execution_after_the_command(
    resource: tuple[str, str],
) -> None:
    """Terraform destroys first what depends on the command."""
    (block,) = (block for block in blocks("resource") if block.labels == resource)
    assert re.search(r"depends_on\s*=\s*\[[^]]*terraform_data\.schedule_rules", block.body)
