"""Measures how fast a tick starts its jobs: 1,000 on the local stage, 100,000 behind AWS's quota.

On the local stage, everything but AWS is real, and the times are this machine's. The simulation of
bench/start_quota.py gives AWS's times: they follow from the quota of StartExecution and from the function's
share of a CPU.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from math import log10
from multiprocessing import get_context
from unittest.mock import patch

import boto3
import pygal

from bench import plot, stage
from bench.report import MissedTarget, Row, markdown_table, write, write_plot
from bench.start_cost import Cost, cost_of_a_start
from bench.start_quota import (
    EXPRESS,
    LARGE_REGIONS,
    OTHER_REGIONS,
    SECONDS_LEFT_AT_HAND_OVER,
    Cpu,
    FanOut,
    Lambda,
    Quota,
    fan_out,
    peak_mb_of_a_part,
)
from local.api_client import ManagerApi
from local.crowd import Crowd, Outcome

ON_THE_STAGE = (10, 100, 1000)
MANY = 100_000
SLOW_START_SECONDS = 0.003
"""A start on a slow machine, without TLS."""


@dataclass(frozen=True)
class Case:
    """A fan-out behind a quota, and the seconds that it may take. ``start_seconds``: not as measured here."""

    quota: Quota
    jobs: int
    at_most_seconds: float | None = None
    start_seconds: float | None = None

    @property
    def limit(self) -> float:
        """The seconds that it may take. Without a target: a tenth more than the quota, and 10 s to begin."""
        return self.at_most_seconds or 1.1 * self.quota.seconds_for(self.jobs) + 10


CASES = (
    Case(LARGE_REGIONS, 1_000, 20),
    Case(LARGE_REGIONS, 10_000),
    Case(OTHER_REGIONS, MANY),
    Case(LARGE_REGIONS, MANY, 345),
    Case(LARGE_REGIONS, MANY, 345, SLOW_START_SECONDS),
    Case(EXPRESS, 1_000, 20),
    Case(EXPRESS, 10_000, 40),
    Case(EXPRESS, MANY, 40),
    Case(EXPRESS, MANY, 40, SLOW_START_SECONDS),
)
MAX_PEAK_MB = 256
_JOBS_OF_A_LARGE_PART = 25_000

type Found = Sequence[tuple[Case, FanOut]]

# Assumes that a start takes twice the CPU on Lambda: TLS comes on top, and the core is shared. This way the
# result is not better than on AWS.
CPU_ON_LAMBDA = 2.0

_SECONDS_FOR_A_CROWD = 400
_SCHEDULE = "cron(7 7 7 7 ? 2177)"


def run() -> str:
    """Measures, writes the results, and returns the page. Raises MissedTarget if there are faults."""
    outputs = stage.outputs()
    function = _function(outputs["function_names"]["start_due_executions"])
    outcomes = [_on_the_stage(outputs, jobs) for jobs in ON_THE_STAGE]
    cost = _in_a_fresh_process(cost_of_a_start)
    peak_mb = _in_a_fresh_process(peak_mb_of_a_part, _JOBS_OF_A_LARGE_PART)
    found = behind_the_quotas(function, cost)
    page = page_of(outcomes, found, function, cost, peak_mb)
    path = write("fan_out", page, [*map(stage_row, outcomes), *(quota_row(*each) for each in found)])
    plots = [
        write_plot("fan_out", starts_over_time(found)),
        write_plot("fan_out_growth", growth(outcomes, found)),
        write_plot("fan_out_seconds", last_starts(found)),
    ]
    names = [str(path), path.with_suffix(".csv").name, *(each.name for each in plots)]
    page = f"{page}\nWritten to {', '.join(names)}"
    if wrong := list(faults(outcomes, found, peak_mb)):
        raise MissedTarget(page, "; ".join(wrong))
    return page


def behind_the_quotas(function: Lambda, cost: Cost) -> Found:
    """Measures all fan-outs behind a quota."""
    found = []
    for case in CASES:
        start = (case.start_seconds or cost.start) * CPU_ON_LAMBDA
        cpu = Cpu(start, cost.page * CPU_ON_LAMBDA)
        result = _in_a_fresh_process(fan_out, case.jobs, case.quota, function, cpu)
        found.append((case, result))
        print(
            f"fan-out of {case.jobs:,} {case.quota.workflow_type} behind the quota of {case.quota.where}:"
            f" {result.last_start_at:.0f} s",
            flush=True,
        )
    return found


def faults(outcomes: Iterable[Outcome], found: Found, peak_mb: float) -> Iterable[str]:
    """Describes what went wrong: jobs not started or started twice, slow ticks, too much memory."""
    for outcome in outcomes:
        if outcome.records_by_status != {"success": outcome.jobs}:
            yield f"{outcome.jobs} executions on the stage should succeed, but: {outcome.records_by_status}"
    for case, each in found:
        if each.lost or each.started_twice:
            yield f"of {each.jobs:,} jobs {each.lost} never started, and {each.started_twice} started twice"
        if each.last_start_at > case.limit:
            yield (
                f"{each.jobs:,} jobs took {each.last_start_at:.0f} s, but should take {case.limit:.0f} s: the"
                f" quota allows {case.quota.seconds_for(each.jobs):.0f} s"
            )
    if peak_mb > MAX_PEAK_MB:
        yield f"an invocation took {peak_mb:.0f} MB, but should take {MAX_PEAK_MB} MB"


def _function(name: str) -> Lambda:
    """The function's memory and time limit on the stage."""
    made = boto3.client("lambda").get_function_configuration(FunctionName=name)
    return Lambda(made["MemorySize"], made["Timeout"])


