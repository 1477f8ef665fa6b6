"""A limit as the API shows it: its definition, and who holds its slots now."""

from typing import Any

from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.limits.definition import DEFINITION_FIELDS, Limit, waiting_count

_SHOWN = (
    "service_name",
    "limit_name",
    *DEFINITION_FIELDS,
    "version",
    "created_at",
    "updated_at",
    "updated_by",
)


def limit_view(limit: Limit, at_ms: int) -> dict[str, Any]:
    """Returns a limit as the API shows it at a time.

    ``holders`` are the executions that hold a slot, sorted, and ``held`` is how many they are. ``waiting`` is
    how many executions wait. ``next_start_at`` is when the next may start under ``per_second``, if not now.
    """
    holders = sorted(limit.get("holders", ()))
    view = picked(limit, _SHOWN) | {
        "held": len(holders),
        "holders": holders,
        "waiting": waiting_count(limit),
    }
    next_start_ms = limit.get("next_start_ms", 0)
    if "per_second" in limit and next_start_ms > at_ms:
        view["next_start_at"] = iso(next_start_ms)
    return view
