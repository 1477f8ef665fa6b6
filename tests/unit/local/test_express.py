"""The local stage's Express executions: how long they may run."""

import json
import threading
import time
from typing import Any

import pytest
from ministack.services import stepfunctions

from local.aws_behaviour import express

MACHINE = {"stateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:m", "roleArn": "r"}


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 300), ({"TimeoutSeconds": 24}, 24), ({"TimeoutSeconds": 301}, 300), ({"TimeoutSeconds": 300}, 300)],
)
def test_an_execution_has_at_most_five_minutes(settings: dict[str, int], seconds: float) -> None:
    assert express.seconds_allowed(json.dumps(settings)) == seconds


@pytest.mark.parametrize("timeout", [{}, {"TimeoutSeconds": 1000}])
def test_an_execution_whose_time_is_over_is_ended(
    monkeypatch: pytest.MonkeyPatch, timeout: dict[str, int]
) -> None:
    released = threading.Event()
    monkeypatch.setattr(express, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr(stepfunctions, "_run_execution", lambda _: released.wait(60))
    machine: dict[str, Any] = MACHINE | {"definition": json.dumps({"States": {}} | timeout)}
    record = express.begun(machine, {"name": "long"})

    began = time.monotonic()
    express.run(machine, record)

    assert time.monotonic() - began >= 0.1
    assert (record["status"], record["error"]) == ("TIMED_OUT", "States.Timeout")
    assert [event["type"] for event in record["events"]] == ["ExecutionStarted", "ExecutionTimedOut"]
    released.set()


def test_an_execution_that_ended_in_time_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    machine: dict[str, Any] = MACHINE | {"definition": json.dumps({"States": {}})}
    record = express.begun(machine, {"name": "short"})
    monkeypatch.setattr(stepfunctions, "_run_execution", lambda _: record.update(status="SUCCEEDED"))

    express.run(machine, record)

    assert record["status"] == "SUCCEEDED"
    assert len(record["events"]) == 1
