"""The review of one job: what differs, when it fires next, beside whom, and at what price."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from sjm.review.cost import NOTHING, Cost, monthly
from sjm.review.difference import FieldChange, difference
from sjm.review.fields import Json, keeping_defaults_of_the_stage, with_defaults
from sjm.review.fire_times import FireTimes
from sjm.review.neighbours import Neighbours, SchedulesInUse
from sjm.review.timing import timing_of_job

Action = Literal["create", "change", "delete", "none"]
# Of the fire times, so many are looked at for the minute that most other jobs share.
_MINUTES = 3


@dataclass(frozen=True)
class Reviewed:
    """A job under review: ``wanted`` is None if it is to be deleted, ``saved`` if there is none yet.

    The timings of both are in canonical form. ``unknown`` names the fields whose values only the change
    itself brings, and ``resets`` those for which the stage's default is wanted.
    """

    key: str
    wanted: Json | None
    saved: Json | None
    unknown: Sequence[str] = ()
    resets: Sequence[str] = ()

    def leaves(self) -> str | None:
        """The key of the schedule that counts the job today."""
        return _schedule_of(self.saved)

    def enters(self) -> str | None:
        """The key of the schedule that counts the job after the change."""
        if self.wanted is None:
            return None
        paused = (self.saved or {}).get("paused")
        return _schedule_of({**self.wanted, **({"paused": paused} if paused else {})})


@dataclass(frozen=True)
class Review:
    """What a change of one job means. What is None is not known; ``notes`` say why."""

    key: str
    action: Action
    changes: Sequence[FieldChange] = ()
    fires: FireTimes | None = None
    neighbours: Neighbours | None = None
    before: Cost | None = None
    after: Cost | None = None
    notes: Sequence[str] = field(default=())

    def document(self) -> dict[str, Any]:
        """The review for programs."""
        document: dict[str, Any] = {"job": self.key, "action": self.action}
        if self.action == "none":
            return document
        document["changes"] = [
            {"field": each.field, "old": each.old, "new": each.new, "reset": each.is_reset}
            for each in self.changes
        ]
        if self.fires is not None:
            document["fire_times"] = self.fires.document()
            document["never_fires"] = self.fires.never_fires
            if self.fires.skipped:
                document["skipped_times"] = [each.isoformat() for each in self.fires.skipped]
        if self.neighbours is not None:
            document["neighbours"] = self.neighbours.document()
        costs = {"before": self.before, "after": self.after}
        document["monthly"] = {
            name: None if cost is None else cost.document() for name, cost in costs.items()
        }
        document["notes"] = list(self.notes)
        return document


def reviews(
    jobs: Sequence[Reviewed],
    fire_times: Callable[[Json], FireTimes | None],
    in_use: SchedulesInUse | None,
    today: date,
) -> list[Review]:
    """Reviews the changes together: jobs that are to share a minute count each other.

    ``fire_times``: of a job whose timing is in canonical form, or None if they cannot be told. ``in_use``:
    the schedules as they are today, without the changes; None if that is not known. It is changed.
    """
    if in_use is not None:
        for job in jobs:
            in_use.move(job.leaves(), job.enters())
    return [_review(job, fire_times, in_use, today) for job in jobs]


def _review(
    job: Reviewed,
    fire_times: Callable[[Json], FireTimes | None],
    in_use: SchedulesInUse | None,
    today: date,
) -> Review:
    before = NOTHING if job.saved is None else _cost(job.saved, in_use, today, is_counted=False)
    if job.wanted is None:
        return Review(job.key, "delete", before=before, after=NOTHING)
    changes = difference(job.wanted, job.saved, job.resets)
    if not changes and job.saved is not None and not job.unknown:
        return Review(job.key, "none")
    action: Action = "create" if job.saved is None else "change"
    wanted = with_defaults(keeping_defaults_of_the_stage(job.wanted, job.saved, job.resets))
    schedule = timing_of_job(wanted).key if "schedule" in wanted else None
    fires = fire_times(wanted) if schedule else None
    return Review(
        key=job.key,
        action=action,
        changes=changes,
        fires=fires,
        neighbours=_busiest(fires, schedule, in_use) if job.enters() else None,
        before=before,
        after=_cost(wanted, in_use, today, is_counted=job.enters() is not None)
        if "schedule" not in job.unknown
        else None,
        notes=[*_notes(job, wanted), *(f"{name} is known only when it is made" for name in job.unknown)],
    )


def _cost(job: Mapping[str, Any], in_use: SchedulesInUse | None, today: date, is_counted: bool) -> Cost:
    """The monthly cost. Without knowledge of the others, the job pays its schedule's ticks alone."""
    if "schedule" not in job:
        return monthly(job, today, shares_ticks=True)
    others = 0 if in_use is None else in_use.jobs_of(timing_of_job(job).key) - (1 if is_counted else 0)
    return monthly(job, today, shares_ticks=others > 0)


def _busiest(
    fires: FireTimes | None, schedule: str | None, in_use: SchedulesInUse | None
) -> Neighbours | None:
    """Of the next fire times, that with the most other jobs. The minutes of a rate are not known."""
    if fires is None or in_use is None or schedule is None or fires.is_counted_from_now:
        return None
    found = [in_use.neighbours(each.at, schedule) for each in fires.times[:_MINUTES]]
    return max(found, key=lambda each: each.jobs, default=None)


def _notes(job: Reviewed, wanted: Json) -> list[str]:
    notes = []
    if not wanted.get("enabled", True):
        notes.append("it is not enabled, so it does not fire")
    paused = (job.saved or {}).get("paused")
    if paused:
        until = f"until {_shown(paused['until'])}" if "until" in paused else "until somebody resumes it"
        notes.append(f"it is paused {until}")
    if "workflow_type" not in wanted and "workflow_type" not in job.unknown:
        notes.append("its workflow_type will be the stage's default; the price is that of Standard")
    return notes


def _shown(until: str) -> str:
    """A time of the API as reviews have theirs."""
    return f"{datetime.fromisoformat(until).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _schedule_of(job: Json | None) -> str | None:
    """The key of the schedule on which a job counts: none if it is disabled, completed or paused for good."""
    if job is None or "schedule" not in job or not job.get("enabled", True) or "completed_at" in job:
        return None
    paused = job.get("paused")
    return None if paused and "until" not in paused else timing_of_job(job).key
