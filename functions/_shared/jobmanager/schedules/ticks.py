"""Whether a schedule fired at a time."""

from jobmanager.schedules import counts
from jobmanager.schedules.fire_times import fired_within
from jobmanager.schedules.keys import timing_of


def fired_at(schedule: str, at_ms: int) -> bool:
    """Whether a schedule, given by its key, fires at that time, or its last tick had that time.

    The fire times of a rate without a start are unknown, so only its last tick counts. It is read from the
    schedules table.
    """
    timing = timing_of(schedule)
    is_fire_time = timing.has_known_times and fired_within(timing, at_ms - 1, at_ms) is not None
    return is_fire_time or counts.last_tick_ms(schedule) == at_ms
