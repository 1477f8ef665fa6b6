"""Actions of several steps: each brings one job into a situation that single actions seldom meet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from jobmanager.executions.attempts import is_between_attempts
from jobmanager.executions.record import RUNNING, WAITING, Execution
from tests.integration.polling import poll
from tests.life.journal import now_ms

if TYPE_CHECKING:
    from tests.life.living import Job, Life

_SECONDS_TO_FAIL = 15
_SECONDS_TO_BEGIN = 2
_SECONDS_TO_BE_INDEXED = 1.2


def move_at_a_tick(life: Life, job: Job, more: Mapping[str, Any]) -> None:
    """Moves a job to another schedule while both fire at one time. The three happen in any order."""
    body = life.body(job, more["job"])
    old = next((each.fields["schedule"] for each in job.timeline.now if each.definition), None)
    if body["schedule"] == old:
        body["schedule"] = life.schedules[(life.schedules.index(old) + 1) % len(life.schedules)]
    scheduled_ms = now_ms() // 1000 * 1000
    delays = {old: more["old_tick_delay"], body["schedule"]: more["new_tick_delay"]}
    with life.quiet(*delays), ThreadPoolExecutor(2) as ticks:
        fired = [
            ticks.submit(_tick_later, life, schedule, scheduled_ms, delay)
            for schedule, delay in delays.items()
            if schedule is not None and delay is not None
        ]
        life.put(job, body)
        for tick in fired:
            tick.result()
        if more["new_tick_delay"] is None:
            _tick_later(life, body["schedule"], scheduled_ms, _SECONDS_TO_BE_INDEXED)
        time.sleep(_SECONDS_TO_BEGIN)
    if old is not None:
        life.count("moved at a tick")


def _tick_later(life: Life, schedule: str, scheduled_ms: int, delay: float) -> None:
    time.sleep(delay)
    life.tick(schedule, scheduled_ms)


def resume_early(life: Life, job: Job, more: Mapping[str, Any]) -> None:
    """Pauses a job until a time, resumes it before that, and then delivers a tick from within the pause."""
    schedules = {each.fields["schedule"] for each in job.timeline.now if each.definition}
    life.pause(job, more["seconds"])
    # A tick's time is in whole seconds: the first one that lies wholly within the pause.
    scheduled_ms = (now_ms() // 1000 + 1) * 1000
    time.sleep(scheduled_ms / 1000 + 1.1 - time.time())
    life.resume(job)
    for schedule in schedules:
        life.tick(schedule, scheduled_ms, is_missed=more["is_missed"])
        life.count("ticked after an early resume")


def delete_between_attempts(life: Life, job: Job, more: Mapping[str, Any]) -> None:
    """Deletes a job, and perhaps makes it again, while one of its executions waits for its next attempt."""
    if not _fails_and_waits(life, job, more):
        return
    life.delete(job)
    life.count("deleted between attempts")
    if more["put_again"]:
        life.put(job, life.body(job, more["job"]))


def pause_between_attempts(life: Life, job: Job, more: Mapping[str, Any]) -> None:
    """Pauses a job while one of its executions waits for its next attempt, which begins all the same."""
    if _fails_and_waits(life, job, more):
        life.pause(job, None)
        life.count("paused between attempts")


def _fails_and_waits(life: Life, job: Job, more: Mapping[str, Any]) -> bool:
    """Starts an execution whose first attempt fails; whether it waits for its next attempt now."""
    life.put(job, life.body(job, more["job"]))
    execution_id = life.run(job, None).execution_id
    if execution_id is None:
        return False

    def record() -> Execution | None:
        found = cast(Execution | None, life.record(execution_id))
        has_changed = found and (found["status"] not in (RUNNING, WAITING) or is_between_attempts(found))
        return found if has_changed else None

    try:
        found = poll(record, _SECONDS_TO_FAIL, f"end of an attempt of {execution_id}")
    except AssertionError:
        return False  # a service over SNS may be slow, or the job was busy
    return found["status"] == RUNNING
