"""The page and the plot of what runs cost, of both workflow types, compared with other ways to run jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pygal

from bench import plot
from bench.figures import difference, median_units, sum_of
from bench.goals import Goal, goals_section
from bench.prices import MONTHLY_PRICES, PRICES, bills, dollars, services_that_bill
from bench.report import Row, markdown_table, prices_section
from bench.run_cases import FREE_SLOT, WorkflowType
from bench.standing import MINUTES_A_MONTH, Standing, without_settings
from bench.tick_prices import dollars_a_month, ticks_section
from bench.units import SAMPLED

ANCESTOR_TRANSITIONS = 11
MAX_RULES_PER_BUS = 300  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
NOTES = (
    "Transitions: the start, each state entered and each retry, from Step Functions' history.",
    "Express: one request for each machine execution. It lasts as long as run_execution, and 50 ms are"
    " assumed for the machine itself; billed by 100 ms, with 64 MB.",
    "What the sweep does for an Express execution (failed, one retry; timeout; longer than a minute) counts"
    " for the run. The sweep's invocation and its queries are a cost of the stage.",
    "A run that waits, or follows another, is measured with the other run, whose usual cost is subtracted."
    ' So it includes the function that starts it. "One look" has a look of the sweep while it waits.',
    "Writes, from the tables' streams: to tables by the size of the item, to indexes by each entry made,"
    " changed or removed. An index entry whose key changes counts twice.",
    "GB-seconds are measured on this machine against an emulator, so they are rough. Cold starts are left"
    " out.",
    "Logs: the bytes that the functions logged, metrics included, and the 26 that CloudWatch adds to each"
    " line.",
    f"X-Ray records {SAMPLED:.0%} of the traces, one trace a run. Its default rule also records the first of"
    " each second.",
    "Not counted: requests that AWS itself makes with the stage's key, which it caches; the costs of a"
    " topic's subscribers, such as requests to a queue; storage; data transfer out.",
)

_MILLION = 1e6
_TYPES: tuple[WorkflowType, ...] = ("standard", "express")
_IN_TIME = "warn_after_seconds, in time"
_PLOTTED = ("webhook", "2 heartbeats", "sync", "skipped", "failed, one retry")


@dataclass(frozen=True)
class Sample:
    """One run: its billed units, those of the tick that started it, and the functions that ran."""

    units: dict[str, float]
    tick_units: dict[str, float]
    index_writes: int
    functions: dict[str, int]
    record_bytes: int = 0

    def without(self, other: Result) -> Sample:
        """This sample of two runs, without what a run of the other one costs, and with one tick."""
        return replace(
            self,
            units=difference(self.units, other.units),
            tick_units=other.tick_units,
            index_writes=self.index_writes - other.samples[-1].index_writes,
        )


@dataclass(frozen=True)
class Result:
    """All runs of one kind."""

    name: str
    samples: Sequence[Sample]
    is_rare: bool = False
    workflow_type: WorkflowType = "standard"

    @property
    def dollars_a_million(self) -> float:
        """The dollars of a million runs, without their ticks."""
        return dollars(self.units) * _MILLION

    @property
    def units(self) -> dict[str, float]:
        """The median of the billed units of a run."""
        return median_units([sample.units for sample in self.samples])

    @property
    def tick_units(self) -> dict[str, float]:
        """The median of the billed units of the tick, which starts only this run."""
        return median_units([sample.tick_units for sample in self.samples])


@dataclass(frozen=True)
class Alternative:
    """Another way to run jobs. Its units are derived from the measured runs over SNS."""

    name: str
    units: dict[str, float]
    what: str


def alternatives(results: Sequence[Result]) -> list[Alternative]:
    """The machine of this project's ancestor, Scheduler with functions, and Scheduler with one function."""
    standard, express = _of(results, "SNS", "standard"), _of(results, "SNS", "express")
    run, tick = standard.units, standard.tick_units
    without_machine = {
        name: count for name, count in express.units.items() if not name.startswith("express ")
    }
    one_invocation: dict[str, float] = {
        name: tick.get(name, 0.0) for name in ("lambda request", "lambda GB-second", "log GB")
    }
    return [
        Alternative(
            "ancestor's machine",
            {**sum_of(run, tick), "transition": ANCESTOR_TRANSITIONS},
            f"{ANCESTOR_TRANSITIONS} transitions a run, and a rule for each job. Everything else is counted"
            f" as here, which favours it. Rules cost nothing, but a bus has at most {MAX_RULES_PER_BUS}"
            " unless the quota is raised. There, the quota limits the jobs; here, only the distinct"
            " schedules.",
        ),
        Alternative(
            "Scheduler, functions only",
            {**without_machine, "scheduler invocation": 1},
            "EventBridge Scheduler starts each job's run. Functions, records, locks and events are those of"
            " Express, but there is no state machine, whose retries of a failed function are then Lambda's.",
        ),
        Alternative(
            "Scheduler, bare",
            {**one_invocation, "sns publish": 1, "scheduler invocation": 1},
            "EventBridge Scheduler invokes a function that publishes the notification. There is no record, no"
            " lock, no deadline and no result.",
        ),
    ]


