"""How many cases a test tries: `make test` tries a few, `make exhaustive` tries all.

A test that uses this has the marker ``samples``, by which `make exhaustive` finds it. A test with many cases
of its own asks :func:`cases` for their number. Of a parametrized test marked ``samples(n)``, `make test` runs
n cases, and other ones after each commit; ``samples(0)`` leaves a test to `make exhaustive`. Tests that you
name or pick run with all their cases.
"""

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

IS_EXHAUSTIVE = os.environ.get("EXHAUSTIVE") == "1"
DRAWN_BY = "SAMPLES_DRAWN_BY"
"""The environment variable with the text that decides which cases run. All run if it is empty."""


def cases(few: int, many: int) -> int:
    """The number of cases in this run."""
    return many if IS_EXHAUSTIVE else few


def drawn_by(config: pytest.Config) -> str:
    """The commit, by which samples are drawn; empty if all cases of all chosen tests run."""
    return commit(config.rootpath) if runs_all_tests(config) and not IS_EXHAUSTIVE else ""


def runs_all_tests(config: pytest.Config) -> bool:
    """Whether the command line selects all tests."""
    option = config.option
    selected = (option.keyword, option.markexpr, option.lf, option.stepwise, option.collectonly)
    left_out = (option.deselect, option.ignore, option.ignore_glob)
    return config.args_source is config.ArgsSource.TESTPATHS and not any((*selected, *left_out))


def commit(directory: Path) -> str:
    """The commit that is checked out; a fixed text if Git is absent, or does not know the directory."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except OSError:
        return "no commit"
    return done.stdout.strip() or "no commit"


def left_out(items: Iterable[pytest.Item], by: str) -> list[pytest.Item]:
    """The cases that are not drawn, of tests with ``samples(n)``."""
    of_a_test: dict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
    for item in items if by else ():
        marker = item.get_closest_marker("samples")
        if marker and marker.args:
            of_a_test[item.nodeid.partition("[")[0], marker.args[0]].append(item)
    found: list[pytest.Item] = []
    for (_, number), own in of_a_test.items():
        own.sort(key=lambda item: sha256(f"{by} {item.nodeid}".encode()).digest())
        found += own[number:]
    return found
