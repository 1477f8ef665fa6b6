"""Who acts on the stage: people and programs that call the API, and the stage's own upkeep."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso
from jobmanager.executions.record import WAITING
from jobmanager.jobs.timing import schedule_key
from jobmanager.schedules.trigger_kind import trigger_name
from tests.clock_model import Fires
from tests.simulation.chain_plan import CHANGE
from tests.simulation.plan import LIMIT, MAKE_AGAIN, PUT_BACK, SERVICE, Action
from tests.simulation.step_functions import STOPPED_BY_HAND

if TYPE_CHECKING:
    from tests.simulation.api import Answer
    from tests.simulation.world import World

type Json = dict[str, Any]

_REPEATS_AFTER_MS = (2000, 8000)
_PAUSED_FOR_MS = 100_000


def act(world: World, action: Action) -> None:
    """Does one thing, in a task of its own, as often as its answer allows."""
    _ACTS[action.kind](world, action)


def _ask(
    world: World,
    action: Action,
    function: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    **path: str,
) -> Answer:
    whole = {"service_name": SERVICE, "job_name": action.job_name, **path}
    answer = world.api.request(function, f"{action.label} 1", whole, body, headers)
    for number, wait_ms in enumerate(_REPEATS_AFTER_MS):
        if not answer.may_be_repeated and not _is_refused_for(answer, "/after"):
            break
        world.scheduler.sleep(wait_ms)
        answer = world.api.request(function, f"{action.label} {number + 2}", whole, body, headers)
    is_without_others = _is_refused_for(answer, "/limit") or _is_refused_for(answer, "/after")
    if answer.status == 400 and not is_without_others and not _may_be_refused(body, world.scheduler.now_ms):
        raise AssertionError(f"the simulation asked {function} wrongly: {answer.body}")
    return answer


def _is_refused_for(answer: Answer, pointer: str) -> bool:
    """Whether a request was refused for a field, such as one that names what does not exist yet."""
    errors = answer.body.get("errors", ()) if answer.status == 400 else ()
    return any(error["pointer"].startswith(pointer) for error in errors)


def _may_be_refused(body: Any, now_ms: int) -> bool:
    """Whether a job may have to fire once at a time that is past, skipped by its clock, or out of bounds.

    Or whether it ends before it starts, or has ended by the time of the answer.
    """
    if not body or "schedule" not in body:
        return False
    fires = Fires.of(body)
    if fires.is_once:
        return not fires.fires_after(now_ms)
    return fires.end_ms is not None and fires.end_ms <= max(fires.start_ms or 0, now_ms)


def _put(world: World, action: Action) -> None:
    _ask(world, action, "put_job", action.body)


def _delete(world: World, action: Action) -> None:
    _ask(world, action, "delete_job")


def _make_again(world: World, action: Action) -> None:
    """Deletes a job, and makes another one of its name."""
    _ask(world, replace(action, label=f"{action.label} delete"), "delete_job")
    world.scheduler.sleep(action.body.get("after_ms", 0))
    if "job" in action.body:
        _ask(world, action, "put_job", action.body["job"])


def _pause(world: World, action: Action) -> None:
    _ask(world, action, "pause_job", {"reason": "maintenance"})


def _pause_for_a_while(world: World, action: Action) -> None:
    until = iso(world.scheduler.now_ms + _PAUSED_FOR_MS)
    _ask(world, action, "pause_job", {"reason": "maintenance", "until": until})


def _resume(world: World, action: Action) -> None:
    _ask(world, action, "resume_job")


def _run_now(world: World, action: Action) -> None:
    _ask(world, action, "start_execution", {}, {"idempotency-key": action.label.replace(" ", "-")})


def _cancel(world: World, action: Action) -> None:
    if execution := _latest(world, action.job_name):
        _ask(world, action, "cancel_execution", {}, execution_id=execution)


def _rerun(world: World, action: Action) -> None:
    if execution := _latest(world, action.job_name):
        key = {"idempotency-key": action.label.replace(" ", "-")}
        _ask(world, action, "rerun_execution", None, key, execution_id=execution)


def _cancel_one_that_waits(world: World, action: Action) -> None:
    waiting = sorted(record["execution_id"] for record in world.view.records() if record["status"] == WAITING)
    if waiting:
        named = str(world.choices.one_of(f"{action.label} of those", waiting))
        of = next(each["job_name"] for each in world.view.records() if each["execution_id"] == named)
        _ask(world, replace(action, job_name=of), "cancel_execution", {}, execution_id=named)


def _change_the_limit(world: World, action: Action) -> None:
    _ask(world, action, "put_limit", action.body, limit_name=LIMIT)


def _make_the_limit_again(world: World, action: Action) -> None:
    """Takes it away from its jobs, deletes it, and makes it again for them."""

    def put(bodies: Json, part: str) -> None:
        for name, body in bodies.items():
            _ask(
                world, replace(action, label=f"{action.label} {part} {name}", job_name=name), "put_job", body
            )

    put(action.body.get("without", {}), "without")
    _ask(world, replace(action, label=f"{action.label} delete"), "delete_limit", limit_name=LIMIT)
    world.scheduler.sleep(action.body.get("after_ms", 0))
    if "limit" in action.body:
        _ask(world, action, "put_limit", action.body["limit"], limit_name=LIMIT)
        put(action.body.get("with", {}), "with")


def _latest(world: World, job_name: str) -> str | None:
    records = [record for record in world.view.records() if record["job_name"] == job_name]
    newest = max(records, key=lambda record: int(record["started_at_ms"]), default=None)
    return None if newest is None else str(newest["execution_id"])


def _reap(world: World, action: Action) -> None:
    world.lambdas.begin_asynchronously("reap_executions", {}, action.label)


def _reconcile(world: World, action: Action) -> None:
    world.lambdas.begin_asynchronously("reconcile_schedules", {}, action.label)


def _tick_again(world: World, action: Action) -> None:
    """Delivers the last tick of each schedule again, as a redrive does."""
    for schedule, at_ms in sorted(dict(world.ticks.due).items()):
        event = {"schedule": schedule, "scheduled_time": iso(at_ms)}
        label = f"{action.label} {schedule}"
        world.lambdas.begin_asynchronously("start_due_executions", event, label)


def _create_a_secret(world: World, action: Action) -> None:
    _ask(world, action, "create_webhook_secret", {})


def _stop_the_machine(world: World, action: Action) -> None:
    """As a person may, in the console."""
    for machine in world.machines.standard_of(_latest(world, action.job_name) or ""):
        world.machines.stop_execution(machine.name, STOPPED_BY_HAND, "by hand")


def _disable_the_trigger(world: World, action: Action) -> None:
    _change_trigger(world, action, {"State": "DISABLED"})


def _change_the_trigger(world: World, action: Action) -> None:
    """As a person may, in the console: so that it fires at other times, or for something else."""
    other = {"schedule": "rate(1 minute)", "scheduled_time": "<aws.scheduler.scheduled-time>"}
    end = datetime.fromtimestamp(world.scheduler.now_ms / 1000 + 1, UTC)
    changes: tuple[Json, ...] = (
        {"ScheduleExpression": "cron(0 0 * * ? *)"},
        {"ScheduleExpressionTimezone": "Pacific/Apia"},
        {"EndDate": end},
        {"Target": {"Input": json.dumps(other)}},
        {"Target": {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:another"}},
    )
    _change_trigger(world, action, world.choices.one_of(f"{action.label} change", changes))


def _change_trigger(world: World, action: Action, change: Json) -> None:
    name = _name_of_trigger(world, action.job_name)
    if name in world.rules.rules:
        world.rules.change_by_hand(name, change)
    if name in world.schedules.schedules:
        world.schedules.change_by_hand(name, change)


def _delete_the_trigger(world: World, action: Action) -> None:
    name = _name_of_trigger(world, action.job_name)
    if name in world.rules.rules:
        world.rules.rules[name].targets.clear()
        world.rules.delete_rule(name)
    if name in world.schedules.schedules:
        world.schedules.delete_schedule("default", name)


def _name_of_trigger(world: World, job_name: str) -> str:
    named = [job for job in world.view.jobs() if job["job_name"] == job_name]
    return trigger_name(schedule_key(named[0])) if named else ""


_ACTS: Mapping[str, Callable[[World, Action], None]] = {
    "put": _put,
    "change the type": _put,
    "change the zone": _put,
    "end early": _put,
    "fire once": _put,
    "change the overlap": _put,
    "change whether limited": _put,
    CHANGE: _put,
    PUT_BACK: _put,
    MAKE_AGAIN: _make_again,
    "change the limit": _change_the_limit,
    "make the limit again": _make_the_limit_again,
    "cancel one that waits": _cancel_one_that_waits,
    "delete": _delete,
    "pause": _pause,
    "pause for a while": _pause_for_a_while,
    "resume": _resume,
    "run now": _run_now,
    "cancel": _cancel,
    "rerun": _rerun,
    "reap": _reap,
    "reconcile": _reconcile,
    "tick again": _tick_again,
    "create a secret": _create_a_secret,
    "stop the machine": _stop_the_machine,
    "disable the trigger": _disable_the_trigger,
    "delete the trigger": _delete_the_trigger,
    "change the trigger": _change_the_trigger,
}
