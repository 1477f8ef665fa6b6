"""Checks after a life: everything that was seen from outside must agree with the content of the stage.

Each check yields (what is wrong, the job that it concerns).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.invariants import broken_invariants
from tests.integration.stage_view import Stage
from tests.life.checks.attempts import attempts_after_delete, late_attempts, missing_attempts
from tests.life.checks.by_hand import cancelled, started_by_hand
from tests.life.checks.callbacks import (
    acknowledged_results,
    heartbeats,
    late_callbacks,
    refused_callbacks,
)
from tests.life.checks.chains import chained_starts, missing_starts
from tests.life.checks.ends import explained_ends, machines
from tests.life.checks.known import Faults, Known, is_lost
from tests.life.checks.limits import full_slots, idle_slots, paced_notifications, slots_taken
from tests.life.checks.lists import events, list_of_jobs, lists_of_the_api
from tests.life.checks.notifications import (
    contents_of_notifications,
    lock_holders,
    repeated_notifications,
    sync_results,
)
from tests.life.checks.ticks import due_jobs, moving_job, steady_ticks, undue_jobs
from tests.life.checks.timed import timed_jobs
from tests.life.checks.waiting import (
    cancelled_for_the_next,
    ended_waits,
    late_turns,
    newest_waits,
    nothing_is_left,
    order_of_turns,
    running_beside,
)
from tests.life.living import Life


def faults_of(life: Life) -> list[tuple[str, str | None]]:
    """Everything that is wrong after a life, each with its job, or None if it concerns no single job."""
    known = Known.of(life)
    checks: list[Callable[[Known], Faults]] = [
        _invariants,
        acknowledged_results,
        refused_callbacks,
        late_callbacks,
        due_jobs,
        undue_jobs,
        steady_ticks,
        timed_jobs,
        moving_job,
        started_by_hand,
        cancelled,
        attempts_after_delete,
        late_attempts,
        missing_attempts,
        repeated_notifications,
        contents_of_notifications,
        sync_results,
        lock_holders,
        running_beside,
        order_of_turns,
        newest_waits,
        cancelled_for_the_next,
        ended_waits,
        late_turns,
        full_slots,
        slots_taken,
        idle_slots,
        paced_notifications,
        chained_starts,
        missing_starts,
        nothing_is_left,
        explained_ends,
        machines,
        events,
        lists_of_the_api,
        list_of_jobs,
        heartbeats,
    ]
    return [*life.faults, *(found for check in checks for found in check(known))]


def _invariants(known: Known) -> Faults:
    """The invariants of any quiet stage hold."""
    life = known.life
    deliveries = [each for of_one in known.deliveries.values() for each in of_one]
    callbacks = [each for of_one in known.callbacks.values() for each in of_one]
    for sentence in broken_invariants(
        Stage(life.aws, life.outputs),
        [life.service_name],
        received=[each.notification for each in deliveries],
        excused={(each.execution_id or "", each.attempt) for each in deliveries if is_lost(known, each)},
        acknowledged=[
            (each.execution_id or "", each.attempt, each.body["status"])
            for each in callbacks
            if each.is_final and each.status == 200
        ],
        schedules=life.schedules,
    ):
        yield sentence, _job_named_in(life, sentence)


def _job_named_in(life: Life, sentence: str) -> str | None:
    names = (job.name for job in life.all_jobs if job.guid in sentence or f"/{job.name}" in sentence)
    return next(names, None)
