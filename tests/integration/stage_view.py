"""A stage on AWS or the emulator, as the invariants look at it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobmanager.aws.items import from_item, to_item
from jobmanager.core.clock import now_ms
from jobmanager.core.names import guid_of_execution, split_job_key
from jobmanager.executions.order import execution_of
from jobmanager.executions.queues import ENTRY_PREFIX, queue_of_slots
from tests.integration.invariants import Json, Service


class Stage:
    """Reads a stage past its API, as it is now."""

    def __init__(self, aws: Any, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self._dynamodb = aws.client("dynamodb")
        self._machines = aws.client("stepfunctions")
        self._events = aws.client("events")
        self._scheduler = aws.client("scheduler")

    def service(self, name: str) -> Service:
        """Of executions whose job was never saved, only those that the index ``by_service`` knows."""
        # Beside a job lie its large values.
        jobs = [item for item in self._query("jobs", "service_name", name) if "job_key" in item]
        indexed = self._query("executions", "service_name", name, IndexName="by_service")
        guids = {job["job_guid"] for job in jobs} | {
            guid_of_execution(each["execution_id"]) for each in indexed
        }
        of_jobs = {guid: list(self._query("executions", "job_guid", guid)) for guid in guids if guid}
        # Beside the executions of a job lie its Idempotency-Keys, its queue and large values.
        records = [
            record
            for guid, items in of_jobs.items()
            for record in items
            if guid_of_execution(record["execution_id"]) == guid
        ]
        limits = list(self._query("limits", "service_name", name))
        of_limits = {
            queue: self._query("executions", "job_guid", queue)
            for queue in {queue_of_slots(name, each) for each in _limits_of(limits, records)}
        }
        queues = {queue: queued(items) for queue, items in (of_jobs | of_limits).items()}
        return Service(jobs, records, limits, queues)

    def machine_status(self, execution_id: str) -> str:
        """As Step Functions says it, or ``unknown``."""
        arn = self._outputs["state_machine_arn"].replace(":stateMachine:", ":execution:")
        try:
            found = self._machines.describe_execution(executionArn=f"{arn}:{execution_id}")
        except self._machines.exceptions.ExecutionDoesNotExist:
            return "unknown"
        return str(found["status"])

    def rule_name(self, schedule: str) -> str:
        """As trigger_name has it, which reads the prefix from a function's environment."""
        digest = hashlib.sha256(schedule.encode()).hexdigest()[:16]
        return f"{self._outputs['prefix']}-schedule-{digest}"

    def rules(self) -> dict[str, Json]:
        """The rules of the stage's schedules, by name."""
        pages = self._events.get_paginator("list_rules")
        prefix = f"{self._outputs['prefix']}-schedule-"
        found = pages.paginate(NamePrefix=prefix).build_full_result()["Rules"]
        return {rule["Name"]: rule for rule in found}

    def scheduled(self, name: str) -> Json | None:
        """As GetSchedule answers; None if there is no schedule of that name."""
        try:
            return dict(self._scheduler.get_schedule(GroupName="default", Name=name))
        except self._scheduler.exceptions.ResourceNotFoundException:
            return None

    def starts_executions(self, rule_name: str) -> bool:
        """Whether a rule has the target that starts executions."""
        targets = self._events.list_targets_by_rule(Rule=rule_name)["Targets"]
        return any(self.is_start_function(target["Arn"]) for target in targets)

    def is_start_function(self, arn: str) -> bool:
        """Whether an ARN is that of the function that starts executions."""
        return arn.endswith(f":{self._outputs['function_names']['start_due_executions']}")

    def now_ms(self) -> int:
        """The time of this machine, and of the stage."""
        return now_ms()

    def schedule_counts(self) -> dict[str, int]:
        """The ``job_count`` of each schedule of the stage."""
        stage = self._outputs["prefix"].rpartition("-")[2]
        return {
            item["schedule"]: item.get("job_count", 0) for item in self._query("schedules", "stage", stage)
        }

    def users_of(self, schedule: str, jobs: Iterable[Json]) -> int:
        """How many active jobs have it: of these services, and of others that the index knows."""
        keys = {job["job_key"] for job in jobs if job.get("active_schedule") == schedule}
        indexed = self._query("jobs", "active_schedule", schedule, IndexName="by_schedule")
        keys |= {item["job_key"] for item in indexed if self._is_on(item["job_key"], schedule)}
        return len(keys)

    def _is_on(self, job_key: str, schedule: str) -> bool:
        service_name, job_name = split_job_key(job_key)
        key = to_item({"service_name": service_name, "job_name": job_name})
        table = self._outputs["jobs_table_name"]
        found = self._dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return found is not None and from_item(found).get("active_schedule") == schedule

    def _query(self, table: str, hash_name: str, value: str | None, **how: Any) -> Iterator[Json]:
        """Consistent, but for an index."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._outputs[f"{table}_table_name"],
            KeyConditionExpression="#hash = :hash",
            ExpressionAttributeNames={"#hash": hash_name},
            ExpressionAttributeValues=to_item({":hash": value}),
            ConsistentRead="IndexName" not in how,
            **how,
        )
        for page in pages:
            yield from map(from_item, page["Items"])


def _limits_of(limits: Iterable[Json], records: Iterable[Json]) -> set[str]:
    """The names of limits, also of those that were deleted while executions may have waited."""
    return {limit["limit_name"] for limit in limits} | {
        record["limit"] for record in records if "limit" in record
    }


def queued(items: Iterable[Json]) -> list[str]:
    """The executions that wait in a queue, of all items of its partition."""
    keys = (item["execution_id"] for item in items)
    return [execution_of(key) for key in keys if key.startswith(ENTRY_PREFIX)]
