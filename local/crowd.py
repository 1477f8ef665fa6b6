"""Many jobs of one service that are due at once, and the results of their executions.

The first job is PUT with the API, which creates the rule. The others are copies of its item in the jobs
table, and are added to its schedule's count. A PUT takes five functions and a state machine, so a thousand
PUTs would take minutes. The stage itself does everything that is tested or measured: the tick, the executions
and their callbacks.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid, job_key
from local.api_client import ManagerApi, path_of
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause
from local.stage import known_emulator

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.type_defs import ExecutionListItemTypeDef

_ITEMS_A_BATCH = 25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_FIRST = "job-0000"


@dataclass(frozen=True)
class Outcome:
    """The results of a crowd's executions. Times are in seconds since the delivery of the tick.

    Machines, and their starts, are those of Standard jobs: nothing tells of an Express one.
    """

    jobs: int
    records_by_status: dict[str, int]
    machines_by_status: dict[str, int]
    notified: int
    notified_twice: int
    callbacks_by_answer: dict[int, int]
    first_start_at: float
    last_start_at: float
    tick_seconds: float
    last_end_at: float
    emulator_peak_mb: float | None

    @property
    def starts_a_second(self) -> float:
        """The rate between the first start and the last."""
        return sum(self.machines_by_status.values()) / max(self.last_start_at - self.first_start_at, 0.001)


@dataclass(frozen=True)
class Crowd:
    """``size`` jobs of one service on one schedule. If ``is_mixed``, each second one is an Express job."""

    api: ManagerApi
    outputs: Mapping[str, Any]
    service_name: str
    schedule: str
    size: int
    is_mixed: bool = False

    @property
    def job_names(self) -> list[str]:
        """The names of all jobs."""
        return [f"job-{number:04}" for number in range(self.size)]

    @property
    def _express_names(self) -> list[str]:
        return self.job_names[1::2] if self.is_mixed else []

    def service(self) -> ObservedService:
        """A service that calls back with success as soon as it is notified."""
        return ObservedService(self.service_name, work=_succeed)

    @contextmanager
    def registered(self, service: ObservedService) -> Iterator[None]:
        """Creates the jobs, and deletes them afterwards."""
        body = {
            "schedule": self.schedule,
            "invocation_type": "http",
            "invocation_target": service.webhook_url(_FIRST),
            "test_invocation": False,
            "workflow_type": "standard",
            "ttl_seconds": 1800,  # so that no run times out on a slow machine
        }
        path = path_of("services", self.service_name, "jobs", _FIRST)
        answer = self.api.request("PUT", path, body)
        if answer.status not in (200, 201):
            raise RuntimeError(f"the PUT of the first job was answered with {answer.status}: {answer.body}")
        try:
            self._write_copies()
            yield
        finally:
            self._remove_copies()
            self.api.request("DELETE", path)

    def tick(self) -> tuple[int, float]:
        """Delivers a tick to the real function. Returns its scheduled_time in ms, and the seconds it took."""
        began = time.time()
        at_ms = int(began) * 1000
        answer = boto3.client("lambda").invoke(
            FunctionName=self.outputs["function_names"]["start_due_executions"],
            Payload=json.dumps({"schedule": self.schedule, "scheduled_time": iso(at_ms)}),
        )
        result = answer["Payload"].read()
        if "FunctionError" in answer:
            raise RuntimeError(f"the tick failed: {result.decode()}")
        return at_ms, time.time() - began

    def run(self, service: ObservedService, seconds: float) -> Outcome:
        """Delivers a tick and waits for its executions. Raises TimeoutError after ``seconds``."""
        began = time.time()
        at_ms, tick_seconds = self.tick()
        expected = {execution_id(job_guid(self.service_name, name), at_ms) for name in self.job_names}
        of_standard = self.size - len(self._express_names)
        records: list[dict[str, Any]] = []
        while True:
            machines = {name: one for name, one in self._machines().items() if name in expected}
            have_ended = not any("stopDate" not in one for one in machines.values())
            # A callback is answered after its execution has ended. One without an answer is repeated.
            answers = sum(called.answer.status != 0 for called in service.callbacks)
            if len(machines) == of_standard and have_ended:
                records = self._records()
                have_ended = not any(one["status"] == "running" for one in records)
                if len(records) >= self.size and have_ended and answers >= self.size:
                    break
            if time.time() > began + seconds:
                states = Counter(one["status"] for one in [*machines.values(), *records])
                raise TimeoutError(
                    f"after {seconds:g} s, not all of {self.size} executions ended, and their callbacks were"
                    f" answered: {dict(states)}, {answers} answers"
                )
            time.sleep(1)
        ended_at = time.time() - began
        starts = [one["startDate"].timestamp() - began for one in machines.values()]
        identifiers = [record["execution_id"] for record in records]
        if Counter(identifiers) != Counter(expected):
            raise RuntimeError("expected one record for each execution of the tick; found others")
        notified = Counter(received.notification["execution_id"] for received in service.received)
        return Outcome(
            jobs=self.size,
            records_by_status=dict(Counter(record["status"] for record in records)),
            machines_by_status=dict(Counter(one["status"] for one in machines.values())),
            notified=len(notified),
            notified_twice=sum(count > 1 for count in notified.values()),
            callbacks_by_answer=dict(Counter(called.answer.status for called in service.callbacks)),
            first_start_at=min(starts),
            last_start_at=max(starts),
            tick_seconds=tick_seconds,
            last_end_at=ended_at
            if self.is_mixed
            else max(one["stopDate"].timestamp() - began for one in machines.values()),
            emulator_peak_mb=emulator_peak_mb(),
        )

    def _machines(self) -> dict[str, ExecutionListItemTypeDef]:
        pages = boto3.client("stepfunctions").get_paginator("list_executions")
        found = pages.paginate(
            stateMachineArn=self.outputs["state_machine_arn"], PaginationConfig={"PageSize": 1000}
        )
        return {one["name"]: one for page in found for one in page["executions"]}

    def _records(self) -> list[dict[str, Any]]:
        pages = (
            boto3.client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=self.outputs["executions_table_name"],
                IndexName="by_service",
                KeyConditionExpression="service_name = :service",
                ExpressionAttributeValues={":service": {"S": self.service_name}},
            )
        )
        return [
            {"execution_id": item["execution_id"]["S"], "status": item["status"]["S"]}
            for page in pages
            for item in page["Items"]
        ]

    def _write_copies(self) -> None:
        key = {"service_name": {"S": self.service_name}, "job_name": {"S": _FIRST}}
        express = set(self._express_names)
        first = boto3.client("dynamodb").get_item(TableName=self.outputs["jobs_table_name"], Key=key)["Item"]
        self._write(
            {
                "PutRequest": {
                    "Item": {
                        **first,
                        "job_name": {"S": name},
                        "job_key": {"S": job_key(self.service_name, name)},
                        "job_guid": {"S": job_guid(self.service_name, name)},
                        "workflow_type": {"S": "express" if name in express else "standard"},
                    }
                }
            }
            for name in self.job_names[1:]
        )
        self._count(self.size - 1)

    def _remove_copies(self) -> None:
        """Removes the copies without a trace. The first job's DELETE then deletes the rule."""
        self._write(
            {"DeleteRequest": {"Key": {"service_name": {"S": self.service_name}, "job_name": {"S": name}}}}
            for name in self.job_names[1:]
        )
        self._count(1 - self.size)

    def _write(self, requests: Iterable[Any]) -> None:
        client, table = boto3.client("dynamodb"), self.outputs["jobs_table_name"]
        for batch in batched(requests, _ITEMS_A_BATCH, strict=False):
            pending: Any = {table: list(batch)}
            while pending:
                pending = client.batch_write_item(RequestItems=pending)["UnprocessedItems"]

    def _count(self, change: int) -> None:
        boto3.client("dynamodb").update_item(
            TableName=self.outputs["schedules_table_name"],
            Key={"stage": {"S": self.outputs["prefix"].rpartition("-")[2]}, "schedule": {"S": self.schedule}},
            UpdateExpression="ADD job_count :change",
            ExpressionAttributeValues={":change": {"N": str(change)}},
        )


def _succeed(_: Notification, callbacks: Callbacks, __: Pause) -> None:
    callbacks.success(summary="done")


def emulator_peak_mb() -> float | None:
    """The peak memory of the emulator's process. None if the emulator is not ours."""
    running = known_emulator()
    if running is None:
        return None
    status = Path(f"/proc/{running.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024
