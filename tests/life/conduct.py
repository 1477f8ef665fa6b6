"""How a service may react to a notification: well, slowly, not at all, or wrongly.

An answer is named by what it means and by how it is sent. ``tests.life.answers`` sends each one.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

GOOD = {"answers": ["accept"], "work": "succeed", "seconds": 0.0, "sync": ["result"]}
"""The conduct of a service that has recovered. Every life ends with it."""

# The answers to the webhook of an async job, one for each delivery of a notification. The last one repeats.
_ANSWERS: dict[tuple[str, ...], int] = {
    ("accept",): 30,
    ("slowly accept",): 4,
    ("accept after interim answers",): 8,
    ("accept with 150 headers",): 8,
    ("accept with a header of 70 KB",): 8,
    ("accept with a malformed header",): 8,
    ("accept, then reset",): 8,
    ("503", "accept"): 5,
    ("429", "500", "accept"): 4,
    ("503 for seconds", "accept"): 8,
    ("429 until a date", "503 for seconds", "accept"): 8,
    ("503 for seconds",): 3,
    ("crash", "accept"): 5,
    ("garble", "accept"): 3,
    ("break off in the status line", "accept"): 8,
    ("mute", "accept"): 3,
    ("500",): 2,
    ("crash",): 1,
    ("302",): 3,
    ("404",): 3,
}
_WORKS = {
    "succeed": 30,
    "fail": 14,
    "fail with an object": 4,
    "heartbeats, then succeed": 12,
    "heartbeats, then silence": 5,
    "heartbeats until 410": 4,
    "silence": 9,
    "a shorter deadline, then succeed": 4,
    "two results at once": 6,
    "two results": 4,
    "the same result three times": 4,
    "wrong tokens, then succeed": 5,
    "garbage, then succeed": 5,
    "too late": 5,
}
# The same for a sync job.
_SYNC: dict[tuple[str, ...], int] = {
    ("result",): 14,
    ("slow result",): 8,
    ("result after interim answers",): 6,
    ("result with 150 headers",): 6,
    ("result with a header of 70 KB",): 6,
    ("result with a byte order mark",): 6,
    ("result in gzip",): 6,
    ("result in another charset",): 6,
    ("result as text/html",): 6,
    ("result with a malformed header",): 6,
    ("result, then reset",): 6,
    ("empty",): 8,
    ("not json",): 5,
    ("state of a wrong type",): 5,
    ("too large",): 2,
    ("too slow",): 4,
    ("422",): 8,
    ("302",): 3,
    ("503", "result"): 6,
    ("503 for seconds", "429 until a date", "result"): 6,
    ("crash", "result"): 4,
    ("break off in the status line", "result"): 5,
    ("500",): 2,
}

REFUSALS = {"302", "404", "422"}
"""Answers after which a notification is not sent again."""

POSTPONING = {"503 for seconds", "429 until a date"}
"""Answers with Retry-After: the notification is sent again when the service asks for it."""

LOST = {"mute", "crash", "garble", "break off in the status line", "429", "500", "503"} | POSTPONING
"""Answers after which a notification is sent again."""

ACCEPTING = {answer for answers in _ANSWERS for answer in answers if "accept" in answer}
"""Answers that take an async job."""

SYNC_INVALID = {
    "result with a malformed header",
    "result, then reset",
    "state of a wrong type",
    "too large",
}
"""2xx answers whose result cannot be read. The execution must say so."""

RESULTS = {answer for answers in _SYNC for answer in answers if "result" in answer} - SYNC_INVALID
"""Answers of a sync job whose result must be kept."""

SYNC_SUCCESSES = RESULTS | {"empty", "not json"}


def conducts(random: Random, count: int) -> list[dict[str, Any]]:
    """Draws how a service reacts to the executions of a job, one after the other."""
    return [
        {
            "answers": [*_drawn(random, _ANSWERS)],
            # Whether it works on a job although its answer was lost.
            "works_although_lost": random.random() < 0.4,
            # Whether it calls back before it answers the webhook.
            "works_first": random.random() < 0.1,
            "work": _drawn(random, _WORKS),
            "seconds": round(random.choice([0, 0, random.uniform(0, 4)]), 1),
            "sync": [*_drawn(random, _SYNC)],
        }
        for _ in range(count)
    ]


def all_answers() -> set[str]:
    """The name of every answer that a conduct may have."""
    return {answer for kinds in (_ANSWERS, _SYNC) for answers in kinds for answer in answers}


def _drawn[Choice](random: Random, weights: Mapping[Choice, int]) -> Choice:
    chosen: Choice = random.choices([*weights], [*weights.values()])[0]
    return chosen
