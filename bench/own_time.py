"""Measures the handlers' own time: the duration of a warm invocation without its AWS calls and web requests.

The benchmark calls all routes of the API, as bench/routes.py does, and invokes the functions that have no
route. X-Ray segments show when each function's calls were under way; the rest is its own time. What the SDK
does within a call, such as signing it and reading the answer, counts as part of the call.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import boto3

from bench import stage
from bench.figures import percentile
from bench.report import Row, markdown_table, write
from bench.route_cases import CASES, World, new_world, unexpected_answer
from local.segments import Invocation, SegmentListener, invocations

OF_THE_VERSION_BEFORE = {"begin_execution", "notify_service"}
"""Functions that only executions call that started before the stage was updated: the benchmark has none."""

ROUNDS = 12
_QUIET_SECONDS = 0.5


class NotMeasured(Exception):
    """Some functions sent no segments. The message names them."""


def run() -> str:
    """Has every function work, writes the results, and returns the page. Raises NotMeasured."""
    outputs = stage.outputs()
    names: dict[str, str] = outputs["function_names"]
    world = new_world(outputs)
    with SegmentListener() as listener, world.webhook:
        try:
            world.set_up()
            for case in CASES:
                for number in range(ROUNDS):
                    call = case.prepare(world, number)
                    answer = world.request(case.route, call)
                    if answer.status != case.status:
                        raise unexpected_answer(case.route, answer, case.status)
                    case.remember(world, answer.body)
                print(f"{case.route} {case.variant}".strip(), flush=True)
            for number in range(ROUNDS):
                _invoke_functions_without_a_route(world, names, number)
            listener.wait_for_quiet(_QUIET_SECONDS)
        finally:
            world.clear()
        segments = listener.take()
    made = by_function(invocations(segments, names.values()), {name: key for key, name in names.items()})
    if missing := names.keys() - made.keys() - OF_THE_VERSION_BEFORE:
        raise NotMeasured(
            f"no invocation was seen of: {', '.join(sorted(missing))}."
            " Call each in bench/route_cases.py or bench/own_time.py."
        )
    rows = rows_of(made)
    page = page_of(rows)
    path = write("own_time", page, rows)
    return f"{page}\nWritten to {path} and {path.with_suffix('.csv').name}"


def _invoke_functions_without_a_route(world: World, names: Mapping[str, str], number: int) -> None:
    """Invokes the reaper, and has manage_job put and delete a job as Terraform does."""
    job = {"service_name": world.service_name, "job_name": f"as-code-{number:03d}"}
    change = {**job, "updated_by": "bench", "managed_by": "bench"}
    _invoke(names["reap_executions"], {})
    _invoke(names["manage_job"], {**change, "action": "put", "job": world.job("sns")})
    _invoke(names["manage_job"], {**change, "action": "delete"})


def _invoke(function_name: str, event: dict[str, Any]) -> None:
    answer = boto3.client("lambda").invoke(FunctionName=function_name, Payload=json.dumps(event))
    result = answer["Payload"].read()
    if "FunctionError" in answer or b'"problem"' in result:
        raise RuntimeError(f"{function_name} failed: {result.decode()}")


def by_function(made: Iterable[Invocation], keys: Mapping[str, str]) -> dict[str, list[Invocation]]:
    """Each function's invocations, without its first one, which made the clients.

    A function that was invoked only once keeps that invocation. ``keys``: the project's name of each
    function, by its name in AWS.
    """
    found: dict[str, list[Invocation]] = defaultdict(list)
    for invocation in made:
        found[keys[invocation.function_name]].append(invocation)
    return {name: invoked[1:] or invoked for name, invoked in found.items()}


def rows_of(made: Mapping[str, list[Invocation]]) -> list[Row]:
    """A row for each function, the longest own time first. Times are in milliseconds."""
    rows: list[dict[str, str | float | int]] = []
    for function, invoked in made.items():
        own = [invocation.own_seconds * 1000 for invocation in invoked]
        rows.append(
            {
                "function": function,
                "invocations": len(invoked),
                "own p50 ms": round(percentile(own, 50), 2),
                "own p95 ms": round(percentile(own, 95), 2),
                "in all p50 ms": round(percentile([each.seconds * 1000 for each in invoked], 50), 1),
                "calls p50": round(percentile([len(each.calls) for each in invoked], 50)),
            }
        )
    return sorted(rows, key=lambda row: -float(row["own p50 ms"]))


def page_of(rows: list[Row]) -> str:
    """The page."""
    return (
        "# The handlers' own time\n\n"
        "The wall time of warm invocations on the local stage, without AWS calls and web requests. On AWS, it"
        " depends on the CPU share that comes with a function's memory.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )
