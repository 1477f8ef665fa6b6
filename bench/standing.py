"""Prices a stage that stands by for a month: alarms, dashboard, key, upkeep, and metrics of usual runs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3

from bench.prices import MONTHLY_PRICES, dollars
from bench.units import invocation_units
from local.segments import SegmentListener, invocations

_TERRAFORM = Path(__file__).resolve().parents[1] / "terraform"
VARIABLES_TF = _TERRAFORM / "variables.tf"
MINUTES_A_MONTH = 730 * 60
# terraform/alarms.tf
ALARMING = {"ManagerFailed", "Late", "Reaped", "Reconciled", "MissedTicks", "MemoryUsed"}
UPKEEP = {"reap_executions": "reap_schedule", "reconcile_schedules": "reconcile_schedule"}

# An estimate. Lambda polls an empty queue too, but AWS does not say how often. Users count five long polls of
# 20 s at a time: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
_POLLS_A_MONTH = 5 * 3 * MINUTES_A_MONTH
_QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Standing:
    """One item of the monthly bill: what it is, how many there are, and what they cost in all.

    ``setting`` is the input of the stage with which you can do without it.
    """

    what: str
    count: float
    dollars: float
    setting: str = ""


def standing(
    outputs: Mapping[str, object], listener: SegmentListener, memory_mb: Mapping[str, int]
) -> list[Standing]:
    """All items of the monthly bill. Invokes each upkeep function once to measure it on this stage."""
    prefix, names = str(outputs["prefix"]), outputs["function_names"]
    assert isinstance(names, dict)
    alarms = (
        boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{prefix}-")
    )
    count = len(alarms.build_full_result()["MetricAlarms"])
    found = [
        _monthly("alarm metric", count),
        _monthly("dashboard", 1, "dashboard"),
        _monthly("key", 1),
    ]
    for function in UPKEEP:
        schedule = default_schedule(function)
        runs = MINUTES_A_MONTH / minutes_of_rate(schedule)
        listener.wait_for_quiet(_QUIET_SECONDS)
        listener.take()
        boto3.client("lambda").invoke(FunctionName=names[function], Payload=b"{}")
        listener.wait_for_quiet(_QUIET_SECONDS)
        [made] = invocations(listener.take(), [names[function]])
        each = dollars(invocation_units(made, memory_mb[names[function]]))
        found.append(Standing(f"{function}, {schedule}", round(runs), each * runs))
    return [*found, polls()]


def polls() -> Standing:
    """The price of Lambda's polls of the queue of spread jobs, without the free tier."""
    price = dollars({"sqs request": _POLLS_A_MONTH})
    return Standing("polls of the queue of spread jobs", _POLLS_A_MONTH, price, "spread")


def metrics_by_month(metrics: Iterable[tuple[str, ...]]) -> Standing:
    """The price of the stage's metrics of usual runs, if each has a value every hour.

    Alarms watch other metrics, which have no values as long as nothing is wrong.
    """
    usual = {metric for metric in metrics if metric[0] not in ALARMING}
    price = MONTHLY_PRICES["custom metric"]
    return Standing(price.what, len(usual), len(usual) * price.dollars, "metrics_by_stage")


def without_settings(monthly: Iterable[Standing]) -> float:
    """The dollars a month of what no setting turns off."""
    return sum(each.dollars for each in monthly if not each.setting)


def _monthly(name: str, count: float, setting: str = "") -> Standing:
    price = MONTHLY_PRICES[name]
    return Standing(price.what, count, price.dollars * count, setting)


def default_schedule(function: str, terraform: str | None = None) -> str:
    """The default schedule of an upkeep function, according to terraform/variables.tf."""
    text = VARIABLES_TF.read_text() if terraform is None else terraform
    found = re.search(rf'variable "{UPKEEP[function]}" {{.*?default += "([^"]+)"', text, re.DOTALL)
    assert found is not None
    return found[1]


def minutes_of_rate(expression: str) -> int:
    """The minutes of a rate: ``rate(5 minutes)`` is 5. Raises ValueError for any other expression."""
    parts = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if parts is None:
        raise ValueError(f"{expression} is not a rate; expected for example rate(5 minutes)")
    return int(parts[1]) * {"minute": 1, "hour": 60, "day": 1440}[parts[2]]
