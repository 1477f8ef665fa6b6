"""What subscribers are told of schedules: that a rule was made right, and that ticks were missed."""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso


def tell_reconciled(change: dict[str, Any], at_ms: int) -> None:
    """``change``: ``{schedule, rule, found, done}``, as reconcile_schedules answers it."""
    publish(sns(), {"event": "schedule.reconciled", "occurred_at": iso(at_ms), **change})


def tell_missed(missed: dict[str, Any], at_ms: int) -> None:
    """``missed``: ``{schedule, first_missed, last_missed, count}``, as reconcile_schedules answers it.

    ``event`` with ``schedule`` and ``last_missed`` tells repeats apart.
    """
    publish(sns(), {"event": "schedule.missed", "occurred_at": iso(at_ms), **missed})
