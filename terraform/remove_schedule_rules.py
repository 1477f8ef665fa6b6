#!/usr/bin/env python3
"""Removes the triggers of the jobs of one stage, then stops its executions.

The triggers are EventBridge rules, and schedules of EventBridge Scheduler. Terraform does not know them. AWS
deletes a state machine only when all its executions have ended, and the provider stops waiting for that after
some minutes. So `terraform destroy` runs this script. By hand:

    python3 remove_schedule_rules.py sjm-dev eu-central-1 [ARN of the state machine]

https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html

Credentials and endpoint come from the environment. The script needs boto3; if this Python does not have it,
the script runs in the project's virtual environment.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PROJECT_PYTHON = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
_MOST_ROUNDS = 60


def remove_schedule_rules(events: Any, prefix: str) -> list[str]:
    """Removes every rule whose name begins with ``<prefix>-schedule-`` and returns their names."""
    pages = events.get_paginator("list_rules").paginate(NamePrefix=f"{prefix}-schedule-")
    names = [rule["Name"] for page in pages for rule in page["Rules"]]
    for name in names:
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        if targets:
            events.remove_targets(Rule=name, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=name)
    return names


def remove_schedules(scheduler: Any, prefix: str) -> list[str]:
    """Removes every schedule whose name begins with ``<prefix>-schedule-`` and returns their names."""
    pages = scheduler.get_paginator("list_schedules").paginate(
        GroupName="default", NamePrefix=f"{prefix}-schedule-"
    )
    names = [schedule["Name"] for page in pages for schedule in page["Schedules"]]
    for name in names:
        with contextlib.suppress(scheduler.exceptions.ResourceNotFoundException):
            scheduler.delete_schedule(GroupName="default", Name=name)
    return names


def stop_executions(states: Any, machine_arn: str, pause: Callable[[float], None] = time.sleep) -> set[str]:
    """Stops every running execution, also those that a late tick starts meanwhile, and returns their ARNs."""
    stopped: set[str] = set()
    for _ in range(_MOST_ROUNDS):
        pages = states.get_paginator("list_executions").paginate(
            stateMachineArn=machine_arn, statusFilter="RUNNING"
        )
        running = [execution["executionArn"] for page in pages for execution in page["executions"]]
        if not running:
            break
        for arn in running:
            with contextlib.suppress(states.exceptions.ExecutionDoesNotExist):
                states.stop_execution(executionArn=arn, cause="The stage is being destroyed.")
        stopped.update(running)
        pause(1)  # the list is eventually consistent
    return stopped


def main(arguments: list[str]) -> str | None:
    """Returns an error message, or None."""
    if len(arguments) not in (2, 3):
        return (
            "usage: remove_schedule_rules.py PREFIX REGION [MACHINE_ARN], for example: sjm-dev eu-central-1"
        )
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        if _PROJECT_PYTHON.exists() and Path(sys.executable) != _PROJECT_PYTHON:
            os.execv(_PROJECT_PYTHON, [str(_PROJECT_PYTHON), __file__, *arguments])
        return (
            f"cannot remove the triggers of jobs, because {sys.executable} has no boto3. "
            "Activate the project's virtual environment and run terraform destroy again."
        )
    prefix, region, *machines = arguments
    removed = remove_schedule_rules(boto3.client("events", region_name=region), prefix)
    print(f"removed {len(removed)} schedule rules of {prefix}")
    config = Config(retries={"mode": "adaptive", "total_max_attempts": 10})
    removed = remove_schedules(boto3.client("scheduler", region_name=region, config=config), prefix)
    print(f"removed {len(removed)} schedules of EventBridge Scheduler of {prefix}")
    for machine_arn in machines:
        states = boto3.client("stepfunctions", region_name=region, config=config)
        stopped = stop_executions(states, machine_arn)
        print(f"stopped {len(stopped)} executions of {prefix}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
