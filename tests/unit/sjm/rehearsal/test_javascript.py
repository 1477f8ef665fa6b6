"""Receivers in JavaScript are rehearsed as those in Python are."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sjm.rehearsal.playing import play
from sjm.rehearsal.scenes import NAMES
from sjm.rehearsal.verdict import ReportCard
from tests.unit.sjm.rehearsal.receivers import SECRET
from tests.unit.sjm.rehearsal.rehearsals import settings_for

NODE = shutil.which("node")
SAMPLE = Path(__file__).with_name("receiver.mjs")

pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed on this machine")


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The URL of a receiver in a process of its own."""
    assert NODE
    process = subprocess.Popen(
        [NODE, SAMPLE, *arguments],
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


def test_a_good_and_a_faulty_receiver_are_told_apart() -> None:
    def rehearsed(url: str) -> ReportCard:
        return play(settings_for(url), NAMES)

    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        urls = [stack.enter_context(served(*arguments)) for arguments in ([], ["faulty"])]
        good, faulty = pool.map(rehearsed, urls)

    good.assert_passed()
    assert {each.verdict.state for each in good.results} == {"passed"}
    assert {each.scene for each in faulty.failures} == {"altered", "odd-payload", "simultaneous"}
