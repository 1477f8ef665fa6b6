"""Prices an idle stage for a month: alarms, dashboard, key, and the functions that run without any job."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3

from bench.prices import MONTHLY_PRICES, dollars
from bench.units import invocation_units
from local.segments import SegmentListener, invocations

_TERRAFORM = Path(__file__).resolve().parents[1] / "terraform"
ALARMS_TF = _TERRAFORM / "alarms.tf"
VARIABLES_TF = _TERRAFORM / "variables.tf"
MINUTES_A_MONTH = 730 * 60
UPKEEP = {"reap_executions": "reap_schedule", "reconcile_schedules": "reconcile_schedule"}

_QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Standing:
    """One item of the monthly bill: what it is, how many there are, and what they cost in all."""

    what: str
    count: float
    dollars: float


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
        _monthly("alarm metric", count - 1 + metrics_of_the_summing_alarm()),
        _monthly("dashboard", 1),
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
    return found


def metrics_by_month(metrics: Iterable[tuple[str, ...]]) -> list[Standing]:
    """The price of the stage's metrics and of one service's, if each metric has a value every hour."""
    price = MONTHLY_PRICES["custom metric"]
    of_service = sum(any(part.startswith("service=") for part in metric) for metric in metrics)
    of_stage = sum(len(metric) == 2 and metric[1].startswith("stage=") for metric in metrics)
    return [
        Standing(f"{price.what}, of the stage", of_stage, of_stage * price.dollars),
        Standing(f"{price.what}, of one service", of_service, of_service * price.dollars),
    ]


def _monthly(name: str, count: float) -> Standing:
    price = MONTHLY_PRICES[name]
    return Standing(price.what, count, price.dollars * count)


def metrics_of_the_summing_alarm(terraform: str | None = None) -> int:
    """How many metrics the one alarm on a sum watches, according to terraform/alarms.tf."""
    text = ALARMS_TF.read_text() if terraform is None else terraform
    listed = re.search(r"unattended_functions = \[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    return listed[1].count("function_name")


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
