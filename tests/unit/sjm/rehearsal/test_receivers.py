"""Rehearses real receivers over HTTP: each fault is found by the scenes that are there for it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from local.sample_service import SampleService
from sjm.rehearsal.playing import play
from sjm.rehearsal.scenes import NAMES
from sjm.rehearsal.settings import Settings
from sjm.rehearsal.verdict import ReportCard
from tests.unit.sjm.rehearsal.receivers import FAULTY, SECRET, Receiver
from tests.unit.sjm.rehearsal.rehearsals import patient_waits, settings_for

NODE = shutil.which("node")
# One needs a sync job, the other one with a lock.
OF_OTHER_JOBS = ("sync-answer", "replaced")
IN_JAVASCRIPT = Path(__file__).with_name("receiver.mjs")

pytestmark = [pytest.mark.xdist_group("rehearsal"), pytest.mark.slow(0.5)]
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed on this machine")


@pytest.fixture(scope="module")
def cards() -> Iterator[dict[str, ReportCard]]:
    """The report cards of all receivers. They are rehearsed at the same time, because they mostly wait."""
    waits = patient_waits()
    seconds = 1.4 * waits.heartbeat_seconds
    of_sample = json.dumps({"do": "succeed", "seconds": seconds, "heartbeats": 3})
    with ExitStack() as stack:
        settings: dict[str, Settings] = {}
        kinds: list[type[Receiver]] = [Receiver, *FAULTY]
        for kind in kinds:
            settings[kind.__name__] = settings_for(stack.enter_context(kind()).url, waits)
        for name in ("good", "faulty") if NODE else ():
            settings[f"{name} in JavaScript"] = settings_for(stack.enter_context(in_javascript(name)), waits)
        sample = stack.enter_context(sample_service())
        settings["sample service"] = settings_for(sample, waits, long_payload=of_sample)
        settings["sample service, sync"] = settings_for(sample, waits, is_async=False)
        with ThreadPoolExecutor(len(settings)) as pool:
            played = list(pool.map(lambda each: play(each, NAMES), settings.values()))
        yield dict(zip(settings, played, strict=True))


@contextmanager
def in_javascript(name: str) -> Iterator[str]:
    """The URL of a receiver in a process of its own."""
    assert NODE
    process = subprocess.Popen(
        [NODE, IN_JAVASCRIPT, name],
        env={**os.environ, "WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def sample_service() -> Iterator[str]:
    """The URL of the service that docs/ shows."""
    service = SampleService("billing")
    service.trust_only(SECRET)
    with service:
        yield service.webhook_url("nightly")


def lines(card: ReportCard) -> str:
    return "\n".join(line for each in card.results for line in each.lines())


@pytest.mark.parametrize(
    "name", ["Receiver", "sample service", pytest.param("good in JavaScript", marks=needs_node)]
)
def test_a_good_receiver_passes_every_scene(cards: dict[str, ReportCard], name: str) -> None:
    card = cards[name]

    assert {each.verdict.state for each in card.results} == {"passed"}, lines(card)
    assert [each.scene for each in card.results] == [name for name in NAMES if name not in OF_OTHER_JOBS]


def test_a_good_receiver_of_a_sync_job_passes(cards: dict[str, ReportCard]) -> None:
    card = cards["sample service, sync"]

    assert {each.verdict.state for each in card.results} == {"passed"}, lines(card)
    assert {"sync-answer", "stale", "test"} <= {each.scene for each in card.results}


@pytest.mark.parametrize("kind", FAULTY)
def test_a_fault_is_found_by_its_scenes_alone(cards: dict[str, ReportCard], kind: type[Receiver]) -> None:
    card = cards[kind.__name__]

    assert {each.scene for each in card.failures} == kind.found_by, lines(card)
    assert all(each.verdict.fixes and each.verdict.seen for each in card.failures)


@needs_node
def test_a_faulty_receiver_in_javascript_is_found(cards: dict[str, ReportCard]) -> None:
    card = cards["faulty in JavaScript"]

    assert {each.scene for each in card.failures} == {"rotated", "simultaneous"}, lines(card)
