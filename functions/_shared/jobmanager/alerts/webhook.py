"""Messages for any other webhook: JSON in the form of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from typing import Any

from jobmanager.alerts.group import Message, Row
from jobmanager.alerts.words import label_of, title
from jobmanager.core.clock import iso

_TYPES = {"opened": "alert.opened", "update": "alert.updated", "over": "alert.over"}


def body(message: Message, prefix: str) -> dict[str, Any]:
    """Returns the body of the request. A field without a value is left out."""
    return {
        "type": _TYPES[message["kind"]],
        "timestamp": iso(message["at_ms"]),
        "data": {
            "alert_id": message["alert_id"],
            "number": message["number"],
            "stage": prefix,
            "group": label_of(message["group"]),
            "title": title(message, prefix),
            "since": iso(message["since_ms"]),
            "problems": message["problems"],
            "failing": message["failing"],
            "failures": message["failures"],
            "not_shown": message["news"] - len(message["rows"]),
            "not_followed": message["untracked"],
            "rows": [_row(row) for row in message["rows"]],
        },
    }


def webhook_id(message: Message) -> str:
    """Returns the id by which a receiver drops duplicates."""
    return f"{message['alert_id']}-{message['number']}"


def _row(row: Row) -> dict[str, Any]:
    facts = row["facts"]
    found = {
        "subject": row["subject"],
        "what": facts["what"],
        "why": facts.get("why"),
        "since": iso(row["since_ms"]),
        "last": iso(row["last_ms"]),
        "failures": row["count"],
        "last_success": iso(facts["last_success_ms"]) if "last_success_ms" in facts else None,
        "owner": facts.get("owner"),
        "link": facts.get("link"),
        "over": iso(row["ended_ms"]) if "ended_ms" in row else None,
        "how": row.get("how"),
    }
    return {name: value for name, value in found.items() if value is not None}
