"""Messages for a webhook of Microsoft Teams' Workflows, which posts an Adaptive Card.

Microsoft retires the webhooks of Office 365 connectors. Workflows take Adaptive Cards only:
https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
"""

import json
from typing import Any

from jobmanager.alerts.group import Message
from jobmanager.alerts.words import RowWords, left_out, row_words, title

# A message of Teams has at most 28 KB:
# https://learn.microsoft.com/en-us/microsoftteams/limits-specifications-teams
MAX_BYTES = 28 * 1024

_STYLES = {"opened": "attention", "update": "attention", "over": "good"}


def body(message: Message, prefix: str) -> dict[str, Any]:
    """Returns the body of the request, with as many rows as a message of Teams holds."""
    rows = [row_words(row, message["kind"] == "over") for row in message["rows"]]
    while True:
        found = _body(message, prefix, rows)
        if len(json.dumps(found, ensure_ascii=False).encode()) <= MAX_BYTES:
            return found
        rows.pop()


def _body(message: Message, prefix: str, rows: list[RowWords]) -> dict[str, Any]:
    """Builds the body.

    The texts are in RichTextBlocks, because a TextBlock reads Markdown, and services wrote these texts:
    https://adaptivecards.io/explorer/RichTextBlock.html
    """
    more = left_out(message, len(rows))
    elements = [
        {
            "type": "Container",
            "style": _STYLES[message["kind"]],
            "bleed": True,
            "items": [_text(_run(title(message, prefix), weight="Bolder", size="Medium"))],
        },
        *(_row(row) for row in rows),
        *([_text(_run(more))] if more else []),
    ]
    card = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": elements,
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _row(row: RowWords) -> dict[str, Any]:
    subject = _run(row.subject, weight="Bolder")
    if row.link:
        subject["selectAction"] = {"type": "Action.OpenUrl", "url": row.link}
    items = [_text(subject, _run(f" {row.what}")), _text(_run(row.when, isSubtle=True))]
    if row.why:
        items.append(_text(_run(row.why, fontType="Monospace")))
    return {"type": "Container", "separator": True, "items": items}


def _text(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **looks: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **looks}
