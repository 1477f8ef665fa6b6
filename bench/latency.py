"""Measures the time from a tick to its notification, for each workflow type, on the local stage.

A round delivers one tick for a job of each type, one after the other, so that a busy machine slows down both.
The time counts from just before the tick's function is invoked until the webhook has arrived. It includes the
emulator and everything else that runs on this machine, so only ratios within one run say something.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import boto3
import pygal

from bench import plot, stage
from bench.figures import percentile
from bench.report import Row, markdown_table, write, write_plot
from bench.route_cases import Call, World
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from local.api_client import ManagerApi
from local.observed_service import ObservedService
from local.sample_service import perform

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ROUNDS = 60
WARM_UP_ROUNDS = 5
PERCENTS = (50, 90, 99)

_TICK = "start_due_executions"
_JOB = "/services/{service_name}/jobs/{job_name}"
_SECONDS_FOR_A_RUN = 60.0


def run() -> str:
    """Measures, writes the results, and returns the page."""
    outputs = stage.outputs()
    service_name = f"bench-{secrets.token_hex(4)}"
    service = ObservedService(service_name, work=perform)
    world = World(ManagerApi.from_environment(outputs["api_url"]), outputs, service, service_name)
    with service:
        try:
            found = _measured(world, types_of(outputs))
        finally:
            world.clear()
    page = page_of(found)
    path = write("latency", page, rows_of(found))
    drawn = write_plot("latency", plot_of(found))
    return f"{page}\nWritten to {path}, {path.with_suffix('.csv').name} and {drawn.name}"


def types_of(outputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The workflow types that the stage has. A version before Express has only one."""
    return ("standard", "express") if "express_state_machine_arn" in outputs else ("standard",)


def _measured(world: World, types: Sequence[str]) -> dict[str, list[float]]:
    """The seconds of each round, by type."""
    schedules = {each: f"cron(0 {number} 3 1 ? 2150)" for number, each in enumerate(types)}
    for each, schedule in schedules.items():
        more = {"workflow_type": each} if len(types) > 1 else {}
        job = world.job(schedule=schedule, test_invocation=False, payload='{"do": "succeed"}', **more)
        world.expect(f"PUT {_JOB}", Call(world.path(each), body=job), 200, 201)
    found: dict[str, list[float]] = {each: [] for each in types}
    lambdas = boto3.client("lambda")  # making a client takes longer than much of what is measured
    at_ms = 0
    for number in range(WARM_UP_ROUNDS + ROUNDS):
        at_ms = max(int(time.time()) * 1000, at_ms + 1000)
        for each, schedule in schedules.items():
            seconds = _seconds_to_notify(world, lambdas, each, schedule, at_ms)
            if number >= WARM_UP_ROUNDS:
                found[each].append(seconds)
    return found


def _seconds_to_notify(
    world: World, lambdas: LambdaClient, job_name: str, schedule: str, at_ms: int
) -> float:
    expected = execution_id(job_guid(world.service_name, job_name), at_ms)
    began = time.time()
    lambdas.invoke(
        FunctionName=world.outputs["function_names"][_TICK],
        Payload=json.dumps({"schedule": schedule, "scheduled_time": iso(at_ms)}),
    )
    world.notification(expected)
    arrived_at = next(
        each.arrived_at
        for each in world.webhook.received
        if each.notification.get("execution_id") == expected
    )
    world.webhook.wait_for(
        lambda service: any(each.notification.get("execution_id") == expected for each in service.callbacks),
        _SECONDS_FOR_A_RUN,
        f"the callback of {expected}",
    )
    return float(arrived_at - began)


def rows_of(found: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row for each type, in milliseconds."""
    return [
        {
            "type": each,
            "rounds": len(seconds),
            **{f"p{percent} ms": round(percentile(seconds, percent) * 1000) for percent in PERCENTS},
        }
        for each, seconds in found.items()
    ]


def page_of(found: Mapping[str, Sequence[float]]) -> str:
    """The page."""
    rows = rows_of(found)
    return (
        "# From the tick to the notification\n\n"
        "By webhook, on warm functions, on the local stage. The jobs of both types take turns.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )


def plot_of(found: Mapping[str, Sequence[float]]) -> pygal.XY:
    """Plots how many percent of the notifications had arrived by when."""
    chart = pygal.XY(
        plot.config("From the tick to the notification, percent that arrived", x_title="milliseconds")
    )
    for each, seconds in found.items():
        chart.add(
            each,
            [(round(percentile(seconds, percent) * 1000), percent) for percent in range(1, 101)],
            show_dots=False,
        )
    return chart
