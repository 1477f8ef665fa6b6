"""Messages for an incoming webhook of Slack.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from typing import Any

from jobmanager.alerts.group import Message
from jobmanager.alerts.words import RowWords, left_out, row_words, title

# https://docs.slack.dev/reference/block-kit/blocks/header-block and section-block
MAX_HEADER_CHARACTERS = 150
MAX_SECTION_CHARACTERS = 3_000
# Slack does not document that it refuses more than some 13,000 characters in all blocks:
# https://github.com/slackapi/bolt-js/issues/2509
MAX_CHARACTERS = 12_000

_MAX_ROW_CHARACTERS = 1_000
_MAX_LINK_CHARACTERS = 600


def body(message: Message, prefix: str) -> dict[str, Any]:
    """Returns the body of the request."""
    header = title(message, prefix)
    rows = [row_words(row, message["kind"] == "over") for row in message["rows"]]
    sections = [_section(row) for row in rows]
    if more := left_out(message, len(rows)):
        sections.append(escaped(more, MAX_SECTION_CHARACTERS))
    return {
        # Shown in notifications, and read by screen readers, in place of the blocks.
        "text": escaped(header, MAX_SECTION_CHARACTERS),
        "blocks": [
            {"type": "header", "text": _plain(_cut(header, MAX_HEADER_CHARACTERS))},
            *({"type": "section", "text": _markup(text)} for text in sections),
        ],
    }


def _section(row: RowWords) -> str:
    subject = escaped(row.subject, MAX_SECTION_CHARACTERS // 3)
    link = escaped(row.link, _MAX_LINK_CHARACTERS) if len(row.link) <= _MAX_LINK_CHARACTERS // 2 else ""
    name = f"*<{link}|{subject}>*" if link else f"*{subject}*"
    lines = [f"{name} {escaped(row.what, 200)}", escaped(row.when, 300)]
    room = _MAX_ROW_CHARACTERS - sum(map(len, lines)) - len(lines)
    if row.why and room > 20:
        lines.append(escaped(row.why, room))
    return "\n".join(lines)


def escaped(text: str, most: int) -> str:
    """Escapes what Slack reads as markup or as a mention, and cuts the result to ``most`` characters.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    found = ""
    for character in text:
        safe = _ESCAPES.get(character, character)
        if len(found) + len(safe) >= most:
            return f"{found}…"
        found += safe
    return found


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _markup(text: str) -> dict[str, Any]:
    # verbatim: names of channels and people in it stay text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}
