"""Rehearses real receivers over HTTP: each fault is found by the scenes that are there for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from sjm.rehearsal.playing import play
from sjm.rehearsal.scenes import NAMES
from sjm.rehearsal.verdict import ReportCard
from tests.unit.sjm.rehearsal.receivers import FAULTY, Receiver
from tests.unit.sjm.rehearsal.rehearsals import settings_for

pytestmark = pytest.mark.xdist_group("rehearsal")

Kind = type[Receiver]


@pytest.fixture(scope="module")
def cards() -> Iterator[dict[Kind, ReportCard]]:
    """The report card of each receiver. They are rehearsed at the same time, because they mostly wait."""
    kinds: list[Kind] = [Receiver, *FAULTY]
    with ExitStack() as stack, ThreadPoolExecutor(len(kinds)) as pool:
        receivers = [stack.enter_context(kind()) for kind in kinds]
        yield dict(
            zip(kinds, pool.map(lambda each: play(settings_for(each.url), NAMES), receivers), strict=True)
        )


def test_the_good_receiver_passes_every_scene(cards: dict[Kind, ReportCard]) -> None:
    card = cards[Receiver]

    card.assert_passed()
    assert {each.verdict.state for each in card.results} == {"passed"}
    assert [each.scene for each in card.results] == [name for name in NAMES if name != "sync-answer"]


@pytest.mark.parametrize("kind", FAULTY)
def test_a_fault_is_found_by_its_scenes_alone(cards: dict[Kind, ReportCard], kind: Kind) -> None:
    card = cards[kind]

    assert {each.scene for each in card.failures} == kind.found_by, "\n".join(
        line for each in card.results for line in each.lines()
    )
    assert all(each.verdict.fixes and each.verdict.seen for each in card.failures)
