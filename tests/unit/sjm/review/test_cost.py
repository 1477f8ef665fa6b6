"""Dollars a month, by the figures of docs/cost.md."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bench import prices as bench_prices
from sjm.review import prices
from sjm.review.cost import Cost, dollars_of_a_million_runs, in_dollars, monthly, runs_a_month
from sjm.review.timing import Timing
from tests.unit.sjm.review.test_fields import JOB

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "cost.md").read_text()
TODAY = date(2026, 11, 29)
TICKS = r"A million ticks cost \$(?P<rule>[\d.]+) by a rule, and \$(?P<scheduler>[\d.]+) by"


def figures(row: str) -> list[str]:
    """The cells of a row of the page's tables."""
    found = re.search(rf"^\| {re.escape(row)} \|(.+)\|$", PAGE, re.MULTILINE)
    assert found, row
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize(
    ("row", "job"),
    [
        ("a job by SNS", {"invocation_type": "sns"}),
        ("a job by webhook", {}),
        ("an exclusive job", {"exclusive": True}),
        ('a sync job (`"async": false`)', {"async": False}),
    ],
)
def test_the_figures_are_those_of_the_page(row: str, job: dict[str, Any]) -> None:
    standard, _, express, *_ = map(float, figures(row))

    assert dollars_of_a_million_runs({**JOB, **job, "workflow_type": "standard"}) == pytest.approx(standard)
    assert dollars_of_a_million_runs({**JOB, **job, "workflow_type": "express"}) == pytest.approx(express)


def test_region_date_and_ticks_are_those_of_the_page_and_the_benchmark() -> None:
    ticks = re.search(TICKS, PAGE)

    assert ticks and float(ticks["rule"]) == prices.TICKS
    assert (prices.REGION, prices.AS_OF) == (bench_prices.REGION, bench_prices.AS_OF)


@pytest.mark.parametrize(
    ("row", "schedule"),
    [
        ("every minute", "rate(1 minute)"),
        ("every minute", "cron(* * * * ? *)"),
        ("every 5 minutes", "cron(0/5 * * * ? *)"),
        ("hourly", "rate(1 hour)"),
        ("daily", "cron(0 2 * * ? *)"),
    ],
)
def test_a_month_costs_what_the_page_says(row: str, schedule: str) -> None:
    for workflow_type, figure in zip(("standard", "express"), figures(row), strict=False):
        job = {**JOB, "schedule": schedule, "workflow_type": workflow_type}
        cost = monthly(job, TODAY, shares_ticks=False)

        assert cost.dollars is not None
        assert in_dollars(cost.dollars) == figure


def test_jobs_that_share_a_schedule_do_not_pay_its_ticks_again() -> None:
    alone, shared = (
        monthly({**JOB, "schedule": "rate(1 minute)"}, TODAY, shares) for shares in (False, True)
    )

    assert alone.dollars and shared.dollars
    assert alone.dollars - shared.dollars == pytest.approx(43_800 * prices.TICKS / 1e6)


def test_what_does_not_fire_costs_nothing_and_what_is_not_known_is_none() -> None:
    assert monthly({**JOB, "enabled": False}, TODAY, shares_ticks=False) == Cost(0, 0)
    assert monthly({**JOB, "schedule": "cron(0 0 31 2 ? *)"}, TODAY, shares_ticks=False) == Cost(0, 0)
    assert monthly({**JOB, "schedule": "every night"}, TODAY, False) == Cost(None, None)


def test_a_tick_of_eventbridge_scheduler_costs_more() -> None:
    plain, in_zone = (
        monthly({**JOB, "schedule": "cron(* * * * ? *)", **fields}, TODAY, shares_ticks=False)
        for fields in ({}, {"time_zone": "Europe/Berlin"})
    )
    ticks = re.search(TICKS, PAGE)

    assert plain.dollars and in_zone.dollars
    assert in_zone.dollars - plain.dollars == pytest.approx(43_800 * prices.SCHEDULER / 1e6)
    assert ticks and float(ticks["scheduler"]) - float(ticks["rule"]) == pytest.approx(prices.SCHEDULER)


def test_runs_are_those_of_an_average_month_of_the_next_year() -> None:
    assert runs_a_month(Timing("rate(1 hour)"), TODAY) == 730
    assert runs_a_month(Timing("cron(0 2 1 * ? *)"), TODAY) == 1
    assert runs_a_month(Timing("cron(0 2 24 12 ? 2026)"), TODAY) == pytest.approx(1 / 12)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (2.846, "$2.85"), (0.0019, "$0.0019"), (1234.5, "$1,234"), (1e-9, "less than $0.0001")],
)
def test_dollars_have_the_digits_that_say_something(amount: float, text: str) -> None:
    assert in_dollars(amount) == text