def _in_a_fresh_process[**P, T](measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs one measurement in a process of its own, so that the peak memory is of this measurement alone."""
    with (
        patch.dict(os.environ, {"POWERTOOLS_LOG_LEVEL": "CRITICAL"}),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(measure, *args, **kwargs).result()


def _on_the_stage(outputs: dict[str, str], jobs: int) -> Outcome:
    api = ManagerApi.from_environment(outputs["api_url"])
    crowd = Crowd(api, outputs, f"bench-{secrets.token_hex(4)}", _SCHEDULE, jobs)
    with crowd.service() as service, crowd.registered(service):
        outcome = crowd.run(service, _SECONDS_FOR_A_CROWD)
    print(f"fan-out of {jobs:,} on the stage: {outcome.last_end_at:.0f} s", flush=True)
    return outcome


def stage_row(outcome: Outcome) -> Row:
    """All figures of one fan-out on the stage."""
    return {
        "where": "local stage",
        "jobs": outcome.jobs,
        "last start s": round(outcome.last_start_at, 1),
        "starts a second": round(outcome.starts_a_second),
        "function s": round(outcome.tick_seconds, 1),
        "last end s": round(outcome.last_end_at, 1),
        "executions a second": round(outcome.jobs / outcome.last_end_at, 1),
        "callbacks repeated": sum(outcome.callbacks_by_answer.values()) - outcome.jobs,
        "emulator peak MB": round(outcome.emulator_peak_mb or 0),
    }


def quota_row(case: Case, each: FanOut) -> Row:
    """All figures of one fan-out behind the quota."""
    return {
        "type": case.quota.workflow_type,
        "where": case.quota.where,
        "jobs": each.jobs,
        "ms of a start": f"{case.start_seconds * 1000:g}" if case.start_seconds else "as here",
        "last start s": round(each.last_start_at, 1),
        "quota's limit s": round(case.quota.seconds_for(each.jobs), 1),
        "invocations": each.invocations,
        "failed": each.failed_invocations,
        "throttled calls": each.throttled,
        "throttled %": round(100 * each.throttled / (each.throttled + each.jobs), 1),
        "function s": round(each.billed_seconds, 1),
        "lost": each.lost,
        "twice": each.started_twice,
    }


def most_jobs_of_a_tick(quota: Quota, function: Lambda) -> int:
    """How many jobs one tick can start before Lambda takes its chain of invocations for a loop."""
    seconds = function.timeout_seconds - SECONDS_LEFT_AT_HAND_OVER
    return int(quota.rate * seconds * (function.longest_chain - 1))  # the first one only splits the tick


def page_of(outcomes: Sequence[Outcome], found: Found, function: Lambda, cost: Cost, peak_mb: float) -> str:
    """The page."""
    real, behind = [*map(stage_row, outcomes)], [quota_row(*each) for each in found]
    on_lambda = cost.start * CPU_ON_LAMBDA / function.cpus
    quotas = dict.fromkeys(case.quota for case, _ in found)
    limits = "\n".join(
        f"- {quota.workflow_type}, {quota.where}: {quota.burst:,} at once, then {quota.rate:,} a second. One"
        f" tick can start about {most_jobs_of_a_tick(quota, function):,} jobs."
        for quota in quotas
    )
    return (
        "# The fan-out of a tick\n\n## On the local stage\n\n"
        "One tick through the real function. Each execution notifies by webhook and ends by a callback. Times"
        " count from the tick. They depend on this machine and on what else it runs.\n\n"
        f"{markdown_table(real, list(real[0])[1:])}\n\n## Behind the quota of StartExecution\n\n"
        "The real function and its real clients run in virtual time, against a stand-in for AWS that enforces"
        f" the quota: {function.memory_mb} MB, at most {function.timeout_seconds:g} s, 30 ms a call. The"
        " parts of a tick run at the same time, each with a share of a core of its own. A start took"
        f" {cost.start * 1000:.2f} ms of a core here, without TLS; by boto3 it took"
        f" {cost.start_by_boto3 * 1000:.2f} ms. A page of 1,000 jobs took {cost.page * 1000:.0f} ms. At"
        f" {CPU_ON_LAMBDA:g} times that and with {function.cpus:.2f} of a core, one invocation could start"
        f" {1 / on_lambda:.0f} a second if there were no quota. An invocation took at most {peak_mb:.0f} MB."
        "\n\n"
        f"{markdown_table(behind, list(behind[0]))}\n\n"
        f"Lambda stops a function that invokes itself in a chain of {function.longest_chain} invocations. The"
        f" rest of the tick then waits in the dead-letter queue:\n\n{limits}\n"
    )


def starts_over_time(found: Found) -> pygal.XY:
    """Plots the largest fan-out of each Standard quota, beside the quota itself."""
    chart = pygal.XY(plot.config("Executions started since the tick", x_title="seconds", show_dots=False))
    largest = {case.quota: each for case, each in found if _is_in_plots(case)}
    for quota, each in largest.items():
        if quota.workflow_type == "express":
            continue  # Express takes seconds, where Standard takes minutes
        points = [(0, 0), *zip(_ends_of_periods(each), accumulate(each.starts_each_10_seconds), strict=False)]
        chart.add(f"{quota.where}: measured", points)
        limit = [(0, quota.burst), (quota.seconds_for(each.jobs), each.jobs)]
        chart.add(f"{quota.where}: quota", limit, stroke_style={"dasharray": "8, 6", "width": 2})
    return chart


def _is_in_plots(case: Case) -> bool:
    return case.start_seconds is None


def _ends_of_periods(each: FanOut) -> list[float]:
    """When each counted period of 10 s ended. The last period ends with the last start."""
    ends = [10.0 * (number + 1) for number in range(len(each.starts_each_10_seconds))]
    return [*ends[:-1], each.last_start_at]


def last_starts(found: Found) -> pygal.HorizontalBar:
    """Plots the seconds to the last start of the largest fan-out of each quota. pygal draws from below."""
    largest = {case.quota: each for case, each in found if _is_in_plots(case)}
    rows = list(reversed(largest.items()))
    jobs = max(each.jobs for _, each in rows)
    labels = [f"{quota.workflow_type.capitalize()}, {quota.where}" for quota, _ in rows]
    title = f"Seconds until {jobs:,} jobs of one schedule have started"
    chart = pygal.HorizontalBar(plot.bars(title, "{:.0f} s", labels))
    chart.add("AWS's quota alone", [quota.seconds_for(each.jobs) for quota, each in rows])
    chart.add("measured", [each.last_start_at for _, each in rows])
    return chart


def growth(outcomes: Sequence[Outcome], found: Found) -> pygal.XY:
    """Plots the seconds to the last start by the number of jobs, on logarithmic scales."""
    chart = pygal.XY(
        plot.config(
            "Seconds from the tick to the last start, by jobs",
            x_title="jobs",
            logarithmic=True,
            xrange=(0.9, 5.1),
            x_labels=[{"value": power, "label": f"{10**power:,}"} for power in range(1, 6)],
            dots_size=5,
        )
    )
    chart.add("local stage", [(log10(each.jobs), each.last_start_at) for each in outcomes])
    for quota in dict.fromkeys(case.quota for case, _ in found):
        results = [each for case, each in found if case.quota == quota and _is_in_plots(case)]
        name = f"{quota.workflow_type}, {quota.where}"
        chart.add(f"{name}: measured", [(log10(each.jobs), each.last_start_at) for each in results])
        limits = [(log10(each.jobs), quota.seconds_for(each.jobs)) for each in results]
        chart.add(f"{name}: quota", [point for point in limits if point[1]], dots_size=8)
    return chart
