"""The page and the plot of what runs cost, with other ways to run jobs reckoned beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pygal

from bench import plot
from bench.figures import median_units
from bench.prices import MONTHLY_PRICES, PRICES, bills, bills_in, dollars
from bench.report import Row, markdown_table, prices_section
from bench.standing import MINUTES_A_MONTH, Standing
from bench.units import SAMPLED

TRANSITIONS_OF_THE_ANCESTOR = 11
RULES_OF_A_BUS = 300  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
MINUTES_BETWEEN = {"every minute": 1, "every 5 minutes": 5, "hourly": 60, "daily": 1440}
NOTES = (
    "Transitions: the start, each state entered, each retry, from Step Functions' history.",
    "Writes: to tables by the size of the item, to indexes by each entry made, changed or removed, from the"
    " tables' streams. An index entry whose key changes counts twice.",
    "GB-seconds are this machine's, against an emulator: a rough figure. Cold starts are left out.",
    "Logs: bytes that the functions logged, metrics included, with the 26 that CloudWatch adds to each line.",
    f"One trace a run, of which X-Ray records {SAMPLED:.0%}, its default rule beyond the first one a second.",
    "Not counted: requests that AWS makes by itself with the stage's key, which it caches; what a subscriber"
    " of a topic costs, such as requests to its queue; storage; data transfer out.",
)

_MILLION = 1e6


@dataclass(frozen=True)
class Sample:
    """One run: what is billed for it, and for the tick that started it; what was seen of it."""

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
        """What a run is billed, in the median."""
        return median_units([sample.units for sample in self.samples])

    @property
    def tick_units(self) -> dict[str, float]:
        """What the tick is billed that starts this run alone, in the median."""
        return median_units([sample.tick_units for sample in self.samples])


@dataclass(frozen=True)
class Alternative:
    """Another way to run jobs, reckoned from what the run over SNS was measured to be."""

    name: str
    units: dict[str, float]
    what: str


def alternatives(ours: Result) -> list[Alternative]:
    """The ancestor's machine, and EventBridge Scheduler with functions only."""
    run, tick = ours.units, ours.tick_units
    without_machine = {name: count for name, count in run.items() if name != "transition"}
    invoked = ("lambda request", "lambda GB-second", "log GB")
    bare: dict[str, float] = {name: tick.get(name, 0.0) for name in invoked}
    return [
        Alternative(
            "ancestor's machine",
            {**sum_of(run, tick), "transition": TRANSITIONS_OF_THE_ANCESTOR},
            f"{TRANSITIONS_OF_THE_ANCESTOR} transitions a run, a rule for each job; all else as here, in its"
            f" favour. Rules cost nothing, but a bus has {RULES_OF_A_BUS} unless the quota is raised: so many"
            " jobs in all. Here it limits the different schedules, and not the jobs.",
        ),
        Alternative(
            "Scheduler, functions only",
            {**without_machine, "scheduler invocation": 1},
            "EventBridge Scheduler starts each job's run; the same functions, records, locks and events, but"
            " no state machine. Deadlines, waits and retries would have to be one-time schedules, which each"
            " heartbeat moves; those that fire cost as much again. There would be no history to look at.",
        ),
        Alternative(
            "Scheduler, bare",
            {**bare, "sns publish": 1, "scheduler invocation": 1},
            "EventBridge Scheduler invokes a function that publishes the notification, and that is all: no"
            " record, no lock, no deadline, no result.",
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
    columns = bills_in(units for _, units in costs)
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
        {"what": each.what, "a month": each.count, "$ a month": round(each.dollars, 2)} for each in monthly
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
            f"## Dollars of a million runs\n\nWithout the tick that starts it.\n\n{tables[1]}\n\n{explained}",
            "## Dollars of one job a month, by schedule\n\nOf a job that is alone on its schedule, with its"
            " ticks; jobs that share a schedule share its ticks, of which a million cost"
            f" ${dollars(tick) * _MILLION:.2f}.\n\n{tables[2]}",
            f"## What the stage costs standing still\n\n${fixed:.2f} a month in all, with metrics in every"
            f" hour and one service.\n\n{tables[3]}",
            prices_section({**PRICES, **MONTHLY_PRICES}),
        )
    )


def sum_of(*several: Mapping[str, float]) -> dict[str, float]:
    """All of them together."""
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
    """All figures of a kind of run."""
    return {
        "kind": result.name,
        **{name: result.units.get(name, 0.0) for name in PRICES},
        "dollars per million": round(dollars(result.units) * _MILLION, 4),
        "dollars per million ticks": round(dollars(result.tick_units) * _MILLION, 4),
    }


def plot_of(results: Sequence[Result]) -> pygal.HorizontalStackedBar:
    """Dollars of a million runs, by bill: the largest first, as pygal draws from below."""
    costs = [(result.name, sum_of(result.units, result.tick_units)) for result in results]
    costs += [(each.name, each.units) for each in alternatives(results[0])]
    costs.reverse()
    chart = pygal.HorizontalStackedBar(
        plot.config("Dollars of a million runs, each with its tick", x_labels=[name for name, _ in costs])
    )
    for bill in bills_in(units for _, units in costs):
        chart.add(bill, [round(bills(units).get(bill, 0.0) * _MILLION, 2) for _, units in costs])
    return chart
