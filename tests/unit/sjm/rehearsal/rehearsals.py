"""How the tests rehearse: with waits that a slow machine makes longer."""

import json
import math
import statistics
from typing import Any

from local import slowness
from sjm.rehearsal.settings import SHORTEST_TTL_SECONDS, Settings, Waits
from tests.unit.sjm.rehearsal.receivers import SECRET

MOST_PATIENCE = 3.0


def patient_waits() -> Waits:
    """The shortest waits, made longer where this process gets less than a processor."""
    slow = statistics.median(slowness.measured() for _ in range(3))
    ttl = math.ceil(SHORTEST_TTL_SECONDS * min(slow, MOST_PATIENCE))
    return Waits(ttl, answer_within_seconds=2 * ttl)


def settings_for(url: str, waits: Waits | None = None, **others: Any) -> Settings:
    """The settings to rehearse the receiver of the tests, whose long job needs some heartbeats."""
    waits = waits or patient_waits()
    long_payload = json.dumps({"seconds": 1.4 * waits.heartbeat_seconds})
    given = {"secret": SECRET, "long_payload": long_payload, "waits": waits, **others}
    return Settings(url, service="billing", job="nightly", **given)
