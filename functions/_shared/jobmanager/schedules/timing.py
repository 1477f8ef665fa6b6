"""When something fires: a schedule in a time zone, from a moment and until another."""

from dataclasses import dataclass

from jobmanager.schedules.expression import is_rate
from jobmanager.schedules.zones import UTC


@dataclass(frozen=True)
class Timing:
    """A canonical schedule, and the canonical name of the time zone whose clock it goes by.

    It does not fire before ``start_ms`` or after ``end_ms`` (ms since 1970), if they are set.
    """

    schedule: str
    time_zone: str = UTC
    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def has_known_times(self) -> bool:
        """Whether its fire times follow from itself. A rate without a start counts from its trigger's put."""
        return not is_rate(self.schedule) or self.start_ms is not None

    def after(self, after_ms: int) -> int:
        """Returns the latest moment before all at which it may fire after ``after_ms``."""
        return after_ms if self.start_ms is None else max(after_ms, self.start_ms - 1)

    def until(self, until_ms: int) -> int:
        """Returns the last moment at which it may fire until ``until_ms``."""
        return until_ms if self.end_ms is None else min(until_ms, self.end_ms)
