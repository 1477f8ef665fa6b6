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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes ``sjm_scene`` once for each scene, with its name."""
    if "sjm_scene" in metafunc.fixturenames:
        from sjm.rehearsal.scenes import NAMES

        metafunc.parametrize("sjm_scene", NAMES)
