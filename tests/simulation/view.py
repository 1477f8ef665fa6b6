"""The simulated stage, as the invariants look at it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobmanager.core.names import guid_of_execution
from jobmanager.schedules.trigger_kind import trigger_name
from tests.integration.invariants import Json, Service
from tests.integration.stage_view import queued
from tests.stand_ins.dynamodb import Key, Table
from tests.stand_ins.expressions import Item
from tests.stand_ins.values import from_item

if TYPE_CHECKING:
    from tests.simulation.world import World


class SimulatedStage:
    """Reads the stand-ins themselves."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plain: dict[tuple[str, Key], tuple[Item, Json]] = {}
        """The items that were looked at last, and what they are as plain values: most do not change."""

    def jobs(self) -> list[Json]:
        """All jobs, deleted ones too, without the large values beside them."""
        return [item for item in self._items("jobs") if "job_key" in item]

    def records(self) -> list[Json]:
        """All executions, without the Idempotency-Keys and the large values beside them."""
        return [item for item in self._items("executions") if guid_of_execution(item["execution_id"])]

    def large_values(self) -> dict[str, Json]:
        """The items of large values, by their sort keys."""
        found = {item["job_name"]: item for item in self._items("jobs") if "job_key" not in item}
        beside = (item for item in self._items("executions") if "large_text" in item)
        return found | {item["execution_id"]: item for item in beside}

    def service(self, name: str) -> Service:
        """All that the tables hold of a service."""
        jobs = [job for job in self.jobs() if job["service_name"] == name]
        records = [record for record in self.records() if record["service_name"] == name]
        limits = [limit for limit in self._items("limits") if limit["service_name"] == name]
        return Service(jobs, records, limits, self._queues())

    def machine_status(self, execution_id: str) -> str:
        """The status of an execution's machine, or ``unknown``."""
        found = self._world.machines.standard_of(execution_id)
        return found[-1].status if found else "unknown"

    def rule_name(self, schedule: str) -> str:
        """The name that the rule of a schedule has."""
        return trigger_name(schedule)

    def rules(self) -> dict[str, Json]:
        """The rules of the stage's schedules, by name."""
        return {name: rule.described() for name, rule in self._world.rules.rules.items()}

    def scheduled(self, name: str) -> Json | None:
        """A schedule of EventBridge Scheduler; None if there is none of that name."""
        made = self._world.schedules.schedules.get(name)
        return None if made is None else made.definition

    def triggered(self) -> list[str]:
        """The keys of the schedules that have a trigger, which may be wrong."""
        made = self._world.schedules.schedules.values()
        return [*(rule.expression for rule in self._world.rules.rules.values()), *(each.key for each in made)]

    def starts_executions(self, rule_name: str) -> bool:
        """Whether a rule has the target that starts executions."""
        return any(
            self.is_start_function(each["Arn"])
            for each in self._world.rules.rules[rule_name].targets.values()
        )

    def is_start_function(self, arn: str) -> bool:
        """Whether an ARN is that of the function that starts executions."""
        return arn.endswith(":start_due_executions")

    def now_ms(self) -> int:
        """The virtual time."""
        return self._world.scheduler.now_ms

    def schedule_counts(self) -> dict[str, int]:
        """The ``job_count`` of each schedule of the stage."""
        return {item["schedule"]: item.get("job_count", 0) for item in self._items("schedules")}

    def users_of(self, schedule: str, jobs: Iterable[Json]) -> int:
        """How many active jobs have a schedule."""
        return sum(job.get("active_schedule") == schedule for job in self.jobs())

    def _queues(self) -> dict[str, list[str]]:
        """The executions in each queue. The world has one service."""
        partitions: dict[str, list[Json]] = {}
        for item in self._items("executions"):
            partitions.setdefault(item["job_guid"], []).append(item)
        return {queue: queued(items) for queue, items in partitions.items()}

    def _items(self, table: str) -> list[Json]:
        found: Table = self._world.tables.tables[table]
        items = ((key, found.now(key)) for key in found.versions)
        return [self._read(table, key, item) for key, item in items if item is not None]

    def _read(self, table: str, key: Key, item: Item) -> Json:
        known = self._plain.get((table, key))
        if known is None or known[0] is not item:
            known = self._plain[table, key] = item, from_item(item)
        return dict(known[1])
