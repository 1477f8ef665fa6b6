"""Measures cold starts: the CPU time to import each function and make a client, and the size of its zip.

The baseline imports only boto3 and makes the same client. Each import runs in a fresh process of a Python
like Lambda's, from the unpacked zip, without the rest of the project. Other work on the machine hardly
affects CPU time. Every round runs the baseline and all functions, so that a slow round slows all of them. On
Lambda, loading the zip and starting Python come on top.
"""

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.report import MissedTarget, Row, markdown_table, write
from local import lambda_python
from tools import package

MOST_RATIO = 1.5
ROUNDS = 5
ROUNDS_IF_IN_DOUBT = 15
FUNCTIONS_PER_BASELINE = 6

_BASELINE = "import boto3; boto3.client('dynamodb')"
# A handler makes no client when it is imported. This one makes the ratio compare equal work.
_FUNCTION = f"import handler; {_BASELINE}"
_TIMED = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "LAMBDA_TASK_ROOT": "/var/task",  # tells the X-Ray SDK that it runs on Lambda
    "PATH": os.defpath,
    "PYTHONDONTWRITEBYTECODE": "1",  # a function's files are read-only
}


@dataclass(frozen=True)
class ColdStart:
    """One function: CPU seconds of each import, of each baseline in the same rounds, and the zip's size."""

    function: str
    seconds: tuple[float, ...]
    baseline: tuple[float, ...]
    zip_bytes: int

    @property
    def ratio(self) -> float:
        """The median time of an import, divided by the median time of the baseline."""
        return median(self.seconds) / median(self.baseline)

    @property
    def is_slow(self) -> bool:
        """Whether the ratio exceeds MOST_RATIO."""
        return self.ratio > MOST_RATIO


def cold_starts(
    rounds: int = ROUNDS,
    rounds_if_in_doubt: int = ROUNDS_IF_IN_DOUBT,
    functions: Collection[str] | None = None,
) -> list[ColdStart]:
    """Measures these functions, or all; the slow ones again in more rounds. Returns the slowest first."""
    zips = {
        built.function: built.path
        for built in package.build_all(
            package.NATIVE,
            functions_directory=package.PROJECT / "functions",
            build_directory=package.PROJECT / "build",
        )
        if functions is None or built.function in functions
    }
    with tempfile.TemporaryDirectory(prefix="cold-starts-") as directory:
        python = lambda_python.make(Path(directory) / "python")
        unpacked = {function: Path(directory) / function for function in zips}
        for function, path in zips.items():
            with zipfile.ZipFile(path) as archive:
                archive.extractall(unpacked[function])

        def measured(functions: Mapping[str, Path], rounds: int) -> list[ColdStart]:
            baseline, seconds = _seconds(python, functions, rounds)
            return [
                ColdStart(function, tuple(seconds[function]), tuple(baseline), zips[function].stat().st_size)
                for function in functions
            ]

        found = {each.function: each for each in measured(unpacked, rounds)}
        if in_doubt := {name: unpacked[name] for name, each in found.items() if each.is_slow}:
            found |= {each.function: each for each in measured(in_doubt, rounds_if_in_doubt)}
    return sorted(found.values(), key=lambda each: -each.ratio)


def _seconds(
    python: Path, functions: Mapping[str, Path], rounds: int
) -> tuple[list[float], dict[str, list[float]]]:
    """CPU seconds of the baseline, which runs before every few functions, and of each function."""
    seconds: dict[str, list[float]] = {function: [] for function in functions}
    baseline = []
    for _ in range(rounds):
        for number, (function, directory) in enumerate(functions.items()):
            if number % FUNCTIONS_PER_BASELINE == 0:
                baseline.append(_import_seconds(python, _BASELINE, python.parent))
            seconds[function].append(_import_seconds(python, _FUNCTION, directory))
    return baseline, seconds


def _import_seconds(python: Path, statement: str, directory: Path) -> float:
    command = [str(python), "-c", _TIMED.format(statement)]
    done = subprocess.run(
        command, cwd=directory, env=_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"importing {directory.name} failed:\n{done.stderr}")
    return float(done.stdout)


def run() -> str:
    """Measures, writes the results, and returns the page. Raises MissedTarget if an import takes too long."""
    found = cold_starts()
    page = page_of(found)
    path = write("cold_starts", page, [row_of(each) for each in found])
    page = f"{page}\nWritten to {path} and {path.with_suffix('.csv').name}"
    if slow := [each.function for each in found if each.is_slow]:
        raise MissedTarget(page, f"imports take more than {MOST_RATIO} times the baseline: {', '.join(slow)}")
    return page


def page_of(found: list[ColdStart]) -> str:
    """The page: a line for each function, the slowest first."""
    rows = [row_of(each) for each in found]
    baseline = median(seconds for each in found for seconds in each.baseline) * 1000
    return (
        "# Cold starts\n\n"
        f"Median CPU time of `{_FUNCTION}` in each function, over {len(found[-1].seconds)} rounds. The ratio"
        f" is to `{_BASELINE}` alone, which took {baseline:.0f} ms in the same rounds."
        f" A ratio above {MOST_RATIO} fails the benchmark.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )


def row_of(each: ColdStart) -> Row:
    """All figures of a function."""
    return {
        "function": each.function,
        "CPU ms": round(median(each.seconds) * 1000),
        "ratio": round(each.ratio, 2),
        "zip KB": round(each.zip_bytes / 1000),
    }
