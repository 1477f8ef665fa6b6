"""What a cold start costs: each function's import and a client, against bare boto3 and a client; and its zip.

Each runs in a fresh process of a Python like Lambda's, from the unpacked zip, with nothing of ours beside it.
CPU time is taken, so that other work on the machine counts little; and every round runs the baseline and all
functions, so that it counts alike for all. On Lambda, loading the zip and starting Python come on top.
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
FUNCTIONS_A_BASELINE = 6

_BASELINE = "import boto3; boto3.client('dynamodb')"
# Handlers make no client before they are invoked; one is added, so that like is compared with like.
_FUNCTION = f"import handler; {_BASELINE}"
_TIMED = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "LAMBDA_TASK_ROOT": "/var/task",  # by which the X-Ray SDK knows where it is
    "PATH": os.defpath,
    "PYTHONDONTWRITEBYTECODE": "1",  # a function's files are read-only
}


@dataclass(frozen=True)
class ColdStart:
    """One function: CPU seconds of each import, those of the baseline meanwhile, and the zip's size."""

    function: str
    seconds: tuple[float, ...]
    baseline: tuple[float, ...]
    zip_bytes: int

    @property
    def ratio(self) -> float:
        """How often the baseline's time its import takes, in the median."""
        return median(self.seconds) / median(self.baseline)

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than it may."""
        return self.ratio > MOST_RATIO


def cold_starts(
    rounds: int = ROUNDS,
    rounds_if_in_doubt: int = ROUNDS_IF_IN_DOUBT,
    functions: Collection[str] | None = None,
) -> list[ColdStart]:
    """Measures every function, or these, the slowest first; one that seems too slow, in further rounds."""
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
    """CPU seconds: of the baseline, taken before every few functions, and of each function."""
    seconds: dict[str, list[float]] = {function: [] for function in functions}
    baseline = []
    for _ in range(rounds):
        for number, (function, directory) in enumerate(functions.items()):
            if number % FUNCTIONS_A_BASELINE == 0:
                baseline.append(_import_seconds(python, _BASELINE, python.parent))
            seconds[function].append(_import_seconds(python, _FUNCTION, directory))
    return baseline, seconds


def _import_seconds(python: Path, statement: str, directory: Path) -> float:
    command = [str(python), "-c", _TIMED.format(statement)]
    done = subprocess.run(
        command, cwd=directory, env=_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{directory.name} could not be imported:\n{done.stderr}")
    return float(done.stdout)


def run() -> str:
    """Measures, writes the results, and answers the page. Raises MissedTarget if an import takes too long."""
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
        f"CPU time of `{_FUNCTION}` in each function, in the median of {len(found[-1].seconds)} rounds, as a"
        f" ratio to `{_BASELINE}` alone, which took {baseline:.0f} ms in the same rounds."
        f" At most {MOST_RATIO} is allowed.\n\n"
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
