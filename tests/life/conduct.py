"""How a service may conduct itself when it is notified: well, slowly, not at all, or wickedly."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

GOOD = {"answers": ["accept"], "work": "succeed", "seconds": 0.0, "sync": ["result"]}
"""Of a service that is well again: what everything comes to rest with."""

# What a webhook is answered with, one delivery of a notification after the other; the last goes on for good.
_ANSWERS: dict[tuple[str, ...], int] = {
    ("accept",): 60,
    ("slowly accept",): 4,
    ("503", "accept"): 5,
    ("429", "500", "accept"): 4,
    ("crash", "accept"): 5,
    ("garble", "accept"): 3,
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
    "heartbeats until told to stop": 4,
    "silence": 9,
    "a shorter deadline, then succeed": 4,
    "two results at once": 6,
    "two results": 4,
    "the same result thrice": 4,
    "wrong tokens, then succeed": 5,
    "garbage, then succeed": 5,
    "too late": 5,
}
_SYNC: dict[tuple[str, ...], int] = {
    ("result",): 40,
    ("empty",): 8,
    ("not json",): 5,
    ("state of a wrong type",): 5,
    ("too large",): 2,
    ("slow result",): 8,
    ("too slow",): 4,
    ("422",): 8,
    ("302",): 3,
    ("503", "result"): 6,
    ("crash", "result"): 4,
    ("500",): 2,
}

REFUSALS = {"302", "404", "422"}
"""Answers after which a notification is not sent again."""

LOST = {"mute", "crash", "garble", "429", "500", "503"}
"""Answers after which it is."""

SYNC_SUCCESSES = {"result", "slow result", "empty", "not json"}
SYNC_INVALID = {"state of a wrong type", "too large"}


def conducts(random: Random, count: int) -> list[dict[str, Any]]:
    """Draws how a service conducts itself at one execution of a job after the other."""
    return [
        {
            "answers": [*_drawn(random, _ANSWERS)],
            # Whether it works although the manager has not heard that it took the job.
            "works_unheard": random.random() < 0.4,
            # Whether it calls back before it answers the webhook.
            "works_first": random.random() < 0.1,
            "work": _drawn(random, _WORKS),
            "seconds": round(random.choice([0, 0, random.uniform(0, 4)]), 1),
            "sync": [*_drawn(random, _SYNC)],
        }
        for _ in range(count)
    ]


def _drawn[Choice](random: Random, weights: Mapping[Choice, int]) -> Choice:
    chosen: Choice = random.choices([*weights], [*weights.values()])[0]
    return chosen
