"""Measures what each route of the API costs and how long it takes, on the local stage.

The benchmark calls each case of bench/route_cases.py many times, one call at a time. The wall time is the
caller's: it includes signing, opening a connection and reading the answer. The price follows from the trace
of each call: the functions that ran for it, and the AWS calls that they made. The work that an execution does
after the answer does not count for the route.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import stage
from bench.figures import median_units, percentile
from bench.prices import PRICES, bills, dollars, services_that_bill
from bench.report import Row, markdown_table, prices_section, write
from bench.route_cases import (
    CASES,
    OTHER_JOBS,
    SCHEDULES,
    Case,
    World,
    api_routes,
    new_world,
    unexpected_answer,
)
from bench.units import NOTES, api_request_units
from local.segments import Invocation, Segment, SegmentListener, invocations

ROUNDS = 30
WARM_UP_ROUNDS = 3

_RUN_JOB = Path(__file__).resolve().parents[1] / "statemachine.asl.json"
_SECONDS_FOR_A_SEGMENT = 10.0
_QUIET_SECONDS = 0.25
_MILLION = 1e6


class CoverageMismatch(Exception):
    """A route of the API has no case here, or a case calls a route that the API does not have."""


@dataclass(frozen=True)
class Sample:
    """One call: how long the caller waited, the functions that ran for it, the billed units."""

    seconds: float
    invocations: list[Invocation]
    units: dict[str, float]


@dataclass(frozen=True)
class Result:
    """All calls of one case."""

    case: Case
    samples: list[Sample]

    @property
    def units(self) -> dict[str, float]:
        """The median of the billed units of a call."""
        return median_units([sample.units for sample in self.samples])

    def milliseconds(self, percent: float) -> float:
        """A percentile of the wall time."""
        return percentile([sample.seconds for sample in self.samples], percent) * 1000


def check_coverage(routes: Iterable[str], cases: Iterable[Case]) -> None:
    """Raises CoverageMismatch, which names the routes without a case and the cases without a route."""
    known, called = set(routes), {case.route for case in cases}
    if known != called:
        raise CoverageMismatch(
            f"routes without a case in bench/route_cases.py: {sorted(known - called) or 'none'};"
            f" cases whose route is not in terraform/api.tf: {sorted(called - known) or 'none'}"
        )


def functions_of_executions() -> set[str]:
    """The functions that the state machine calls. They run after the route's answer."""
    return set(re.findall(r"\$\{(\w+)_arn\}", _RUN_JOB.read_text()))


def run() -> str:
    """Measures every case, writes the results, and returns the page. Raises CoverageMismatch."""
    routes = api_routes()
    check_coverage(routes, CASES)
    outputs = stage.outputs()
    names: dict[str, str] = outputs["function_names"]
    world = new_world(outputs)
    with SegmentListener() as listener, world.webhook:
        try:
            print(f"routes: {OTHER_JOBS} jobs on {len(SCHEDULES)} schedules … ", end="", flush=True)
            world.set_up()
            print("made", flush=True)
            measure = _Measuring(world, listener, names, stage.memory_mb(names.values()))
            results = [measure(case, names[routes[case.route]]) for case in CASES]
        finally:
            world.clear()
    page = page_of(results, {name: function for function, name in names.items()})
    path = write("routes", page, [csv_row(result) for result in results])
    return f"{page}\nWritten to {path} and {path.with_suffix('.csv').name}"


class _Measuring:
    def __init__(
        self,
        world: World,
        listener: SegmentListener,
        names: Mapping[str, str],
        memory_mb: Mapping[str, int],
    ) -> None:
        self._world, self._listener, self._memory_mb = world, listener, memory_mb
        self._counted = {name for key, name in names.items() if key not in functions_of_executions()}

    def __call__(self, case: Case, function_name: str) -> Result:
        samples = [self._sample(case, function_name, n) for n in range(WARM_UP_ROUNDS + ROUNDS)]
        result = Result(case, samples[WARM_UP_ROUNDS:])
        title = f"{case.route} {case.variant}".strip()
        print(f"{title}: {result.milliseconds(50):.0f} ms", flush=True)
        return result

    def _sample(self, case: Case, function_name: str, n: int) -> Sample:
        call = case.prepare(self._world, n)
        if case.has_aftermath:
            self._listener.wait_for_quiet(_QUIET_SECONDS)
        self._listener.take()
        began = time.perf_counter()
        answer = self._world.request(case.route, call)
        seconds = time.perf_counter() - began
        if answer.status != case.status:
            raise unexpected_answer(f"{case.route} ({case.variant})", answer, case.status)

        def has_ended(segments: list[Segment]) -> bool:
            return any(segment.name == function_name and segment.is_local for segment in segments)

        segments = self._listener.take_until(has_ended, _SECONDS_FOR_A_SEGMENT, function_name)
        made = invocations(segments, self._counted)
        case.remember(self._world, answer.body)
        items = len(answer.body.get("results", ())) if isinstance(answer.body, dict) else 0
        return Sample(seconds, made, api_request_units(made, self._memory_mb, case.transaction_items, items))


