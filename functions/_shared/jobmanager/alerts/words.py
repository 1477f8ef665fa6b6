"""The words of a message, which every kind of destination shows: plain text, without markup.

A name or a text of a service may be in each of them, so whoever shows one must escape it.
"""

from typing import NamedTuple

from jobmanager.alerts.group import Message, Row
from jobmanager.core.clock import iso


class RowWords(NamedTuple):
    """A problem in words. ``subject`` and ``what`` are one sentence; ``why`` may be empty, ``link`` too."""

    subject: str
    what: str
    when: str
    why: str
    link: str


def title(message: Message, prefix: str) -> str:
    """Returns the message in one line, with the name of the stage first."""
    return f"[{prefix}] {_title(message)}"


def _title(message: Message) -> str:
    label = label_of(message["group"])
    where = f" in {label}" if label else ""
    if message["kind"] == "update":
        return f"{_counted(message['news'], 'more problem')}{where}, {message['failing']} now"
    if message["problems"] > 1:
        counted = f"{_counted(message['problems'], 'problem')}{where}"
        return f"Over: {counted}" if message["kind"] == "over" else counted
    (row,) = message["rows"]
    if message["kind"] == "over":
        return f"Over: {row['subject']} {row['how']}"
    return f"{row['subject']} {_what(row)}"


def label_of(group: str) -> str:
    """Returns what people call a group: the name of its service, for example. Empty for the whole route."""
    kind, _, name = group.partition(" ")
    return name if name and kind in ("service", "job", "alarm") else "" if group == "all" else group


def row_words(row: Row, is_over: bool) -> RowWords:
    """Returns a problem in words, as a message that it is over tells it, or any other one."""
    facts = row["facts"]
    since = _time(row["since_ms"])
    times = "" if row["count"] == 1 else f", {row['count']} times"
    sentences = [f"Since {since}{times}."]
    if is_over:
        what = row["how"]
        sentences = [f"{_capital(facts['what'])} at {since}{times}, over at {_time(row['ended_ms'])}."]
    else:
        what = _what(row)
        if "last_success_ms" in facts:
            sentences.append(f"Last success: {_time(facts['last_success_ms'])}.")
        if "owner" in facts:
            sentences.append(f"Owner: {facts['owner']}.")
    return RowWords(row["subject"], what, " ".join(sentences), facts.get("why", ""), facts.get("link", ""))


def left_out(message: Message, shown: int) -> str:
    """Returns a sentence about the problems that the message does not show; empty if it shows all."""
    more = message["news"] - shown
    parts = [f"and {_counted(more, 'more problem')}"] if more else []
    if message["untracked"]:
        parts.append(f"{_counted(message['untracked'], 'failure')} of further jobs, which are not followed")
    return f"{_capital('; '.join(parts))}." if parts else ""


def _what(row: Row) -> str:
    return f"{row['facts']['what']}, then {row['how']}" if "how" in row else row["facts"]["what"]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _time(ms: int) -> str:
    return f"{iso(ms)[:16].replace('T', ' ')} UTC"
