"""The pytest plugin ``sjm_rehearsal``. It imports the rehearsal only if a test asks for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sjm.rehearsal.verdict import ReportCard


@pytest.fixture(scope="session")
def sjm_rehearsal() -> "Callable[..., ReportCard]":
    """Rehearses the receiver at a URL: ``sjm_rehearsal(url, secret=…).assert_passed()``.

    Takes the arguments of ``sjm.rehearsal.rehearse``. docs/rehearse.md lists the scenes.
    """
    from sjm.rehearsal import rehearse

    return rehearse


class SceneOfCard:
    """One scene: call it with a report card to fail, or to skip, the test as the scene did."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, card: "ReportCard") -> None:
        """Fails the test if the scene failed, and skips it if the scene was not tried."""
        __tracebackhide__ = True
        result = next((each for each in card.results if each.scene == self.name), None)
        if result is None:
            pytest.skip("it is not for this job, or was left out")
        if result.verdict.state == "not tried":
            pytest.skip(" ".join((result.verdict.seen, *result.verdict.fixes)))
        result.assert_passed()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes ``sjm_scene`` once for each scene: ``sjm_scene(card)``."""
    if "sjm_scene" in metafunc.fixturenames:
        from sjm.rehearsal.scenes import NAMES

        metafunc.parametrize("sjm_scene", [SceneOfCard(name) for name in NAMES], ids=NAMES)
