"""`make test` draws some cases of a test marked ``samples(n)``; every commit draws others."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.exhaustive import DRAWN_BY, commit, left_out

TESTS = """
import pytest

@pytest.mark.samples(2)
@pytest.mark.parametrize("number", range(9))
def test_many(number): pass

@pytest.mark.samples(0)
def test_slow(): pass

@pytest.mark.samples
@pytest.mark.parametrize("number", range(3))
def test_that_samples_itself(number): pass

@pytest.mark.parametrize("number", range(3))
def test_whole(number): pass
"""


@pytest.fixture
def collected(pytester: pytest.Pytester) -> list[pytest.Item]:
    return pytester.getitems(TESTS)


def names(items: Iterable[pytest.Item]) -> set[str]:
    return {item.name for item in items}


def kept(items: Sequence[pytest.Item], by: str) -> set[str]:
    return names(items) - names(left_out(items, by))


def test_as_many_cases_are_kept_as_the_marker_says(collected: list[pytest.Item]) -> None:
    found = kept(collected, "a commit")

    assert len([name for name in found if name.startswith("test_many")]) == 2
    assert "test_slow" not in found
    assert {f"test_that_samples_itself[{number}]" for number in range(3)} <= found
    assert {f"test_whole[{number}]" for number in range(3)} <= found


def test_the_same_commit_draws_the_same_cases_and_several_commits_draw_all(
    collected: list[pytest.Item],
) -> None:
    assert kept(collected, "a commit") == kept(collected[::-1], "a commit")
    drawn = set[str]().union(*(kept(collected, f"commit {number}") for number in range(60)))
    assert drawn == names(collected) - {"test_slow"}


def test_without_a_draw_all_cases_run(collected: list[pytest.Item]) -> None:
    assert left_out(collected, "") == []


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ([], 2 + 3 + 3),
        (["test_of_samples.py"], 9 + 1 + 3 + 3),
        (["-k", "many"], 9),
        (["-m", "samples"], 9 + 1 + 3),
    ],
)
def test_tests_that_one_names_or_picks_run_with_all_their_cases(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str], passed: int
) -> None:
    monkeypatch.delenv(DRAWN_BY)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\ntestpaths = ['.']\nmarkers = ['samples', 'slow']")
    pytester.makepyfile(test_of_samples=TESTS)
    pytester.runpytest_subprocess("-p", "no:xdist", *arguments).assert_outcomes(
        passed=passed, deselected=16 - passed
    )


def test_a_directory_without_a_commit_draws_too(tmp_path: Path) -> None:
    assert commit(tmp_path) == "no commit"
    assert len(commit(Path(__file__).parent)) >= len("no commit")
