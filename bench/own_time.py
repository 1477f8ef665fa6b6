"""The handlers' own time: what a warm invocation takes apart from its AWS calls and web requests.

All routes of the API are called, as bench/routes.py does, and what is not behind one is invoked. X-Ray
segments tell the rest: of each function's, the time in which none of its calls was under way. What the SDK
does within a call, such as signing it and reading the answer, counts as the call's.
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
from bench.route_cases import CASES, World, new_world
from local.segments import Invocation, SegmentListener, invocations

ROUNDS = 12
_QUIET_SECONDS = 0.5


class Unseen(Exception):
    """Some functions were not seen at work; the message names them."""


def run() -> str:
    """Lets every function work, writes the results, and answers the page. Raises Unseen."""
    outputs = stage.outputs()
    names: dict[str, str] = outputs["function_names"]
    world = new_world(outputs)
    with SegmentListener() as listener, world.webhook:
        try:
            world.furnish()
            for case in CASES:
                for number in range(ROUNDS):
                    call = case.prepare(world, number)
                    answer = world.request(case.route, call)
                    if answer.status != case.status:
                        raise RuntimeError(f"{case.route} was answered with {answer.status}: {answer.body}")
                    case.keep(world, answer.body)
                print(f"{case.route} {case.variant}".strip(), flush=True)
            for number in range(ROUNDS):
                _invoke_what_has_no_route(world, names, number)
            listener.wait_for_quiet(_QUIET_SECONDS)
        finally:
            world.clear()
        heard = listener.take()
    made = by_function(invocations(heard, names.values()), {name: key for key, name in names.items()})
    if unseen := names.keys() - made.keys():
        raise Unseen(f"not seen at work: {', '.join(sorted(unseen))}")
    rows = rows_of(made)
    page = page_of(rows)
    path = write("own_time", page, rows)
    return f"{page}\nWritten to {path} and {path.with_suffix('.csv').name}"


def _invoke_what_has_no_route(world: World, names: Mapping[str, str], number: int) -> None:
    """The reaper, and both changes of a job that Terraform makes."""
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
    """Each function's invocations, by its name; its first one, which made the clients, is left out.

    ``keys``: the functions' names by those in AWS. A function that was invoked only once is kept as it is.
    """
    found: dict[str, list[Invocation]] = defaultdict(list)
    for invocation in made:
        found[keys[invocation.function_name]].append(invocation)
    return {name: all_of_it[1:] or all_of_it for name, all_of_it in found.items()}


def rows_of(made: Mapping[str, list[Invocation]]) -> list[Row]:
    """A row for each function, the longest own time first; times in milliseconds."""
    rows: list[dict[str, str | float | int]] = []
    for function, all_of_it in made.items():
        own = [invocation.own_seconds * 1000 for invocation in all_of_it]
        rows.append(
            {
                "function": function,
                "invocations": len(all_of_it),
                "own p50 ms": round(percentile(own, 50), 2),
                "own p95 ms": round(percentile(own, 95), 2),
                "in all p50 ms": round(percentile([each.seconds * 1000 for each in all_of_it], 50), 1),
                "calls p50": round(percentile([len(each.calls) for each in all_of_it], 50)),
            }
        )
    return sorted(rows, key=lambda row: -float(row["own p50 ms"]))


def page_of(rows: list[Row]) -> str:
    """The page."""
    return (
        "# The handlers' own time\n\n"
        "Of warm invocations on the local stage, the wall time apart from AWS calls and web requests. On AWS"
        " it depends on the CPU that a function's memory buys.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )
