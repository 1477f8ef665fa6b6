import importlib.util
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.unit.terraform.blocks import TERRAFORM


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


def test_a_missing_argument_is_answered_with_an_example(script: ModuleType) -> None:
    assert "for example: sjm-dev eu-central-1" in script.main(["sjm-dev"])
