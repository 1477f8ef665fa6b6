"""Measures what one run of one job is billed, for each kind of run in bench/run_cases.py, on the local stage.

The benchmark makes real runs, one at a time, and counts: state transitions in Step Functions' history,
functions and their calls in X-Ray segments, writes to tables and indexes in the tables' streams, and bytes in
the logs. Only the durations of functions depend on this machine.

A run that waits, or follows another one, is measured with the other one, whose usual cost is subtracted.

An Express execution is in no history. Each invokes run_execution once, and lasts a little longer. What the
sweep does for an execution counts for its run; the sweep itself is a cost of the stage.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import boto3

from bench import scale, stage
from bench.execution_ends import ExecutionEnds, Item
from bench.figures import sum_of
from bench.gates import Gates
from bench.prices import dollars
from bench.report import MissedTarget, write, write_plot
from bench.route_cases import Call, World
from bench.routes import functions_of_executions
from bench.run_cases import CASES, RunCase
from bench.runs_page import Result, Sample, csv_row, page_of, plot_of
from bench.standing import metrics_by_month, standing
from bench.table_writes import Write, WriteListener, size_of
from bench.units import (
    LOG_BYTES_OF_A_REQUEST,
    SAMPLED,
    express_units,
    invocation_units,
    share_of_a_sweep,
)
from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from local.api_client import ManagerApi
from local.observed_service import ObservedService
from local.segments import Invocation, Segment, SegmentListener, invocations

ROUNDS = 3
WARM_UP_ROUNDS = 1

_RUN_NOW = "POST /services/{service_name}/jobs/{job_name}/executions"
_TICK = "start_due_executions"
_RUN = "run_execution"
_CALLBACK = "receive_callback"
_START_BY_HAND = "start_execution"
_SWEEP = "reap_executions"
_TRANSACTION = "TransactWriteItems"
_STARTS = ("start_waiting_executions", "start_children")
_SECONDS_FOR_A_RUN = 180.0
_QUIET_SECONDS = 0.4
_SECONDS_OF_THE_STEPS = 0.05  # what an Express machine adds to the function that it invokes
_BYTES_OF_A_LOG_EVENT = (
    26  # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
)
_MILLION = 1e6


def transitions(events: Iterable[Mapping[str, Any]]) -> int:
    """The billed state transitions of some machines: each start, each state that is entered, each retry.

    https://aws.amazon.com/step-functions/pricing/
    """
    kinds = Counter(event["type"] for event in events)
    entered = sum(count for kind, count in kinds.items() if kind.endswith("StateEntered"))
    retries = kinds["TaskScheduled"] - kinds["TaskStateEntered"]
    return kinds["ExecutionStarted"] + entered + retries


def write_units(writes: Sequence[Write], calls: float, transactions: Sequence[int] = ()) -> float:
    """The units of all writes to tables.

    ``calls`` has the units of the calls as if no item exceeded 1 KB and each transaction had one item, which
    counts twice. Each further item, and each further KB of an item, counts on top. Raises ValueError if the
    writes do not fit the transactions.
    """
    transacted = [each for each in writes if transactions and each.is_transacted]
    if len(transacted) != sum(transactions):
        raise ValueError(
            f"expected transactions of {transactions} items, got {len(transacted)}: {transacted}"
        )
    further_items = sum(transactions) - len(transactions)
    beyond = sum(each.units - 1 for each in [*writes, *transacted])
    return calls + 2 * further_items + beyond


def metrics_in(log_line: str) -> set[tuple[str, ...]]:
    """The metrics in a log line in EMF, each as its name and the values of its dimensions."""
    if not log_line.startswith('{"_aws"'):
        return set()
    line = json.loads(log_line)
    return {
        (metric["Name"], *(f"{name}={line[name]}" for name in dimensions))
        for directive in line["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


class _Measuring:
    def __init__(self, world: World, gates: Gates, segments: SegmentListener, writes: WriteListener) -> None:
        self._world, self._gates, self._segments, self._writes = world, gates, segments, writes
        self._names: dict[str, str] = world.outputs["function_names"]
        self._key_of = {name: key for key, name in self._names.items()}
        self._memory_mb = stage.memory_mb(self._names.values())
        self._functions_of_runs = functions_of_executions() | {_CALLBACK, _START_BY_HAND, *_STARTS}
        self._results: dict[tuple[str, str], Result] = {}
        self._ends = ExecutionEnds(world.outputs)
        self._last_tick_ms = 0
        self.usual_metrics: set[tuple[str, ...]] = set()

    def __call__(self, case: RunCase, schedule: str) -> Result:
        case.put(self._world, schedule)
        schedule = case.key_of(schedule)
        warm_up, rounds = (0, 1) if case.is_slow else (WARM_UP_ROUNDS, ROUNDS)
        samples = [self._sample(case, schedule) for _ in range(warm_up + rounds)][warm_up:]
        result = Result(case.name, samples, case.is_rare, case.workflow_type)
        self._results[case.name, case.workflow_type] = result
        print(
            f"{case.name}, {case.workflow_type}: ${dollars(result.units) * _MILLION:.2f} a million",
            flush=True,
        )
        return result

    def _sample(self, case: RunCase, schedule: str) -> Sample:
        self._segments.wait_for_quiet(_QUIET_SECONDS)
        self._segments.take()
        self._writes.take()
        began_ms = int(time.time() * 1000)
        history, early_writes = self._run(case, schedule, began_ms)
        segments = self._segments.take_until(self._has_run, _SECONDS_FOR_A_RUN, _RUN)
        self._segments.wait_for_quiet(_QUIET_SECONDS)
        made = invocations([*segments, *self._segments.take()], self._names.values())
        writes = [*early_writes, *self._writes.take()]
        logs, metrics = self._logs(made, began_ms)
        if not case.is_rare:
            self.usual_metrics |= metrics
        schedules_table = self._world.outputs["schedules_table_name"]
        tick = self._made_by(made, {_TICK})
        run = self._made_by(made, self._functions_of_runs)
        run_writes = [each for each in writes if each.table != schedules_table]
        tick_writes = [each for each in writes if each.table == schedules_table]
        index_writes = sum(each.index_units(self._writes.indexes[each.table]) for each in run_writes)
        ticks = 0 if case.is_by_hand else 2 if case.has_to_wait else 1
        if len(tick) != ticks:
            raise RuntimeError(f"{len(tick)} invocations of {_TICK} were seen for {case.name}")
        requests = len(self._made_by(run, {_CALLBACK, _START_BY_HAND}))
        transactions = [call for each in run for call in each.aws_calls if call.operation == _TRANSACTION]
        if len(transactions) != len(case.transactions):
            raise RuntimeError(
                f"{len(transactions)} transactions of {case.name}, expected {case.transactions}"
            )
        of_functions = self._units(run, logs)
        sweeps = [
            share_of_a_sweep(each, self._memory_mb[each.function_name])
            for each in self._made_by(made, {_SWEEP})
        ]
        calls = sum_of(of_functions, *sweeps)
        calls["dynamodb write"] = index_writes + write_units(
            run_writes, calls.get("dynamodb write", 0), case.transactions
        )
        units = sum_of(
            calls,
            self._of_the_machine(case, history, run),
            {
                "api request": requests,
                "log GB": requests * LOG_BYTES_OF_A_REQUEST / 1e9,
                "trace": SAMPLED * max(1, ticks),
            },
        )
        tick_units = self._units(tick, logs)
        if tick:
            tick_units["dynamodb write"] = write_units(tick_writes, tick_units.get("dynamodb write", 0))
        functions = Counter(self._key_of[each.function_name] for each in run)
        record_bytes = max(size_of(each.new) for each in run_writes if "execution_id" in (each.new or {}))
        sample = Sample(units, tick_units, index_writes, dict(functions), record_bytes)
        return sample.without(self._results[case.beside, case.workflow_type]) if case.beside else sample

    def _run(self, case: RunCase, schedule: str, now_ms: int) -> tuple[list[Any], list[Write]]:
        """Has the run take its course. Returns the history of all machines, and what was written so far."""
        if case.is_held:
            self._gates.close(case.job_name)
        names = [self._start(case, schedule, now_ms)]
        seen: list[Write] = []
        if case.has_to_wait:
            self._world.notification(names[0])
            names.append(self._start(case, schedule, now_ms))
            self._until(case, names[1], lambda each: each["status"]["S"] == "waiting")
            if case.course == "is looked at":
                seen = self._look_at(names[1])
        elif case.course == "is warned":
            self._until(case, names[0], lambda each: "warned_at_ms" in each)
        elif case.course == "follows":
            parent = self._until(case, names[0], lambda each: "children" in each)
            names.append(parent["children"]["L"][0]["S"])
        if case.is_held:
            self._gates.open(case.job_name)
        histories = [self._ends.wait(case, name, _SECONDS_FOR_A_RUN) for name in names]
        return [event for history in histories for event in history], seen

    def _until(self, case: RunCase, name: str, condition: Callable[[Item], bool]) -> Item:
        return self._ends.until(case, name, condition, _SECONDS_FOR_A_RUN)

    def _look_at(self, name: str) -> list[Write]:
        """Has the sweep look at a waiting execution. Returns the writes before that."""
        self._segments.wait_for_quiet(_QUIET_SECONDS)
        seen = self._writes.take()
        self._ends.make_due(name)
        self._writes.take()  # the benchmark's own
        self._ends.sweep()
        return seen

    def _start(self, case: RunCase, schedule: str, now_ms: int) -> str:
        """Starts an execution, and returns its execution_id."""
        if case.is_by_hand:
            call = Call(self._world.path(case.job_name), body={})
            return str(self._world.expect(_RUN_NOW, call, 201)["execution_id"])
        at_ms = self._last_tick_ms = max(now_ms // 1000 * 1000, self._last_tick_ms + 1000)
        boto3.client("lambda").invoke(
            FunctionName=self._names[_TICK],
            Payload=json.dumps({"schedule": schedule, "scheduled_time": iso(at_ms)}),
        )
        return execution_id(job_guid(self._world.service_name, case.ticked_job), at_ms)

    def _has_run(self, segments: Iterable[Segment]) -> bool:
        return any(each.name == self._names[_RUN] and each.is_local for each in segments)

    def _made_by(self, made: Iterable[Invocation], functions: Collection[str]) -> list[Invocation]:
        return [each for each in made if self._key_of[each.function_name] in functions]

    def _of_the_machine(
        self, case: RunCase, history: Sequence[Mapping[str, Any]], run: Iterable[Invocation]
    ) -> dict[str, float]:
        if case.workflow_type == "standard":
            return {"transition": transitions(history)}
        machines = self._made_by(run, {_RUN})
        return sum_of(*(express_units(each.seconds + _SECONDS_OF_THE_STEPS) for each in machines))

    def _units(self, made: Sequence[Invocation], logs: Mapping[str, int]) -> dict[str, float]:
        # The job is alone on its schedule, so each Query finds one entry. See write_units for transactions.
        units = sum_of(
            *(
                invocation_units(each, self._memory_mb[each.function_name], transaction_items=1, entries=1)
                for each in made
            )
        )
        units["log GB"] = sum(logs[name] for name in {each.function_name for each in made}) / 1e9
        return units

    def _logs(self, made: Iterable[Invocation], since_ms: int) -> tuple[dict[str, int], set[tuple[str, ...]]]:
        """The bytes that each function has logged since then, and the metrics in these logs."""
        client = boto3.client("logs")
        found: dict[str, int] = {}
        metrics = set[tuple[str, ...]]()
        for name in {each.function_name for each in made}:
            pages = client.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{name}", startTime=since_ms
            )
            messages = [event["message"] for page in pages for event in page["events"]]
            found[name] = sum(len(text.encode()) + _BYTES_OF_A_LOG_EVENT for text in messages)
            metrics |= {metric for text in messages for metric in metrics_in(text)}
        return found, metrics


def run() -> str:
    """Measures every kind of run, writes the results, and returns the page."""
    outputs = stage.outputs()
    service_name = f"bench-{secrets.token_hex(4)}"
    gates = Gates()
    service = ObservedService(service_name, outputs["notifications_topic_arn"], work=gates.work)
    world = World(ManagerApi.from_environment(outputs["api_url"]), outputs, service, service_name)
    tables = [outputs[f"{name}_table_name"] for name in ("jobs", "executions", "schedules", "limits")]
    with SegmentListener() as segments, WriteListener(tables) as writes, service:
        try:
            measure = _Measuring(world, gates, segments, writes)
            results = [measure(case, f"cron({n} 2 2 1 ? 2150)") for n, case in enumerate(CASES)]
            monthly = standing(outputs, segments, stage.memory_mb(outputs["function_names"].values()))
        finally:
            world.clear()
    monthly.append(metrics_by_month(measure.usual_metrics))
    page = page_of(results, monthly, ROUNDS)
    path = write("units", page, [csv_row(result) for result in results])
    drawn = write_plot("units", plot_of(results))
    page = f"{page}\nWritten to {path}, {path.with_suffix('.csv').name} and {drawn.name}"
    successes = [each for each in results if each.name == "webhook"]
    changed = [
        scale.outdated(each.workflow_type, each.dollars_a_million, each.units["dynamodb write"])
        for each in successes
    ]
    if any(changed):
        raise MissedTarget(page, "; ".join(filter(None, changed)))
    return page
