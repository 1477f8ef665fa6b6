"""The events about schedules: a trigger was repaired, or ticks were missed."""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso


def publish_reconciled(change: dict[str, Any], at_ms: int) -> None:
    """Publishes that a trigger was repaired.

    ``change``: ``{schedule, trigger_type, rule, found, done}``; ``rule`` is the name of either kind.
    """
    publish(sns(), {"event": "schedule.reconciled", "occurred_at": iso(at_ms), **change})


def publish_missed(missed: dict[str, Any], at_ms: int) -> None:
    """Publishes missed ticks. ``missed``: ``{schedule, first_missed, last_missed, count}``.

    Delivered at least once: ``event`` with ``schedule`` and ``last_missed`` identifies duplicates.
    """
    publish(sns(), {"event": "schedule.missed", "occurred_at": iso(at_ms), **missed})
