"""Fires the schedules of the emulator."""

from ministack.services import scheduler

from local.aws_behaviour.scheduler.deliveries import Deliveries
from local.aws_behaviour.scheduler.timers import Due, Timers


class Firing:
    """What is due, what is under way, and the schedules that go when they are through."""

    def __init__(self) -> None:
        self._timers = Timers()
        self._deliveries = Deliveries(self._completed)

    def look(self) -> None:
        """Fires what is due, makes the retries that are due."""
        now: float = scheduler._now()
        for due in self._timers.due(dict(scheduler._schedules._data), now):
            self._deliveries.add(due, now)
        self._deliveries.run(now)

    def reset(self) -> None:
        """Forgets everything."""
        self._timers = Timers()
        self._deliveries.clear()

    def _completed(self, due: Due) -> None:
        """AWS deletes a schedule after its last invocation, if its ActionAfterCompletion is DELETE.

        One without an end has no last invocation. A schedule that was updated meanwhile stays.
        https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-delete.html
        """
        schedules = scheduler._schedules._data
        if (
            due.is_last
            and due.schedule.get("ActionAfterCompletion") == "DELETE"
            and schedules.get(due.key) is due.schedule
        ):
            del schedules[due.key]
