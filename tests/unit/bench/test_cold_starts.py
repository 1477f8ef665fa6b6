import zipfile
from pathlib import Path

import pytest

from bench import cold_starts, report
from bench.cold_starts import ColdStart, page_of, row_of
from bench.report import MissedTarget
from tools.package import Built


def cold_start(function: str, *seconds: float) -> ColdStart:
    return ColdStart(function, seconds, (0.4, 0.2, 0.3), 936_430)


def built(directory: Path, function: str) -> Built:
    path = directory / f"{function}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", "")
    return Built(function, path, changed=True)


def test_the_ratio_compares_medians() -> None:
    assert cold_start("get_job", 0.9, 0.3, 0.36).ratio == pytest.approx(1.2)


@pytest.mark.parametrize(("seconds", "is_slow"), [(0.449, False), (0.451, True)])
def test_an_import_may_take_half_as_long_again_as_the_baseline(seconds: float, is_slow: bool) -> None:
    assert cold_start("get_job", seconds).is_slow is is_slow


def test_a_row_is_in_milliseconds_and_kilobytes() -> None:
    row = row_of(cold_start("get_job", 0.36))
    assert row == {"function": "get_job", "CPU ms": 360, "ratio": 1.2, "zip KB": 936}


def test_the_page_names_the_baseline() -> None:
    page = page_of([cold_start("validate_job", 0.5), cold_start("get_job", 0.36)])
    assert "which took 300 ms" in page
    assert page.index("validate_job") < page.index("get_job")


def test_a_slow_import_is_measured_again_before_it_is_called_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def seconds(
        _python: Path, functions: dict[str, Path], rounds: int
    ) -> tuple[list[float], dict[str, list[float]]]:
        asked.append(list(functions))
        first = len(asked) == 1
        return [0.3] * rounds, {
            name: [0.9 if name == "slow" or (first and name == "unlucky") else 0.3] * rounds
            for name in functions
        }

    zips = [built(tmp_path, name) for name in ("good", "slow", "unlucky")]
    monkeypatch.setattr("tools.package.build_all", lambda *_args, **_named: zips)
    monkeypatch.setattr("local.lambda_python.make", lambda directory: directory)
    monkeypatch.setattr(cold_starts, "_seconds", seconds)
    monkeypatch.setattr(report, "DIRECTORY", tmp_path)

    with pytest.raises(MissedTarget, match=r"more than 1\.5 times the baseline: slow$") as missed:
        cold_starts.run()

    assert asked == [["good", "slow", "unlucky"], ["slow", "unlucky"]]
    assert "| slow " in missed.value.page
    assert "| unlucky " in (tmp_path / "cold_starts.md").read_text()