def _of(results: Sequence[Result], name: str, workflow_type: WorkflowType) -> Result:
    return next(each for each in results if (each.name, each.workflow_type) == (name, workflow_type))


def page_of(results: Sequence[Result], monthly: Sequence[Standing], rounds: int) -> str:
    """The page: goals, both types side by side, units, dollars, months, alternatives, standing, prices."""
    others = alternatives(results)
    tick = results[0].tick_units
    rows_of_units = [_units_row(result) for result in results]
    rows_of_units.append(_units_row(Result("tick, of one job", [Sample(tick, {}, 0, {})])))
    costs: list[tuple[str, str, Mapping[str, float]]] = [
        (result.name, result.workflow_type, result.units) for result in results
    ]
    costs += [("tick, of one job", "", tick), *((each.name, "", each.units) for each in others)]
    columns = services_that_bill(units for *_, units in costs)
    rows_of_costs: list[Row] = [
        {
            "kind": name,
            "type": workflow_type,
            "$ per million": round(dollars(units) * _MILLION, 2),
            **{bill: round(bills(units).get(bill, 0.0) * _MILLION, 2) for bill in columns},
        }
        for name, workflow_type, units in costs
    ]
    rows_of_months = [
        _month_row(result.name, result.workflow_type, result.units, tick)
        for result in results
        if not result.is_rare
    ]
    rows_of_months += [_month_row(each.name, "", each.units, {}) for each in others]
    rows_of_standing: list[Row] = [
        {
            "what": each.what,
            "a month": each.count,
            "$ a month": round(each.dollars, 2),
            "setting that turns it off": each.setting,
        }
        for each in monthly
    ]
    tables = [
        markdown_table(rows, list(rows[0]))
        for rows in (rows_of_units, rows_of_costs, rows_of_months, rows_of_standing)
    ]
    explained = "\n".join(f"- {each.name}: {each.what}" for each in others)
    notes = "\n".join(f"- {note}" for note in NOTES)
    fixed = sum(each.dollars for each in monthly)
    return "\n\n".join(
        (
            f"# What a run costs\n\n{rounds} runs of each kind and type, one at a time, on the local stage;"
            " one run of those that take a minute.",
            goals_section(goals(results, monthly)),
            "## Dollars of a million runs, by type\n\nThe ticks that start them are not included.\n\n"
            f"{_by_type(results)}",
            f"## Billed units of one run\n\n{tables[0]}\n\n{notes}",
            f"## Dollars of a million runs, by bill\n\n{tables[1]}\n\n{explained}",
            "## Dollars of one job a month, by schedule\n\nThe job is alone on its schedule, and its ticks"
            " are included. Jobs that share a schedule share its ticks. A million ticks cost"
            f" ${dollars(tick) * _MILLION:.2f}.\n\n{tables[2]}",
            ticks_section(results),
            f"## What a stage costs that stands by\n\n${fixed:.2f} a month by default, and"
            f" ${without_settings(monthly):.2f} without what settings turn off. The metrics are those of runs"
            " that succeed, with a value in every hour. A failure, timeout, skip, retry, wait or warning adds"
            f" a metric for the hours in which there is one.\n\n{tables[3]}",
            prices_section({**PRICES, **MONTHLY_PRICES}),
        )
    )


def _by_type(results: Sequence[Result]) -> str:
    rows: list[Row] = []
    for name in dict.fromkeys(each.name for each in results):
        found = {each.workflow_type: each.dollars_a_million for each in results if each.name == name}
        standard, express = found.get("standard", 0.0), found["express"]
        rows.append(
            {
                "kind": name,
                "Standard $": round(standard, 2) or "as webhook",
                "Express $": round(express, 2),
                "Express of Standard": f"{express / standard:.0%}" if standard else "",
            }
        )
    return markdown_table(rows, list(rows[0]))


