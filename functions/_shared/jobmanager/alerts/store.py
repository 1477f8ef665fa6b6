"""The table of a route: an item for each group.

``{group_name, alert, version, expires_at}``. A write requires that ``version`` is still the one that was
read, so of two concurrent changes the second is applied to the result of the first.
"""

from typing import cast

from jobmanager.alerts.group import EMPTY, Group
from jobmanager.aws import tables
from jobmanager.core.settings import setting

KEPT_SECONDS = 40 * 86_400
"""How long a group is kept in which nothing happens. SQS delivers a duplicate after 14 days at most."""


def read(name: str) -> tuple[Group, int]:
    """Reads a group and its version, consistently; an empty group of version 0 if there is none."""
    item = tables.get(setting("ALERTS_TABLE"), {"group_name": name}) or {}
    return cast(Group, item.get("alert", EMPTY)), item.get("version", 0)


def write(name: str, group: Group, version: int, now_ms: int) -> bool:
    """Writes a group; False if somebody else has written it since ``version`` was read."""
    written = tables.update_if(
        setting("ALERTS_TABLE"),
        {"group_name": name},
        "SET alert = :alert, #version = :next, expires_at = :expires",
        "#version = :read" if version else "attribute_not_exists(#version)",
        {
            ":alert": group,
            ":next": version + 1,
            ":expires": now_ms // 1000 + KEPT_SECONDS,
            **({":read": version} if version else {}),
        },
    )
    return written is not None
