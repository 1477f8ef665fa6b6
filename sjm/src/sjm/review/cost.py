"""What a job costs a month, as docs/cost.md prices it: successes, without heartbeats or retries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from sjm.review.prices import EXCLUSIVE, RUNS, SCHEDULER, TICKS, Kind, WorkflowType
from sjm.review.timing import Timing, timing_of_job

_DAYS_A_YEAR = 365
_MONTHS_A_YEAR = 12
_MILLION = 1e6


@dataclass(frozen=True)
class Cost:
    """Executions and dollars of an average month. Both are None if the schedule is of no known form."""

    executions: float | None
    dollars: float | None

    def document(self) -> dict[str, float | None]:
        """The figures for programs, rounded."""
        return {
            "executions": None if self.executions is None else round(self.executions, 1),
            "dollars": None if self.dollars is None else round(self.dollars, 4),
        }


NOTHING = Cost(0, 0)


def monthly(job: Mapping[str, Any], today: date, shares_ticks: bool) -> Cost:
    """The cost of a job with a schedule in canonical form, if it runs at every tick.

    Executions of a cron schedule are those of the next 365 days, by month. ``shares_ticks``: other jobs are
    on the same schedule, so its ticks are paid without this one too.
    """
    if not job.get("enabled", True):
        return NOTHING
    if "schedule" not in job:
        return Cost(None, None)  # it runs after others, which may fail
    timing = timing_of_job(job)
    executions = runs_a_month(timing, today)
    if executions is None:
        return Cost(None, None)
    ticks = TICKS if timing.is_plain else TICKS + SCHEDULER
    a_million = dollars_of_a_million_runs(job) + (0 if shares_ticks else ticks)
    return Cost(executions, executions * a_million / _MILLION)


def dollars_of_a_million_runs(job: Mapping[str, Any]) -> float:
    """The price of a million runs of a job, without ticks. Without a type, a job is taken as Standard."""
    workflow_type: WorkflowType = "express" if job.get("workflow_type") == "express" else "standard"
    kind: Kind = "sns" if job.get("invocation_type") == "sns" else "http"
    if job.get("async") is False:
        kind = "sync"
    prices = RUNS[workflow_type]
    lock = EXCLUSIVE[workflow_type] - prices["http"] if job.get("exclusive") else 0
    return prices[kind] + lock


@lru_cache(maxsize=4096)
def runs_a_month(timing: Timing, today: date) -> float | None:
    """How often it fires in an average month of the year to come; None if that is not known."""
    runs = timing.runs_in(today, _DAYS_A_YEAR)
    return None if runs is None else runs / _MONTHS_A_YEAR


def in_dollars(amount: float) -> str:
    """An amount with as many digits as say something: ``$2.85``, ``$0.0020``, ``$1,234``."""
    if amount >= 100:
        return f"${amount:,.0f}"
    if amount >= 0.01 or amount == 0:
        return f"${amount:.2f}"
    return f"${amount:.4f}" if amount >= 0.0001 else "less than $0.0001"