def goals(results: Sequence[Result], monthly: Sequence[Standing]) -> list[Goal]:
    """The goals of the project, with what was found."""

    def run(name: str, workflow_type: WorkflowType) -> float:
        return _of(results, name, workflow_type).dollars_a_million

    def month(workflow_type: WorkflowType) -> float:
        units = sum_of(_of(results, "webhook", workflow_type).units, results[0].tick_units)
        return dollars(units) * MINUTES_A_MONTH

    def writes(name: str, workflow_type: WorkflowType) -> float:
        return _of(results, name, workflow_type).units["dynamodb write"]

    def beyond(name: str, workflow_type: WorkflowType) -> float:
        return writes(name, workflow_type) - writes("SNS", workflow_type)

    waiting = {"the lock": "exclusive", "a slot": FREE_SLOT}
    of_types = [
        goal
        for each in _TYPES
        for goal in (
            Goal(
                f"{each.capitalize()} with a free slot, beyond SNS", "write units", 5, beyond(FREE_SLOT, each)
            ),
            Goal(
                f"{each.capitalize()} with a warning, in time, beyond SNS",
                "write units",
                0,
                beyond(_IN_TIME, each),
            ),
            *(
                Goal(
                    f"{each.capitalize()} that waits for {what}, of one that does not",
                    "times",
                    2,
                    run(f"waits for {what}", each) / run(other, each),
                )
                for what, other in waiting.items()
            ),
        )
    ]

    million, a_month = "$ a million", "$ a month"
    return [
        Goal("Standard success by webhook", million, 64, run("webhook", "standard")),
        Goal("Standard skip", million, 55, run("skipped", "standard")),
        Goal("Express success by webhook", million, 15, run("webhook", "express")),
        Goal("Express skip", million, 4, run("skipped", "express")),
        Goal("Express with two heartbeats", million, 23, run("2 heartbeats", "express")),
        Goal("Standard success by webhook", "write units", 11, writes("webhook", "standard")),
        Goal("Express success by webhook", "write units", 11, writes("webhook", "express")),
        Goal("a job each minute, Standard", a_month, 2.90, month("standard")),
        Goal("a job each minute, Express", a_month, 0.70, month("express")),
        Goal("a stage that stands by", a_month, 7, sum(each.dollars for each in monthly)),
        Goal("the same, without what settings turn off", a_month, 3, without_settings(monthly)),
        *of_types,
    ]


def _units_row(result: Result) -> Row:
    units, sample = result.units, result.samples[-1]
    return {
        "kind": result.name,
        "type": result.workflow_type,
        "transitions": round(units.get("transition", 0)),
        "Express": round(units.get("express request", 0)),
        "Lambda": round(units.get("lambda request", 0)),
        "GB-seconds": round(units.get("lambda GB-second", 0), 4),
        "DynamoDB reads": float(units.get("dynamodb read", 0)),
        "writes": round(units.get("dynamodb write", 0)),
        "of them to indexes": sample.index_writes,
        "record's bytes": sample.record_bytes,
        "SNS": round(units.get("sns publish", 0)),
        "API": round(units.get("api request", 0)),
        "log KB": round(units.get("log GB", 0) * 1e6, 1),
    }


def _month_row(name: str, workflow_type: str, units: Mapping[str, float], tick: Mapping[str, float]) -> Row:
    each = dollars(units) + dollars(tick)
    return {
        "kind": name,
        "type": workflow_type,
        **dollars_a_month(each),
    }


def csv_row(result: Result) -> Row:
    """The CSV row of a kind of run."""
    return {
        "kind": result.name,
        "type": result.workflow_type,
        **{name: result.units.get(name, 0.0) for name in PRICES},
        "dollars per million": round(dollars(result.units) * _MILLION, 4),
        "dollars per million ticks": round(dollars(result.tick_units) * _MILLION, 4),
    }


def plot_of(results: Sequence[Result]) -> pygal.HorizontalBar:
    """Plots the dollars of a million runs, by type. pygal draws from below, so all is reversed."""
    known = {each.name for each in results}
    names = [name for name in reversed(_PLOTTED) if name in known]
    others = [
        (each.name, round(dollars(each.units) * _MILLION, 1)) for each in reversed(alternatives(results))
    ]
    labels = [*(name for name, _ in others), *names]
    chart = pygal.HorizontalBar(plot.bars("Dollars of a million runs", "${:g}", labels))
    for each in _TYPES:
        costs = [round(_of(results, name, each).dollars_a_million, 1) for name in names]
        chart.add(each.capitalize(), [*(None for _ in others), *costs])
    chart.add("another way", [*(cost for _, cost in others), *(None for _ in names)])
    return chart
