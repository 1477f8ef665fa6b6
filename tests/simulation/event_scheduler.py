"""EventBridge Scheduler: the schedules of the default group, and when they fire.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from jobmanager.core.clock import iso
from tests.clock_model import Fires
from tests.simulation.each_minute import EachMinute
from tests.simulation.scheduler import Scheduler
from tests.simulation.ticks import Ticks
from tests.stand_ins.errors import Unsupported, client_error

type Json = dict[str, Any]

_MINUTE_MS = 60_000
_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


@dataclass
class Made:
    """A schedule as it was last put, with the time of that."""

    definition: Json
    changed_ms: int

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.definition["Name"])

    @property
    def key(self) -> str:
        """The key of the schedule that it hands to its target."""
        return str(json.loads(self.definition["Target"]["Input"])["schedule"])

    def fires(self) -> Fires:
        """When it fires: a rate without a StartDate at once."""
        found = Fires.of_trigger(self.definition)
        return found if found.is_known else replace(found, start_ms=self.changed_ms)

    def summary(self) -> Json:
        """As ListSchedules has it."""
        return {
            "Name": self.name,
            "State": self.definition["State"],
            "Target": {"Arn": self.definition["Target"]["Arn"]},
            "LastModificationDate": datetime.fromtimestamp(self.changed_ms / 1000, UTC),
        }


class EventScheduler(EachMinute):
    """The schedules of the default group."""

    def __init__(self, scheduler: Scheduler, ticks: Ticks) -> None:
        super().__init__(scheduler)
        self._ticks = ticks
        self.schedules: dict[str, Made] = {}

    def create_schedule(self, **definition: Any) -> Json:
        """Makes a schedule; refuses a name that is taken."""
        if definition["Name"] in self.schedules:
            raise client_error("ConflictException", f"Schedule {definition['Name']} already exists.")
        return self._put(definition)

    def update_schedule(self, **definition: Any) -> Json:
        """Replaces a schedule as a whole."""
        self._named(definition["Name"])
        return self._put(definition)

    def get_schedule(self, GroupName: str, Name: str) -> Json:
        """Describes a schedule."""
        return dict(self._named(Name).definition)

    def delete_schedule(self, GroupName: str, Name: str) -> Json:
        """Deletes a schedule."""
        self._named(Name)
        del self.schedules[Name]
        return {}

    def list_schedules(self, GroupName: str, NamePrefix: str, MaxResults: int) -> Json:
        """Lists schedules, on one page."""
        found = sorted(name for name in self.schedules if name.startswith(NamePrefix))
        return {"Schedules": [self.schedules[name].summary() for name in found]}

    def change_by_hand(self, name: str, change: Json) -> None:
        """Changes a schedule, as a person may, who starts no past schedule anew."""
        definition = self._named(name).definition
        target = definition["Target"] | change.get("Target", {})
        changed = {**definition, **change, "Target": target}
        changed.pop("StartDate", None)
        if changed.get("EndDate") and changed["EndDate"].timestamp() * 1000 <= self._scheduler.now_ms:
            del changed["EndDate"]
        self._put(changed)

    def _put(self, definition: Json) -> Json:
        now_ms = self._scheduler.now_ms
        start_ms = _ms(definition.get("StartDate"))
        if start_ms is not None and start_ms < now_ms - 5 * _MINUTE_MS:
            message = "The StartDate you specify cannot be earlier than 5 minutes ago."
            raise client_error("ValidationException", message)
        end_ms = _ms(definition.get("EndDate"))
        if end_ms is not None and end_ms <= max(start_ms or 0, now_ms):
            raise client_error("ValidationException", "The EndDate lies in the past or before the StartDate.")
        if definition["FlexibleTimeWindow"] != {"Mode": "OFF"} or definition["GroupName"] != "default":
            raise Unsupported(f"the schedule {definition}")
        made = Made(definition, now_ms)
        self.schedules[made.name] = made
        self._await_next(made, now_ms - 1)
        return {"ScheduleArn": made.name}

    def _named(self, name: str) -> Made:
        if name not in self.schedules:
            raise client_error("ResourceNotFoundException", f"Schedule {name} does not exist.")
        return self.schedules[name]

    # --- the ticks ----------------------------------------------------------------------------------------

    def _fire_due(self, at_ms: int) -> None:
        for made in sorted(self.schedules.values(), key=lambda made: made.name):
            fires = made.fires()
            if not (fires.is_rate or fires.is_once) and fires.fires_at(at_ms):
                self._tick(made, at_ms)

    def _await_next(self, made: Made, after_ms: int) -> None:
        """Waits for the next time of what does not fire on whole minutes only."""
        fires = made.fires()
        if fires.is_rate or fires.is_once:
            for at_ms in islice(fires.between(after_ms, self.stops_at_ms), 1):
                self._scheduler.after(at_ms - self._scheduler.now_ms, lambda: self._fire_next(made))

    def _fire_next(self, made: Made) -> None:
        if self.schedules.get(made.name) is made:
            self._tick(made, self._scheduler.now_ms)
            self._await_next(made, self._scheduler.now_ms)

    def _tick(self, made: Made, at_ms: int) -> None:
        if made.definition["State"] != "ENABLED":
            return
        target = made.definition["Target"]
        event = json.loads(target["Input"].replace(_SCHEDULED_TIME, iso(at_ms)))
        function = target["Arn"].rpartition(":")[2]
        self._ticks.tick("schedule", event["schedule"], at_ms, [(function, event)])


def _ms(date: datetime | None) -> int | None:
    return None if date is None else int(date.timestamp() * 1000)
