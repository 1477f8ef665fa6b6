"""Makes the jobs of a stage those of a file: a review of all, then one request for each that changes.

A change of a single job has the same review.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sjm.client.errors import BadRequest, Forbidden, ManagerError, NotFound, PreconditionFailed
from sjm.review.after import parents_of
from sjm.review.difference import difference
from sjm.review.fields import Json, keeping_defaults_of_the_stage
from sjm.review.fire_times import COUNT, FireTimes, fire_times
from sjm.review.neighbours import SchedulesInUse
from sjm.review.review import Review, Reviewed, reviews
from sjm.review.timing import UTC_NAME, Timing, canonical_bounds, timing_of_job

if TYPE_CHECKING:
    from sjm.client import Manager
    from sjm.client.types import Job
    from sjm.review.jobs_file import FileError, FileJob

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 8
_CHANGES_AT_ONCE = 4
_PAGE = 100


@dataclass(frozen=True)
class Change:
    """A job and its review. ``wanted`` is None if it is to be deleted.

    ``refusal`` says why the change will not be made: the job is defined as code elsewhere.
    """

    service_name: str
    job_name: str
    wanted: Json | None
    saved: Json | None
    review: Review
    refusal: str | None = None


@dataclass(frozen=True)
class Plan:
    """What an apply would do. With ``errors`` it must not be done. ``unknown``: what was not looked at."""

    changes: Sequence[Change] = ()
    errors: Sequence["FileError"] = ()
    unknown: Sequence[str] = ()

    @property
    def puts(self) -> list[Change]:
        """The jobs to create or to change."""
        return [each for each in self.changes if each.review.action in ("create", "change")]

    @property
    def deletions(self) -> list[Change]:
        """The jobs to delete."""
        return [each for each in self.changes if each.review.action == "delete"]


@dataclass(frozen=True)
class Result:
    """How one change went. ``error`` is a sentence if it failed; ``warnings`` are the API's."""

    change: Change
    error: str | None = None
    warnings: Sequence[str] = field(default=())


def plan(manager: "Manager", jobs: Sequence["FileJob"], prune: bool = False) -> Plan:
    """Reviews the jobs of a file. Changes nothing.

    Args:
        manager: The client of the stage.
        jobs: What the stage should have, each job once.
        prune: Whether to delete the other jobs of the services that the file names.

    Raises ManagerError if the API does not answer, or does not let the caller read these jobs.
    """
    previews, wrong, unknown = _previews(manager, [_asked(job.job) for job in jobs])
    if wrong:
        return Plan(errors=_errors(jobs, wrong))
    saved = dict(zip(_keys(jobs), _mapped(lambda job: _saved(manager, job), jobs), strict=True))
    wanted = {job.key: _canonical(job.job, previews) for job in jobs}
    reviewed = [Reviewed(job.key, wanted[job.key], saved[job.key]) for job in jobs]
    names = [(job.service_name, job.job_name) for job in jobs]
    if prune:
        for other in _others(manager, jobs):
            reviewed.append(Reviewed(f"{other['service_name']}/{other['job_name']}", None, other))
            names.append((other["service_name"], other["job_name"]))
    in_use = None
    if any(each.wanted is None or difference(each.wanted, each.saved) for each in reviewed):
        in_use, missing = _schedules_in_use(manager)
        unknown += missing
    by_timing = {
        timing_of_job(wanted[job.key]): previews[asked]
        for job in jobs
        if (asked := _asked(job.job)) in previews
    }
    found = reviews(reviewed, lambda job: by_timing.get(timing_of_job(job)), in_use, datetime.now(UTC).date())
    changes = [
        Change(service_name, job_name, each.wanted, each.saved, review, _refusal(each, review))
        for (service_name, job_name), each, review in zip(names, reviewed, found, strict=True)
    ]
    return Plan(changes, unknown=unknown)


def review_one(
    manager: "Manager", key: str, wanted: Json, saved: Json | None, resets: Sequence[str] = ()
) -> tuple[Review, list[str]]:
    """Reviews the change of one job, and says what was not looked at. Changes nothing.

    Args:
        manager: The client of the stage.
        key: The job's name, ``service/job``.
        wanted: The whole job, as a PUT would send it.
        saved: The job as the API has it; None if it is new.
        resets: The fields for which the stage's default is wanted.

    Raises BadRequest if the schedule is wrong, and another ManagerError if the API does not answer.
    """
    asked = _asked(wanted)
    previews, wrong, unknown = _previews(manager, [asked])
    if asked in wrong:
        raise wrong[asked]
    job = Reviewed(key, _canonical(wanted, previews), saved, resets=resets)
    in_use = None
    if saved is None or difference(job.wanted or {}, saved, resets):
        in_use, missing = _schedules_in_use(manager)
        unknown += missing
    [review] = reviews([job], lambda _: previews.get(asked), in_use, datetime.now(UTC).date())
    # What the user has named goes back to its default by the user's will, and not for lack of a line.
    return replace(review, changes=[replace(each, is_reset=False) for each in review.changes]), unknown


def made(manager: "Manager", changes: Sequence[Change]) -> Iterator[Result]:
    """Makes the changes, and tells how each went. One that fails does not stop the others.

    They are made in their order, except that a job is put after the jobs after which it runs, and deleted
    before them. A job that somebody else has changed since its review is not overwritten: its version has to
    be the same.
    """
    for wave in _waves(changes):
        yield from _mapped(lambda change: _made(manager, change), wave, _CHANGES_AT_ONCE)


