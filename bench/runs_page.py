"""The page and the plot of what runs cost, compared with other ways to run jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pygal

from bench import plot
from bench.figures import median_units
from bench.prices import MONTHLY_PRICES, PRICES, bills, dollars, services_that_bill
from bench.report import Row, markdown_table, prices_section
from bench.standing import MINUTES_A_MONTH, Standing, without_settings
from bench.units import SAMPLED

ANCESTOR_TRANSITIONS = 11
MAX_RULES_PER_BUS = 300  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
MINUTES_BETWEEN = {"every minute": 1, "every 5 minutes": 5, "hourly": 60, "daily": 1440}
NOTES = (
    "Transitions: the start, each state entered and each retry, from Step Functions' history.",
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


@dataclass(frozen=True)
class Sample:
    """One run: its billed units, those of the tick that started it, and the functions that ran."""

    units: dict[str, float]
    tick_units: dict[str, float]
    index_writes: int
    functions: dict[str, int]


@dataclass(frozen=True)
class Result:
    """All runs of one kind."""

    name: str
    samples: Sequence[Sample]
    is_rare: bool = False

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
    """Another way to run jobs. Its units are derived from the measured run over SNS."""

    name: str
    units: dict[str, float]
    what: str


def alternatives(ours: Result) -> list[Alternative]:
    """The machine of this project's ancestor, Scheduler with functions, and Scheduler with one function."""
    run, tick = ours.units, ours.tick_units
    without_machine = {name: count for name, count in run.items() if name != "transition"}
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
            "EventBridge Scheduler starts each job's run. Functions, records, locks and events are the same,"
            " but there is no state machine. Deadlines, waits and retries become one-time schedules, which"
            " each heartbeat moves; each one that fires is billed too. There is no history in a console.",
        ),
        Alternative(
            "Scheduler, bare",
            {**one_invocation, "sns publish": 1, "scheduler invocation": 1},
            "EventBridge Scheduler invokes a function that publishes the notification. There is no record, no"
            " lock, no deadline and no result.",
        ),
    ]


def page_of(results: Sequence[Result], monthly: Sequence[Standing], rounds: int) -> str:
    """The page: units, dollars, months, alternatives, standing costs, prices."""
    ours = results[0]
    others = alternatives(ours)
    tick = ours.tick_units
    rows_of_units = [_units_row(result.name, result.units, result.samples[-1]) for result in results]
    rows_of_units.append(_units_row("tick, of one job", tick, None))
    costs = [(result.name, result.units) for result in results]
    costs += [("tick, of one job", tick), *((each.name, each.units) for each in others)]
    columns = services_that_bill(units for _, units in costs)
    rows_of_costs: list[Row] = [
        {
            "kind": name,
            "$ per million": round(dollars(units) * _MILLION, 2),
            **{bill: round(bills(units).get(bill, 0.0) * _MILLION, 2) for bill in columns},
        }
        for name, units in costs
    ]
    rows_of_months = [_month_row(result.name, result.units, tick) for result in results if not result.is_rare]
    rows_of_months += [_month_row(each.name, each.units, {}) for each in others]
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
            f"# What a run costs\n\n{rounds} runs of each kind, one at a time, on the local stage.",
            f"## Billed units of one run\n\n{tables[0]}\n\n{notes}",
            "## Dollars of a million runs\n\nThe ticks that start them are not included.\n\n"
            f"{tables[1]}\n\n{explained}",
            "## Dollars of one job a month, by schedule\n\nThe job is alone on its schedule, and its ticks"
            " are included. Jobs that share a schedule share its ticks. A million ticks cost"
            f" ${dollars(tick) * _MILLION:.2f}.\n\n{tables[2]}",
            f"## What a stage costs that stands by\n\n${fixed:.2f} a month by default, and"
            f" ${without_settings(monthly):.2f} without what settings turn off. The metrics are those of runs"
            " that succeed, with a value in every hour. A failure, timeout, skip or retry adds a metric for"
            f" the hours in which there is one.\n\n{tables[3]}",
            prices_section({**PRICES, **MONTHLY_PRICES}),
        )
    )


def sum_of(*several: Mapping[str, float]) -> dict[str, float]:
    """The sum of the units, name by name."""
    total: dict[str, float] = {}
    for units in several:
        for name, count in units.items():
            total[name] = total.get(name, 0) + count
    return total


def _units_row(name: str, units: Mapping[str, float], sample: Sample | None) -> Row:
    return {
        "kind": name,
        "transitions": round(units.get("transition", 0)),
        "Lambda": round(units.get("lambda request", 0)),
        "GB-seconds": round(units.get("lambda GB-second", 0), 4),
        "DynamoDB reads": float(units.get("dynamodb read", 0)),
        "writes": round(units.get("dynamodb write", 0)),
        "of them to indexes": sample.index_writes if sample else 0,
        "SNS": round(units.get("sns publish", 0)),
        "API": round(units.get("api request", 0)),
        "log KB": round(units.get("log GB", 0) * 1e6, 1),
    }


def _month_row(name: str, units: Mapping[str, float], tick: Mapping[str, float]) -> Row:
    each = dollars(units) + dollars(tick)
    return {
        "kind": name,
        **{
            schedule: round(each * MINUTES_A_MONTH / minutes, 4)
            for schedule, minutes in MINUTES_BETWEEN.items()
        },
    }


def csv_row(result: Result) -> Row:
    """The CSV row of a kind of run."""
    return {
        "kind": result.name,
        **{name: result.units.get(name, 0.0) for name in PRICES},
        "dollars per million": round(dollars(result.units) * _MILLION, 4),
        "dollars per million ticks": round(dollars(result.tick_units) * _MILLION, 4),
    }


def plot_of(results: Sequence[Result]) -> pygal.HorizontalStackedBar:
    """Plots the dollars of a million runs, by bill. pygal draws from below, so the rows are reversed."""
    costs = [(result.name, sum_of(result.units, result.tick_units)) for result in results]
    costs += [(each.name, each.units) for each in alternatives(results[0])]
    costs.reverse()
    chart = pygal.HorizontalStackedBar(
        plot.config("Dollars of a million runs, each with its tick", x_labels=[name for name, _ in costs])
    )
    for bill in services_that_bill(units for _, units in costs):
        chart.add(bill, [round(bills(units).get(bill, 0.0) * _MILLION, 2) for _, units in costs])
    return chart
