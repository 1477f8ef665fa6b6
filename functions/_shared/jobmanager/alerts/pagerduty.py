"""Messages for the Events API v2 of PagerDuty: a group is an alert, which its ``dedup_key`` names.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from typing import Any

from jobmanager.alerts.group import Message
from jobmanager.alerts.words import RowWords, label_of, left_out, row_words, title

MAX_SUMMARY_CHARACTERS = 1_024
MAX_BYTES = 512 * 1024


def body(message: Message, prefix: str, routing_key: str, severity: str) -> dict[str, Any]:
    """Returns the body of the request. An update is a trigger with the same key, which adds to the alert."""
    event = {"routing_key": routing_key, "dedup_key": message["alert_id"]}
    if message["kind"] == "over":
        return {**event, "event_action": "resolve"}
    rows = [row_words(row, False) for row in message["rows"]]
    details: dict[str, Any] = {f"{row.subject} {row.what}": _detail(row) for row in rows}
    if more := left_out(message, len(rows)):
        details["more"] = more
    return {
        **event,
        "event_action": "trigger",
        "client": "Serverless Job Manager",
        "links": [{"href": row.link, "text": row.subject} for row in rows if row.link],
        "payload": {
            "summary": _summary(message, prefix, rows),
            "severity": severity,
            "source": prefix,
            "component": label_of(message["group"]) or prefix,
            "group": message["group"],
            "custom_details": details,
        },
    }


def _summary(message: Message, prefix: str, rows: list[RowWords]) -> str:
    summary = title(message, prefix)
    if len(rows) == 1 and rows[0].why:
        summary = f"{summary}: {rows[0].why}"
    return summary[:MAX_SUMMARY_CHARACTERS]


def _detail(row: RowWords) -> str:
    return f"{row.when} {row.why}".strip()