def _waves(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Groups the changes so that a job comes after those that must be there, or gone, before it is changed.

    Of a circle, all are in the last group: the API refuses it, and shows it.
    """
    waits_for: dict[str, set[str]] = {each.review.key: set() for each in changes}
    for each in changes:
        for name in parents_of(each.wanted or each.saved or {}):
            parent = f"{each.service_name}/{name}"
            first, then = (parent, each.review.key) if each.wanted else (each.review.key, parent)
            if first in waits_for and then in waits_for:
                waits_for[then].add(first)
    left = list(changes)
    while left:
        keys = {each.review.key for each in left}
        wave = [each for each in left if not waits_for[each.review.key] & keys] or left
        yield wave
        left = [each for each in left if each not in wave]


def _made(manager: "Manager", change: Change) -> Result:
    if change.refusal is not None:
        return Result(change, change.refusal)
    service_name, job_name, saved = change.service_name, change.job_name, change.saved
    try:
        if change.wanted is None:
            manager.delete_job(service_name, job_name, if_match=_version(saved))
            return Result(change)
        job = cast("Job", keeping_defaults_of_the_stage(change.wanted, saved))
        if saved is None:
            answer = manager.put_job(service_name, job_name, job, only_if_new=True)
        else:
            answer = manager.put_job(service_name, job_name, job, if_match=_version(saved))
    except PreconditionFailed:
        what = "created" if saved is None else "changed"
        return Result(change, f"it was {what} since its review: run the command again")
    except ManagerError as error:
        return Result(change, str(error))
    return Result(change, warnings=[each["detail"] for each in answer.get("warnings", [])])


def _version(saved: Json | None) -> int:
    assert saved is not None
    return int(saved["version"])


def _previews(
    manager: "Manager", asked_for: Sequence[Timing | None]
) -> tuple[dict[Timing | None, FireTimes], dict[Timing | None, BadRequest], list[str]]:
    """The fire times by timing as it was given, the timings that are wrong, and what is not known.

    Nothing is asked about a job without a timing.
    """
    previews: dict[Timing | None, FireTimes] = {}
    wrong: dict[Timing | None, BadRequest] = {}
    forbidden: list[Timing] = []

    def preview(asked: Timing) -> None:
        if forbidden:
            return
        given: dict[str, str | None] = {"start_at": asked.start_at, "end_at": asked.end_at}
        if asked.time_zone != UTC_NAME:
            given["time_zone"] = asked.time_zone
        try:
            found = manager.preview_schedule(asked.schedule, count=COUNT, **given)
        except BadRequest as problem:
            wrong[asked] = problem
        except Forbidden:
            forbidden.append(asked)
        else:
            previews[asked] = fire_times(found)

    list(_mapped(preview, [each for each in dict.fromkeys(asked_for) if each is not None]))
    unknown = ["fire times: they need execute-api:Invoke on GET /schedules/preview"] if forbidden else []
    return previews, wrong, unknown


def _errors(jobs: Sequence["FileJob"], wrong: Mapping[Timing | None, BadRequest]) -> list["FileError"]:
    """What is wrong with the timings of the file, where it stands there."""
    return [
        job.error(pointer, detail)
        for job in jobs
        if (problem := wrong.get(_asked(job.job))) is not None
        for pointer, detail in _faults(problem)
    ]


def _faults(problem: BadRequest) -> list[tuple[str, str]]:
    """The fields that a problem names, with what is wrong with each."""
    return [(each["pointer"], each["detail"]) for each in problem.errors] or [("/schedule", problem.detail)]


def _asked(job: Json) -> Timing | None:
    """The timing of a job as a preview is asked for it; None if it runs after others."""
    return timing_of_job(canonical_bounds(job)) if "schedule" in job else None


def _keys(jobs: Sequence["FileJob"]) -> list[str]:
    return [job.key for job in jobs]


def _saved(manager: "Manager", job: "FileJob") -> Json | None:
    try:
        return cast("Json", manager.get_job(job.service_name, job.job_name))
    except NotFound:
        return None


def _canonical(job: Json, previews: dict[Timing | None, FireTimes]) -> Json:
    """The job with its timing as the API keeps it, as far as the API has told."""
    canonical, preview = canonical_bounds(job), previews.get(_asked(job))
    if preview is None:
        return canonical
    named = {"time_zone": preview.time_zone} if "time_zone" in job else {}
    return {**canonical, "schedule": preview.schedule, **named}


def _others(manager: "Manager", jobs: Sequence["FileJob"]) -> Iterator[Any]:
    """The jobs of the file's services that are not in the file."""
    known = set(_keys(jobs))
    for service_name in dict.fromkeys(job.service_name for job in jobs):
        for other in manager.list_jobs_of_service(service_name, limit=_PAGE):
            if f"{service_name}/{other['job_name']}" not in known:
                yield other


def _schedules_in_use(manager: "Manager") -> tuple[SchedulesInUse | None, list[str]]:
    try:
        return SchedulesInUse.of_pages(manager.list_schedules(limit=_PAGE).pages()), []
    except Forbidden:
        return None, ["other jobs in the same minute: they need execute-api:Invoke on GET /schedules"]


def _refusal(job: Reviewed, review: Review) -> str | None:
    managed_by = (job.saved or {}).get("managed_by")
    if managed_by is None or review.action == "none":
        return None
    act = "delete" if job.wanted is None else "change"
    return f"it is defined as code in {managed_by}: {act} it there"


def _mapped(function: Callable[[T], R], items: Sequence[T], at_once: int = _AT_ONCE) -> Iterator[R]:
    """The results for all items, in their order. After an error or Ctrl-C, no further item is begun."""
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
