"""Random life beside all other tests. It is short here; `make life` runs it for as long as you like."""

import os
import random
from typing import Any

import pytest

from tests.integration.contract import CheckedApi
from tests.life.report import live_and_check

SECONDS, GAP_SECONDS = 45, 1.0


@pytest.mark.slow(2)
def test_random_life_keeps_every_invariant(aws: Any, outputs: dict[str, Any], api: CheckedApi) -> None:
    seed = int(os.environ.get("LIFE_SEED") or random.randrange(1_000_000))
    broken = live_and_check(aws, outputs, api, seed, SECONDS, GAP_SECONDS)
    assert broken == [], f"seed {seed}: see the printed report"
