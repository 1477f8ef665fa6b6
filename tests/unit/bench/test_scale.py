import pytest

from bench import scale
from bench.scale import Load, exceeded, limits, looks_a_minute, needs, outdated, tables
from jobmanager.executions import reap, tick_parts
from tests.unit.terraform.blocks import ROOT

DOCS = ROOT / "docs" / "scale.md"


@pytest.mark.parametrize("name", tables())
def test_the_page_has_the_tables_that_the_benchmark_prints(name: str) -> None:
    assert tables()[name] in DOCS.read_text()


def test_the_quota_of_starting_binds_first_for_many_standard_jobs() -> None:
    known = limits(256)
    assert exceeded(Load(1_000, "standard"), known) == []
    assert exceeded(Load(100_000, "standard"), known)[0].startswith("StartExecution")


def test_express_starts_within_a_minute_what_standard_starts_in_a_quarter_of_an_hour() -> None:
    assert Load(1_000_000, "express").last_start_seconds < 60
    assert Load(1_000_000, "standard").last_start_seconds > 15 * 60


def test_an_index_takes_1000_writes_a_second_in_each_shard() -> None:
    load = Load(1_000_000, "express")
    assert load.starts_a_second == 6000
    assert load.index_shards == 12


def test_standard_jobs_leave_nothing_to_the_sweep() -> None:
    assert needs(Load(1_000_000, "standard"))[-1] == 0


def test_more_memory_lets_the_sweep_look_at_more_executions() -> None:
    assert looks_a_minute(512) == pytest.approx(2 * looks_a_minute(256))
    assert looks_a_minute(4000) == looks_a_minute(1769)  # a thread of Python uses one core


def test_the_page_is_outdated_when_a_run_costs_something_else() -> None:
    known = scale.RUNS["express"]
    assert outdated("express", known.dollars_a_million * 1.05, known.write_units) == ""
    assert "but bench/scale.py has $13.40 and 12" in outdated("express", 20.0, known.write_units)
    assert "13 write units" in outdated("express", known.dollars_a_million, known.write_units + 1)


def test_the_numbers_of_the_code_are_those_of_the_reckoning() -> None:
    assert tick_parts.MIN_JOBS == scale.MIN_JOBS_TO_SPLIT
    assert tick_parts._MIN_JOBS_OF_A_PART == scale.JOBS_OF_AN_EXPRESS_PART
    assert scale.MAX_PARTS == {
        "standard": tick_parts._MAX_STANDARD_PARTS,
        "express": tick_parts._MAX_EXPRESS_PARTS,
    }
    timeout = (ROOT / "terraform" / "functions_upkeep.tf").read_text().split("timeout     = ")[1].split()[0]
    assert int(timeout) - reap._TIME_FOR_ONE_MS / 1000 == scale.SWEEP_SECONDS_A_RUN
