"""Whether a schedule fired at a time."""

from jobmanager.schedules import counts
from jobmanager.schedules.fire_times import fired_within, is_rate


def fired_at(schedule: str, at_ms: int) -> bool:
    """Whether a schedule fires at that time, or its last tick had that time.

    The fire times of a rate are unknown, so only its last tick counts. It is read from the schedules table.
    """
    is_fire_time = not is_rate(schedule) and fired_within(schedule, at_ms - 1, at_ms) is not None
    return is_fire_time or counts.last_tick_ms(schedule) == at_ms
