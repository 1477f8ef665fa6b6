"""Waits until a measured execution is settled. Invokes the sweep when an Express execution needs it."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3

from bench.run_cases import RunCase
from jobmanager.core.names import guid_of_execution
from jobmanager.executions.moved import AFTER_WAITING

_SWEEP = "reap_executions"
_SECONDS_BETWEEN_LOOKS = 0.1

type Item = Mapping[str, Mapping[str, Any]]


class ExecutionEnds:
    """Waits for executions of one stage."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self._sweep = outputs["function_names"][_SWEEP]
        settings = boto3.client("lambda").get_function_configuration(FunctionName=self._sweep)
        self._grace = int(settings["Environment"]["Variables"]["REAP_GRACE_SECONDS"])

    def wait(self, case: RunCase, execution_id: str, seconds: float) -> list[Any]:
        """Waits until the execution has ended as expected. Returns the history of its machines.

        That of an Express one is empty. Raises TimeoutError if it takes longer, and RuntimeError for another
        status.
        """
        deadline = time.monotonic() + seconds
        record = self.until(case, execution_id, lambda each: "settled_at_ms" in each, seconds)
        if (status := record["status"]["S"]) != case.status:
            raise RuntimeError(f"{case.name} ended as {status}, expected {case.status}: {json.dumps(record)}")
        if case.workflow_type == "express":
            return []
        has_waited = "waiting_since_ms" in record
        names = (execution_id, f"{execution_id}{AFTER_WAITING}") if has_waited else (execution_id,)
        return [event for name in names for event in self._history(name, deadline)]

    def until(
        self, case: RunCase, execution_id: str, condition: Callable[[Item], bool], seconds: float
    ) -> Item:
        """Waits until the record is so, and returns it. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        swept = set[int]()
        while not (record := self._record(execution_id)) or not condition(record):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{case.name} is not so after {seconds:g} s: {record}")
            if record and case.is_swept:
                due = sweep_due(record, time.time(), self._grace, case.status == "timeout")
                if due is not None and due not in swept:
                    swept.add(due)
                    self.sweep()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return record

    def sweep(self) -> None:
        """Has the sweep look at what is due."""
        boto3.client("lambda").invoke(FunctionName=self._sweep, Payload=b"{}")

    def make_due(self, execution_id: str) -> None:
        """Lets the next sweep look at an execution, which would be some minutes later."""
        boto3.client("dynamodb").update_item(
            TableName=self._outputs["executions_table_name"],
            Key=_key(execution_id),
            UpdateExpression="SET sweep_at = :now",
            ConditionExpression="attribute_exists(sweep_at)",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()) - 1)}},
        )

    def _record(self, execution_id: str) -> Item | None:
        found: Any = boto3.client("dynamodb").get_item(
            TableName=self._outputs["executions_table_name"],
            Key=_key(execution_id),
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


def _key(execution_id: str) -> dict[str, dict[str, str]]:
    return {"job_guid": {"S": str(guid_of_execution(execution_id))}, "execution_id": {"S": execution_id}}


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
