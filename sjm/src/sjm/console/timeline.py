"""Where things stand in a timeline. The templates draw it as SVG: places are in percent, sizes in pixels."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from sjm.client import Execution, SavedJob
from sjm.console import links, outcomes, words

MAX_LANES = 12
LANE_HEIGHT = 34
AXIS_HEIGHT = 24
CHART_HEIGHT = 120
_DAYS = 3  # yesterday, today and tomorrow
_MIN_BAR_PX = 3
# SVG draws nothing of no width.
_MIN_MARK_PERCENT = 0.05


@dataclass(frozen=True)
class Mark:
    """One execution, or one tick to come. ``kind`` is a status or ``tick``."""

    left: float
    width: float
    kind: str
    label: str
    link: str


@dataclass(frozen=True)
class Lane:
    """A job and its marks."""

    service_name: str
    job_name: str
    top: int
    marks: Sequence[Mark]

    @property
    def kinds(self) -> dict[str, int]:
        """How many marks there are of each kind."""
        return dict(Counter(mark.kind for mark in self.marks))


@dataclass(frozen=True)
class GridLine:
    """A time of the axis; ``is_day`` if it is midnight."""

    left: float
    label: str
    is_day: bool


@dataclass(frozen=True)
class Days:
    """Yesterday, today and tomorrow. ``left_out`` counts jobs for which there was no lane."""

    lanes: Sequence[Lane]
    grid: Sequence[GridLine]
    now: float
    height: int
    left_out: int


@dataclass(frozen=True)
class Bar:
    """One execution in the chart of durations. ``top`` and ``height`` are in pixels."""

    left: float
    width: float
    top: float
    height: float
    kind: str
    label: str
    link: str


@dataclass(frozen=True)
class Chart:
    """Durations of executions, oldest first. ``longest_ms`` is the duration of the highest bar."""

    bars: Sequence[Bar]
    longest_ms: int


@dataclass(frozen=True)
class Tick:
    """A tick to come, of a job."""

    service_name: str
    job_name: str
    at_ms: int


def days(executions: Iterable[Execution], ticks: Iterable[Tick], zone: tzinfo | None, now_ms: int) -> Days:
    """Lays out executions and ticks from the start of yesterday to the end of tomorrow.

    The jobs that failed, run or are due next come first.
    """
    midnights = _midnights(zone, now_ms)
    low, high = midnights[0], midnights[-1]

    def place(ms: float) -> float:
        return round(100 * (min(max(ms, low), high) - low) / (high - low), 3)

    marks: dict[tuple[str, str], list[Mark]] = {}
    rank: dict[tuple[str, str], tuple[int, float]] = {}
    for each in executions:
        ended_ms = each.get("finished_at_ms", now_ms)
        if ended_ms < low or each["started_at_ms"] >= high:
            continue
        key = (each["service_name"], each["job_name"])
        left, right = place(each["started_at_ms"]), place(max(ended_ms, each["started_at_ms"]))
        marks.setdefault(key, []).append(
            Mark(
                left,
                max(_MIN_MARK_PERCENT, round(right - left, 3)),
                each["status"],
                _label(each, zone, now_ms),
                _link(each),
            )
        )
        urgency = 0 if each["status"] in outcomes.FAILED else 1 if each["status"] in outcomes.NOT_ENDED else 2
        rank[key] = min(rank.get(key, (9, 0.0)), (urgency, -float(each["started_at_ms"])))
    for tick in ticks:
        if now_ms <= tick.at_ms < high:
            key = (tick.service_name, tick.job_name)
            label = f"due {words.clock(tick.at_ms, zone, now_ms)}"
            marks.setdefault(key, []).append(
                Mark(place(tick.at_ms), _MIN_MARK_PERCENT, "tick", label, links.job(*key))
            )
            rank[key] = min(rank.get(key, (9, 0.0)), (3, float(tick.at_ms)))
    chosen = sorted(marks, key=lambda key: (rank[key], key))
    lanes = [
        Lane(*key, AXIS_HEIGHT + number * LANE_HEIGHT, marks[key])
        for number, key in enumerate(chosen[:MAX_LANES])
    ]
    return Days(
        lanes,
        _grid(midnights, place, zone),
        place(now_ms),
        AXIS_HEIGHT + max(1, len(lanes)) * LANE_HEIGHT,
        len(chosen) - len(lanes),
    )


def next_ticks(jobs: Iterable[SavedJob], at_ms: int) -> list[Tick]:
    """The ticks of jobs at the same time."""
    return [Tick(job["service_name"], job["job_name"], at_ms) for job in jobs]


def durations(executions: Sequence[Execution], zone: tzinfo | None, now_ms: int) -> Chart:
    """Lays out the durations of executions, which are given newest first. A skip has none."""
    lasted = [(each, _lasted_ms(each, now_ms)) for each in reversed(executions)]
    longest_ms = max((ms for _, ms in lasted), default=0)
    width = 100 / max(len(lasted), 20)
    bars = []
    for number, (each, ms) in enumerate(lasted):
        height = max(_MIN_BAR_PX, round(CHART_HEIGHT * ms / longest_ms, 1) if longest_ms else 0)
        bars.append(
            Bar(
                round(number * width, 3),
                round(width * 0.8, 3),
                round(CHART_HEIGHT - height, 1),
                height,
                each["status"],
                _label(each, zone, now_ms),
                _link(each),
            )
        )
    return Chart(bars, longest_ms)


def _lasted_ms(execution: Execution, now_ms: int) -> int:
    """How long an execution lasted from its notification on; one that was never notified lasted 0."""
    if "duration_ms" in execution:
        return max(0, execution["duration_ms"])
    if execution["status"] == outcomes.RUNNING:
        return max(0, now_ms - execution.get("service_invoked_at_ms", execution["started_at_ms"]))
    return 0


def _midnights(zone: tzinfo | None, now_ms: int) -> list[float]:
    """The starts of yesterday, today, tomorrow and the day after, in milliseconds since 1970."""
    today = words.local(now_ms, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return [(today + timedelta(days=number)).timestamp() * 1000 for number in range(-1, _DAYS)]


def _grid(midnights: Sequence[float], place: Callable[[float], float], zone: tzinfo | None) -> list[GridLine]:
    lines = []
    for start, end, name in zip(
        midnights[:-1], midnights[1:], ("yesterday", "today", "tomorrow"), strict=True
    ):
        lines.append(GridLine(place(start), name, True))
        for quarter in (1, 2, 3):
            ms = start + (end - start) * quarter / 4
            lines.append(GridLine(place(ms), f"{words.local(ms, zone):%H}", False))
    return lines


def _label(execution: Execution, zone: tzinfo | None, now_ms: int) -> str:
    name = f"{execution['service_name']}/{execution['job_name']}"
    parts = [name, execution["status"], words.clock(execution["started_at_ms"], zone, now_ms)]
    if lasted := _lasted_ms(execution, now_ms):
        parts.append(words.duration(lasted))
    return " · ".join(parts)


def _link(execution: Execution) -> str:
    return links.execution(execution["service_name"], execution["job_name"], execution["execution_id"])
