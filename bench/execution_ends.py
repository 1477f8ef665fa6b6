"""Waits until a measured execution is settled. Invokes the sweep when an Express execution needs it."""

import json
import time
from collections.abc import Mapping
from typing import Any

import boto3

from bench.run_cases import RunCase
from jobmanager.core.names import guid_of_execution

_SWEEP = "reap_executions"
_SECONDS_BETWEEN_LOOKS = 0.1

type Item = Mapping[str, Mapping[str, str]]


class ExecutionEnds:
    """Waits for executions of one stage."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self._sweep = outputs["function_names"][_SWEEP]
        settings = boto3.client("lambda").get_function_configuration(FunctionName=self._sweep)
        self._grace = int(settings["Environment"]["Variables"]["REAP_GRACE_SECONDS"])

    def wait(self, case: RunCase, execution_id: str, seconds: float) -> list[Any]:
        """Waits until the execution has ended as expected. Returns its history; of an Express one, nothing.

        Raises TimeoutError if it takes longer, and RuntimeError for another status.
        """
        deadline = time.monotonic() + seconds
        swept = set[int]()
        while not (record := self._record(execution_id)) or "settled_at_ms" not in record:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{case.name} still runs after {seconds:g} s: {record}")
            if record and case.workflow_type == "express":
                due = sweep_due(record, time.time(), self._grace, case.status == "timeout")
                if due is not None and due not in swept:
                    swept.add(due)
                    boto3.client("lambda").invoke(FunctionName=self._sweep, Payload=b"{}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if (status := record["status"]["S"]) != case.status:
            raise RuntimeError(f"{case.name} ended as {status}, expected {case.status}: {json.dumps(record)}")
        return self._history(execution_id, deadline) if case.workflow_type == "standard" else []

    def _record(self, execution_id: str) -> Item | None:
        found: Any = boto3.client("dynamodb").get_item(
            TableName=self._outputs["executions_table_name"],
            Key={
                "job_guid": {"S": str(guid_of_execution(execution_id))},
                "execution_id": {"S": execution_id},
            },
            ConsistentRead=True,
        )
        return found.get("Item")  # type: ignore[no-any-return]

    def _history(self, execution_id: str, deadline: float) -> list[Any]:
        client = boto3.client("stepfunctions")
        machine = str(self._outputs["state_machine_arn"])
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{execution_id}"
        while client.describe_execution(executionArn=arn)["status"] == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"the machine of {execution_id} still runs")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return client.get_execution_history(executionArn=arn, maxResults=1000)["events"]


def sweep_due(record: Item, now: float, grace_seconds: int, only_overdue: bool) -> int | None:
    """The ``sweep_at`` at which a sweep looks at this record now; None if it does not.

    ``only_overdue``: a sweep that comes before the execution is overdue is left out. It would find nothing to
    do, and come again a minute later.
    """
    if "sweep_at" not in record:
        return None
    sweep_at = int(record["sweep_at"]["N"])
    overdue_at = int(record["lock_expires_at"]["N"]) + grace_seconds if only_overdue else 0
    return sweep_at if now > max(sweep_at, overdue_at) + 1 else None
