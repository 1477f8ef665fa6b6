"""What a tick costs by each kind of trigger, and a month of a job that is alone on its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.figures import sum_of
from bench.prices import FREE_SCHEDULER_INVOCATIONS, dollars
from bench.report import Row, markdown_table
from bench.standing import MINUTES_A_MONTH

if TYPE_CHECKING:
    from bench.runs_page import Result

MINUTES_BETWEEN = {"every minute": 1, "every 5 minutes": 5, "hourly": 60, "daily": 1440}
TRIGGERS: Mapping[str, Mapping[str, float]] = {"rule": {}, "Scheduler": {"scheduler invocation": 1}}
"""The units of each kind of trigger. EventBridge charges nothing for a rule that fires on a schedule."""

_MILLION = 1e6


def ticks_section(results: Sequence[Result]) -> str:
    """The part of the page about ticks: each kind of trigger, and jobs by webhook that have either."""
    tick = results[0].tick_units
    by_trigger = {name: dollars(sum_of(tick, units)) for name, units in TRIGGERS.items()}
    ticks: list[Row] = [
        {"trigger": name, "$ per million ticks": round(each * _MILLION, 2), **dollars_a_month(each)}
        for name, each in by_trigger.items()
    ]
    jobs: list[Row] = [
        {
            "a job by webhook": result.workflow_type.capitalize(),
            "trigger": name,
            **dollars_a_month(dollars(result.units) + each),
        }
        for result in results
        if result.name == "webhook"
        for name, each in by_trigger.items()
    ]
    return (
        "## Dollars of a tick, by trigger\n\nA cron or a rate in UTC has a rule, which costs nothing. A job"
        " with a time zone, an at or bounds has a schedule of EventBridge Scheduler. So do all jobs of a"
        " stage with trigger_type scheduler. A schedule that stands by costs nothing. The first"
        f" {FREE_SCHEDULER_INVOCATIONS:,} invocations of an account in a month are free: those of"
        f" {schedules_within_free_invocations()} schedules that fire each minute. Beyond that:\n\n"
        f"{markdown_table(ticks, list(ticks[0]))}\n\n"
        "One job that is alone on its schedule, a month, with its ticks:\n\n"
        f"{markdown_table(jobs, list(jobs[0]))}"
    )


def schedules_within_free_invocations(minutes_between: int = 1) -> int:
    """How many schedules that fire each so many minutes fit into the free invocations of a month."""
    return FREE_SCHEDULER_INVOCATIONS * minutes_between // MINUTES_A_MONTH


def dollars_a_month(dollars_of_each: float) -> Row:
    """The dollars a month of what costs so much each time, by how often it happens."""
    return {
        schedule: round(dollars_of_each * MINUTES_A_MONTH / minutes, 4)
        for schedule, minutes in MINUTES_BETWEEN.items()
    }
