"""Runs one life from its seed, and explains what was wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.integration.contract import CheckedApi
from tests.life.checks import faults_of
from tests.life.journal import Json
from tests.life.living import Life
from tests.life.plan import plan

_JOURNALS = Path(__file__).resolve().parents[2] / "build" / "life"
_MOST_LINES = 150
_EXECUTION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{8}T\d{6}Z(?:-[0-9a-f]+)?")


def live_and_check(
    aws: Any, outputs: Json, api: CheckedApi, seed: int, seconds: float, gap_seconds: float
) -> list[str]:
    """Runs a life and returns what was wrong. Prints the seed at the start, and each fault at the end.

    Writes the whole journal to build/life.
    """
    planned = plan(seed, seconds, gap_seconds)
    again = f'make life ARGS="--seed {seed} --seconds {seconds:g} --gap {gap_seconds:g}"'
    print(f"seed {seed}, plan {planned.digest}: {len(planned.actions)} actions; again: {again}", flush=True)
    life = Life(aws, outputs, api, planned)
    with life.running():
        life.live()
        life.come_to_rest()
        found = faults_of(life)
        figures = life.figures()
    path = _JOURNALS / f"seed-{seed}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(life.journal.lines()) + "\n")
    print(f"seed {seed}: {figures}\nfaults: {len(found)}; the journal is in {path}")
    for job in dict.fromkeys(job for _, job in found):
        _explain(life, job, [what for what, about in found if about == job])
    return [what for what, _ in found]


def _explain(life: Life, job: str | None, faults: list[str]) -> None:
    print(f"\n{life.service_name}/{job}" if job else "\nNo single job")
    print(*(f"  FAULT: {what}" for what in faults), sep="\n")
    if job is None:
        return
    records = life.records()
    named = {name for what in faults for name in _EXECUTION_ID.findall(what)}
    for name in sorted(named):
        print(f"  the record: {json.dumps(records.get(name), default=str)}")
    lines = life.journal.lines_about(job, named)
    print(f"  the last {_MOST_LINES} of {len(lines)} facts:", *lines[-_MOST_LINES:], sep="\n  ")
