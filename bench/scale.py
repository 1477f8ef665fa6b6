"""Reckons what a stage of many jobs needs: which limit binds first, what to raise, what it costs.

docs/scale.md has the tables of this page. The figures of a run are those that `make bench ARGS=units` found;
it fails if they have changed. The quotas are AWS's defaults in us-east-1, with the pages that state them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from bench.report import Row, markdown_table, write
from bench.run_cases import WorkflowType
from bench.start_quota import EXPRESS, LARGE_REGIONS, Lambda, Quota

JOBS = (1_000, 100_000, 1_000_000)
TYPES: tuple[WorkflowType, ...] = ("standard", "express")
QUOTAS: Mapping[WorkflowType, Quota] = {"standard": LARGE_REGIONS, "express": EXPRESS}

RUNS_A_MONTH = 730
SHARE_AT_THE_FULL_HOUR = 1 / 3
SHARE_OF_LONG_RUNS = 0.1
HEARTBEATS_OF_A_LONG_RUN = 2

SECONDS_OF_A_FUNCTION = 0.15
"""How long run_execution and receive_callback are assumed to take on AWS."""
CALLS_OF_A_FUNCTION = 2  # run_execution, receive_callback
STARTS_A_SECOND_OF_AN_INVOCATION = 400
JOBS_OF_AN_EXPRESS_PART = 2500
MAX_PARTS: Mapping[WorkflowType, int] = {"standard": 4, "express": 40}
MIN_JOBS_TO_SPLIT = 3000

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
WRITES_OF_A_PARTITION = 1000
READS_OF_A_PARTITION = 3000
WRITES_OF_A_RUN_TO_EACH_INDEX = 2  # by_day, by_service, sweep: added or changed twice
WRITES_OF_A_MOVED_KEY = 2  # the entry is removed and added

LOOK_CPU_SECONDS = 0.0013
"""CPU of a whole core for one look of the sweep: it reads the record and moves sweep_at, without TLS."""
CPU_ON_LAMBDA = 2.0  # as in bench/fan_out.py
SWEEP_SECONDS_A_RUN = 240  # of 300, it leaves 60 for the execution at hand
SHARDS = (1, 4, 12, 64)


@dataclass(frozen=True)
class RunFigures:
    """A success by webhook, and a run longer than a minute with two heartbeats, as measured."""

    dollars_a_million: float
    long_dollars_a_million: float
    write_units: int
    index_write_units: int
    job_write_units: int

    @property
    def record_write_units(self) -> int:
        """The units of the writes to the executions table itself."""
        return self.write_units - self.index_write_units - self.job_write_units

    @property
    def mixed_dollars_a_million(self) -> float:
        """The dollars of a million runs of the mix."""
        short = 1 - SHARE_OF_LONG_RUNS
        return short * self.dollars_a_million + SHARE_OF_LONG_RUNS * self.long_dollars_a_million


RUNS: Mapping[WorkflowType, RunFigures] = {
    "standard": RunFigures(63.5, 71.0, 14, 6, 2),
    "express": RunFigures(13.4, 23.7, 12, 6, 2),
}
MOST_DIFFERENCE = 0.1


@dataclass(frozen=True)
class Load:
    """The full hour of a stage: the jobs that are due at once, and what they need."""

    jobs: int
    workflow_type: WorkflowType

    @property
    def quota(self) -> Quota:
        """The quota of StartExecution, as AWS gives it."""
        return QUOTAS[self.workflow_type]

    @property
    def due(self) -> int:
        """The jobs that are due at the full hour."""
        return round(self.jobs * SHARE_AT_THE_FULL_HOUR)

    @property
    def parts(self) -> int:
        """The invocations among which the tick is split."""
        if self.due < MIN_JOBS_TO_SPLIT:
            return 1
        return min(MAX_PARTS[self.workflow_type], ceil(self.due / JOBS_OF_AN_EXPRESS_PART))

    @property
    def _tick_rate(self) -> float:
        return self.parts * STARTS_A_SECOND_OF_AN_INVOCATION

    @property
    def last_start_seconds(self) -> float:
        """When the last of them starts, with the quota as AWS gives it."""
        return max(self.quota.seconds_for(self.due), self.due / self._tick_rate)

    @property
    def refill_for_a_minute(self) -> float:
        """The refill rate of StartExecution with which all start within a minute."""
        return max(0.0, (self.due - self.quota.burst) / 60)

    @property
    def starts_a_second(self) -> float:
        """The starts a second, where the quota lets all start within a minute."""
        allowed = max(self.quota.rate, self.refill_for_a_minute) if self.due > self.quota.burst else self.due
        return min(self.due, allowed, self._tick_rate)

    @property
    def callbacks_a_second(self) -> float:
        """Results and heartbeats."""
        return self.starts_a_second * (1 + SHARE_OF_LONG_RUNS * HEARTBEATS_OF_A_LONG_RUN)

    @property
    def concurrency(self) -> float:
        """The functions that run at the same time."""
        return self.starts_a_second * CALLS_OF_A_FUNCTION * SECONDS_OF_A_FUNCTION + self.parts

    @property
    def callback_concurrency(self) -> float:
        """The callbacks that are handled at the same time."""
        return self.callbacks_a_second * SECONDS_OF_A_FUNCTION

    @property
    def looks(self) -> float:
        """How many open executions the sweep looks at, a minute after the full hour."""
        return self.due * SHARE_OF_LONG_RUNS if self.workflow_type == "express" else 0.0

    @property
    def table_writes_a_second(self) -> float:
        """The write units of the executions table, without its indexes."""
        return self.starts_a_second * RUNS[self.workflow_type].record_write_units

    @property
    def index_shards(self) -> int:
        """The shards that the indexes by_day and sweep need."""
        return ceil(self.starts_a_second * WRITES_OF_A_RUN_TO_EACH_INDEX / WRITES_OF_A_PARTITION) or 1

    @property
    def dollars_a_month(self) -> float:
        """What its runs cost a month, without the stage that stands by."""
        return self.jobs * RUNS_A_MONTH * RUNS[self.workflow_type].mixed_dollars_a_million / 1e6


@dataclass(frozen=True)
class Limit:
    """A limit of AWS or of the stage: how it is called, its default, and what each load needs."""

    name: str
    service: str
    default: Mapping[WorkflowType, float]
    source: str

    def is_exceeded(self, load: Load, need: float) -> bool:
        """Whether the default is not enough."""
        return need > self.default[load.workflow_type]


def outdated(workflow_type: WorkflowType, dollars_a_million: float, write_units: float) -> str:
    """Describes how the figures of a success have changed since this page was made; "" if they have not."""
    known = RUNS[workflow_type]
    is_near = abs(dollars_a_million - known.dollars_a_million) <= MOST_DIFFERENCE * known.dollars_a_million
    if is_near and write_units == known.write_units:
        return ""
    return (
        f"a success of {workflow_type} costs ${dollars_a_million:.2f} a million and {write_units:g} write"
        f" units, but bench/scale.py has ${known.dollars_a_million:.2f} and {known.write_units}"
    )


def _both(default: float) -> Mapping[WorkflowType, float]:
    return {"standard": default, "express": default}


_LIMITS = (
    Limit(
        "StartExecution throttle token refill rate per second",
        "Step Functions",
        {"standard": LARGE_REGIONS.rate, "express": EXPRESS.rate},
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "SendTaskSuccess throttle token refill rate per second",
        "Step Functions",
        {"standard": 500, "express": float("inf")},
        "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    ),
    Limit(
        "Concurrent executions",
        "Lambda",
        _both(1000),
        "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
    ),
    Limit(
        "Throttle rate",
        "API Gateway",
        _both(10_000),
        "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html",
    ),
    Limit(
        "`api_throttling_rate_limit`",
        "the stage",
        _both(1000),
        "../terraform/variables.tf",
    ),
    Limit(
        "Table-level write throughput limit",
        "DynamoDB",
        _both(40_000),
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html",
    ),
    Limit(
        "write units a second of a new table",
        "DynamoDB",
        _both(4000),
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html",
    ),
    Limit(
        "Messages published per second",
        "SNS",
        _both(30_000),
        "https://docs.aws.amazon.com/general/latest/gr/sns.html",
    ),
    Limit(
        "`index_shards`",
        "the stage",
        _both(4),
        "../terraform/variables.tf",
    ),
    Limit(
        "open executions that a sweep looks at in a minute",
        "the stage",
        _both(0),
        "../terraform/functions_upkeep.tf",
    ),
)
_PUBLISHED_A_RUN = 2  # execution.started, and how it ended; over SNS a third, the notification


def needs(load: Load) -> tuple[float, ...]:
    """What a load needs of each limit, in the order of the limits."""
    is_standard = load.workflow_type == "standard"
    refill = max(
        load.refill_for_a_minute, min(load.starts_a_second, load.quota.rate) if not is_standard else 0
    )
    return (
        refill,
        load.starts_a_second if is_standard else 0.0,
        load.concurrency,
        load.callbacks_a_second,
        load.callbacks_a_second,
        load.table_writes_a_second,
        load.table_writes_a_second,
        load.starts_a_second * _PUBLISHED_A_RUN,
        load.index_shards,
        load.looks,
    )


def looks_a_minute(memory_mb: int) -> float:
    """How many open executions one invocation of the sweep looks at in a minute. Its core is what binds."""
    return 60 * Lambda(memory_mb).cpus / (LOOK_CPU_SECONDS * CPU_ON_LAMBDA)


def limits(sweep_memory_mb: int) -> tuple[Limit, ...]:
    """All limits. The last is that of the sweep, which follows from its memory."""
    sweep = _LIMITS[-1]
    return (
        *_LIMITS[:-1],
        Limit(sweep.name, sweep.service, _both(looks_a_minute(sweep_memory_mb)), sweep.source),
    )


def exceeded(load: Load, known: Sequence[Limit]) -> list[str]:
    """The names of the limits that the load exceeds, the one that is exceeded most first."""
    found = [
        (need / limit.default[load.workflow_type], limit.name)
        for limit, need in zip(known, needs(load), strict=True)
        if limit.is_exceeded(load, need)
    ]
    return [name for _, name in sorted(found, reverse=True)]


def loads() -> list[Load]:
    """All loads of the page: Standard, then Express."""
    return [Load(jobs, each) for each in TYPES for jobs in JOBS]


def full_hour(known: Sequence[Limit]) -> list[Row]:
    """A row for each load: when the last execution starts, and what binds first."""
    return [
        {
            "jobs": f"{load.jobs:,}",
            "type": load.workflow_type,
            "due at once": f"{load.due:,}",
            "last start after": _duration(load.last_start_seconds),
            "binds first": (exceeded(load, known) or ["nothing"])[0],
            "$ a month": f"{load.dollars_a_month:,.0f}",
        }
        for load in loads()
    ]


def what_to_raise(known: Sequence[Limit]) -> list[Row]:
    """A row for each limit: its default, and what each load needs. What exceeds the default is bold."""
    rows: list[Row] = []
    every = loads()
    needed = [needs(load) for load in every]
    for number, limit in enumerate(known):
        row: dict[str, str | float | int] = {
            "limit": limit.name,
            "of": f"[{limit.service}]({limit.source})",
            "default": " · ".join(dict.fromkeys(_count(limit.default[each]) for each in TYPES)),
        }
        for load, need in zip(every, needed, strict=True):
            text = _count(need[number]) if need[number] else "-"
            name = f"{load.workflow_type.capitalize()} {load.jobs:,}"
            row[name] = f"**{text}**" if limit.is_exceeded(load, need[number]) else text
        rows.append(row)
    return rows


def by_shards() -> list[Row]:
    """A row for each number of shards: what the indexes take a second."""
    return [
        {
            "`index_shards`": shards,
            "runs a second": _count(shards * WRITES_OF_A_PARTITION / WRITES_OF_A_RUN_TO_EACH_INDEX),
            "heartbeats a second, before": _count(shards * WRITES_OF_A_PARTITION / WRITES_OF_A_MOVED_KEY),
            "heartbeats a second": "no limit",
            "looks of the sweep a second": _count(shards * WRITES_OF_A_PARTITION / WRITES_OF_A_MOVED_KEY),
        }
        for shards in SHARDS
    ]


def by_memory() -> list[Row]:
    """A row for each memory of the sweep: how many open executions it looks at."""
    return [
        {
            "memory in MB": memory_mb,
            "looks a minute": _count(looks_a_minute(memory_mb)),
            "looks of one invocation": _count(looks_a_minute(memory_mb) * SWEEP_SECONDS_A_RUN / 60),
            "Express jobs at the full hour": _count(looks_a_minute(memory_mb) / SHARE_OF_LONG_RUNS),
        }
        for memory_mb in (256, 512, 1024, 1769)
    ]


def tables(sweep_memory_mb: int = 256) -> dict[str, str]:
    """The tables of docs/scale.md, by their names."""
    known = limits(sweep_memory_mb)
    made: dict[str, Iterable[Row]] = {
        "The full hour": full_hour(known),
        "What to raise": what_to_raise(known),
        "What the indexes take": by_shards(),
        "What the sweep takes": by_memory(),
    }
    return {name: markdown_table(list(rows), list(next(iter(rows)))) for name, rows in made.items()}


def run() -> str:
    """Writes the tables, and returns the page."""
    made = tables()
    page = "\n\n".join(("# Scale", *(f"## {name}\n\n{table}" for name, table in made.items())))
    path = write("scale", page, what_to_raise(limits(256)))
    return f"{page}\n\nWritten to {path} and {path.with_suffix('.csv').name}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 180 else f"{max(seconds, 1):.0f} s"


def _count(number: float) -> str:
    return "no limit" if number == float("inf") else f"{ceil(round(number, 6)):,}"
