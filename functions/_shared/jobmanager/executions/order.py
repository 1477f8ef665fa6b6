"""The keys by which lists of executions are sorted, oldest first.

A key is ``<second>#<order within the second>#<execution_id>``, and sorts as text.

Indexes are sorted by the scheduled time. An execution that starts within a minute of it, as nearly all do, is
also found by its start there. One that starts later (a tick that was redriven, say) is in the sparse index
``late`` too, by its start. So only late executions pay for the order by start.
"""

from jobmanager.core.clock import ms_of_stamp, stamp
from jobmanager.core.names import stamp_of_execution, suffix_of_execution

LATE_MS = 60_000
"""How long after its scheduled time an execution starts that counts as late."""


def time_key(execution_id: str, started_at_ms: int) -> str:
    """By the scheduled time, then by the start: the sort key of ``by_service`` and ``by_day``."""
    return f"{stamp_of_execution(execution_id)}#{started_at_ms:013}#{execution_id}"


def key_in_job(execution_id: str) -> str:
    """By the scheduled time, then by the suffix, which has the milliseconds of a run by hand.

    The records of a job are sorted by their execution_ids, so this is their order, too.
    """
    return f"{stamp_of_execution(execution_id)}#{suffix_of_execution(execution_id)}#{execution_id}"


def late_key(execution_id: str, started_at_ms: int) -> str:
    """By the start: the sort key of the index ``late``."""
    return f"{stamp(started_at_ms)}#{started_at_ms:013}#{execution_id}"


def is_late(scheduled_time_ms: int, started_at_ms: int) -> bool:
    """Whether an execution is in the index ``late``."""
    return started_at_ms - scheduled_time_ms >= LATE_MS


def is_key_of_late(time_key: str) -> bool:
    """Whether the execution with this ``time_key`` is in the index ``late``."""
    second, _, rest = time_key.partition("#")
    started_at_ms = rest.partition("#")[0]
    # A record that an earlier version inserted has no start in its key.
    return started_at_ms.isdecimal() and is_late(ms_of_stamp(second), int(started_at_ms))


def execution_of(key: str) -> str:
    """The execution_id in a key."""
    return key.rpartition("#")[2]
