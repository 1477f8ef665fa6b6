"""Reviews the jobs as code in a plan of Terraform: what differs, when they fire, beside whom, at what price.

    terraform show -json PLAN | python -m tools.review_plan

`make plan` ends with it. It is the review of `sjm apply`, and works without a stage too. If the stage exists
and the caller may call `GET /schedules`, the other jobs of the stage count as well. It never fails, so that
a plan does not fail because of it.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobmanager.core.clock import now_ms
from jobmanager.jobs.timing import canonical_timing, timing_errors
from jobmanager.schedules.preview import preview_schedule
from sjm.client import Manager, ManagerError, Retries
from sjm.review.fire_times import FireTimes, fire_times
from sjm.review.neighbours import SchedulesInUse
from sjm.review.review import Review, Reviewed, reviews
from sjm.review.shown import printable
from sjm.review.text import Line, lines_of, summary
from sjm.review.timing import timing_of_job

type Json = Mapping[str, Any]

MAX_SHOWN = 100
_SECONDS_FOR_THE_API = 5
_SECONDS_FOR_AN_ANSWER = 5
_TIMING = ("schedule", "time_zone", "start_at", "end_at")
_MAX_PAGES = 3
_COLOURS = {"create": "32", "change": "33", "delete": "31", "warning": "33", "summary": "1"}


@dataclass(frozen=True)
class PlannedJob:
    """A job as code. ``wanted`` is None if Terraform deletes it, ``saved`` if it creates it.

    ``is_unknown``: its definition depends on what the apply brings. ``is_sensitive``: Terraform would not
    show it.
    """

    key: str
    wanted: Json | None
    saved: Json | None
    is_unknown: bool = False
    is_sensitive: bool = False


def planned_jobs(plan: Json) -> list[PlannedJob]:
    """The jobs of terraform/jobs_as_code.tf in a plan, by name. ``plan``: of `terraform show -json`."""
    found = [
        _planned_job(each)
        for each in plan.get("resource_changes", [])
        if each.get("mode") == "managed"
        and (each.get("type"), each.get("name")) == ("terraform_data", "job_definition")
    ]
    return sorted(found, key=lambda job: job.key)


def _planned_job(resource: Json) -> PlannedJob:
    change = resource["change"]
    return PlannedJob(
        key=str(resource["index"]),
        wanted=_job(change.get("after")),
        saved=_job(change.get("before")),
        is_unknown=bool(_of_triggers(change.get("after_unknown"), "job")),
        is_sensitive=any(
            _of_triggers(change.get(name), "job") for name in ("before_sensitive", "after_sensitive")
        ),
    )


def _job(state: Any) -> dict[str, Any] | None:
    text = _of_triggers(state, "job")
    if not isinstance(text, str):
        return None
    job: dict[str, Any] = json.loads(text)
    if timing_errors(job):
        return job
    canonical = canonical_timing(job)
    return {name: canonical.get(name, value) for name, value in job.items()}


def _of_triggers(state: Any, name: str) -> Any:
    """A value of ``triggers_replace``. Of what is wholly unknown or sensitive, Terraform only says true."""
    triggers = state.get("triggers_replace") if isinstance(state, dict) else state
    return triggers.get(name) if isinstance(triggers, dict) else triggers


def lines_of_plan(plan: Json, in_use: SchedulesInUse | None, at_ms: int) -> Iterator[Line]:
    """The review of a plan; nothing if it has no jobs. ``in_use``: the schedules of the stage, if known."""
    planned = planned_jobs(plan)
    if not planned:
        return
    jobs = [job for job in planned if not job.is_unknown]
    saved = [job.saved for job in jobs if job.saved and "schedule" in job.saved]
    counted = in_use or SchedulesInUse(Counter(timing_of_job(each).key for each in saved))
    reviewed = [Reviewed(job.key, job.wanted, job.saved) for job in jobs]
    today = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    found = reviews(reviewed, _previews(at_ms), counted, today)
    shown = [(job, review) for job, review in zip(jobs, found, strict=True) if review.action != "none"]
    yield Line("summary", "Jobs as code:")
    for job, review in shown[:MAX_SHOWN]:
        yield from lines_of(_without_secrets(review) if job.is_sensitive else review)
        yield from _refusals(job)
    if len(shown) > MAX_SHOWN:
        yield Line("detail", f"… and {len(shown) - MAX_SHOWN} more that change")
    for job in planned:
        if job.is_unknown:
            yield Line("change", f"~ {printable(job.key)} is known only after apply")
    if shown and in_use is None:
        yield Line("detail", "Only the jobs of this plan are counted as neighbours.")
    yield summary(found)


def _without_secrets(review: Review) -> Review:
    return Review(
        review.key,
        review.action,
        (),
        review.fires,
        review.neighbours,
        review.before,
        review.after,
        [*review.notes, "its definition is sensitive, so what differs is not shown"],
    )


def _refusals(job: PlannedJob) -> Iterator[Line]:
    """What the API will refuse, which Terraform does not see."""
    if job.wanted is not None:
        for error in timing_errors(job.wanted):
            found = printable(f"{error['pointer']}: {error['detail']}")
            yield Line("warning", f"    the API will refuse this job: {found}")


def _previews(at_ms: int) -> Callable[[Json], FireTimes | None]:
    def preview(job: Json) -> FireTimes | None:
        if timing_errors(job):
            return None
        return fire_times(preview_schedule({name: job[name] for name in _TIMING if name in job}, at_ms))

    return preview


def schedules_of_stage(plan: Json) -> SchedulesInUse | None:
    """The schedules that the stage has now; None if there is no stage, or it does not tell at once."""
    outputs = plan.get("prior_state", {}).get("values", {}).get("outputs", {})
    url = outputs.get("api_url", {}).get("value")
    if not isinstance(url, str):
        return None
    until = time.monotonic() + _SECONDS_FOR_THE_API

    def pages(manager: Manager) -> Iterator[Any]:
        for page in manager.list_schedules(limit=100).pages():
            yield page
            if time.monotonic() > until:
                return

    quick = Retries(max_attempts=1)
    try:
        with Manager(
            url=url,
            connect_timeout_seconds=2,
            timeout_seconds=_SECONDS_FOR_AN_ANSWER,
            retries=quick,
        ) as manager:
            return SchedulesInUse.of_pages(pages(manager), _MAX_PAGES)
    except ManagerError:
        return None


def main(arguments: Sequence[str] = ()) -> int:
    """Reads a plan from standard input, and prints the review. Returns 0."""
    try:
        plan = json.load(sys.stdin)
        in_use = schedules_of_stage(plan) if planned_jobs(plan) else None
        is_terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for line in lines_of_plan(plan, in_use, now_ms()):
            colour = _COLOURS.get(line.kind) if is_terminal else None
            print(f"\x1b[{colour}m{line.text}\x1b[0m" if colour else line.text)
    except Exception as error:  # the plan itself is good, whatever is wrong here
        print(f"The jobs of the plan were not reviewed: {type(error).__name__}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