def requests_of(sample: Sample) -> dict[str, int]:
    """How often each AWS call was made, by ``<service> <operation>``, in the order of the first calls."""
    calls = [call for invocation in sample.invocations for call in invocation.aws_calls]
    return dict(Counter(f"{call.service} {call.operation}" for call in calls))


def typical_of(samples: list[Sample]) -> Sample:
    """The first sample that made the most common set of AWS calls."""
    kinds = Counter(tuple(requests_of(sample).items()) for sample in samples)
    commonest = kinds.most_common(1)[0][0]
    return next(sample for sample in samples if tuple(requests_of(sample).items()) == commonest)


def page_of(results: list[Result], functions: Mapping[str, str]) -> str:
    """The page: times and requests, units, dollars, notes, prices.

    ``functions``: the project's name of each function, by its name in AWS.
    """
    times: list[Row] = []
    units: list[Row] = []
    costs: list[Row] = []
    for result in results:
        route = f"`{result.case.route}`" + (f" {result.case.variant}" if result.case.variant else "")
        typical = typical_of(result.samples)
        found = result.units
        invoked = Counter(functions[each.function_name] for each in typical.invocations)
        times.append(
            {
                "route": route,
                "p50 ms": round(result.milliseconds(50)),
                "p95 ms": round(result.milliseconds(95)),
                "functions": _counts(invoked),
                "AWS requests": _counts(requests_of(typical)) or "none",
            }
        )
        units.append(
            {
                "route": route,
                "Lambda": found["lambda request"],
                "GB-seconds": round(found["lambda GB-second"], 4),
                "DynamoDB reads": found.get("dynamodb read", 0.0),
                "writes": found.get("dynamodb write", 0.0),
                "Express": found.get("express request", 0.0),
                "SNS": found.get("sns publish", 0.0),
                "KMS": found.get("kms request", 0.0),
            }
        )
        by_bill = bills(found)
        costs.append(
            {
                "route": route,
                "$ per million": round(dollars(found) * _MILLION, 2),
                **{
                    bill: round(by_bill.get(bill, 0.0) * _MILLION, 2)
                    for bill in services_that_bill(result.units for result in results)
                },
            }
        )
    setting = (
        f"{ROUNDS} calls of each case, after {WARM_UP_ROUNDS} to warm up, one at a time, on the local stage."
        " Each call opens a new connection."
    )
    notes = "\n".join(f"- {note}" for note in (*NOTES, _AFTERWARDS))
    tables = [markdown_table(rows, list(rows[0])) for rows in (times, units, costs)]
    return (
        f"# The API's routes\n\n{setting}\n\n## Time and requests of one call\n\n{tables[0]}\n\n"
        f"## Billed units of one call\n\n{tables[1]}\n\n"
        f"## Dollars of a million calls\n\n{tables[2]}\n\n{notes}\n\n"
        f"{prices_section(PRICES)}"
    )


_AFTERWARDS = (
    "An execution that a call starts or ends continues after the answer. Its functions and transitions are"
    " part of the price of a run, not of the route."
)


def csv_row(result: Result) -> Row:
    """The CSV row of a case."""
    found = result.units
    typical = typical_of(result.samples)
    return {
        "route": result.case.route,
        "variant": result.case.variant,
        "calls": len(result.samples),
        "p50 ms": round(result.milliseconds(50), 1),
        "p95 ms": round(result.milliseconds(95), 1),
        "requests": json.dumps(requests_of(typical)),
        **{name: found.get(name, 0.0) for name in PRICES},
        "dollars per million": round(dollars(found) * _MILLION, 4),
    }


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in counts.items())  # noqa: RUF001
