"""The sample service's work. A job's payload says what it does, so that a demo or a test controls it.

    {"do": "succeed", "seconds": 4, "heartbeats": 2, "summary": "…", "state": "cursor-42"}
    {"do": "succeed", "advance": 40}       state = the last successful run's state + 40
    {"do": "fail", "error": "…", "seconds": 1}
    {"do": "heartbeat_forever", "every": 2}
    {"do": "silent"}                       accepts the job and never calls back

Any other payload succeeds at once. A sync job does the same and answers with the result. In your own service,
your work replaces this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from local.callbacks import Callbacks
from local.channels import Answer

Notification = dict[str, Any]
Pause = Callable[[float], bool]
"""Waits for that many seconds. Returns False if the service is about to stop."""


def perform(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """Do what the job's payload says."""
    behaviour = _parse(notification.get("payload"))
    match behaviour.get("do", "succeed"):
        case "succeed":
            if _work(behaviour, callbacks, pause):
                _succeed(behaviour, notification, callbacks)
        case "fail":
            if _work(behaviour, callbacks, pause):
                callbacks.fail(
                    behaviour.get("error", "the payload says fail"), summary=behaviour.get("summary")
                )
        case "heartbeat_forever":
            _heartbeat_forever(behaviour, notification, callbacks, pause)
        case "silent":
            pass
        case unknown:
            callbacks.fail(f"the sample service has no behaviour {unknown!r}")


def perform_now(notification: Notification, pause: Pause) -> Answer:
    """Do what the payload of a sync job says, and answer its webhook with the result."""
    behaviour = _parse(notification.get("payload"))
    pause(float(behaviour.get("seconds", 0)))
    if behaviour.get("do", "succeed") != "succeed":
        return Answer(
            HTTPStatus.UNPROCESSABLE_ENTITY, {"error": behaviour.get("error", "the payload says fail")}
        )
    return Answer(
        HTTPStatus.OK, {name: behaviour[name] for name in ("summary", "state") if name in behaviour}
    )


def _work(behaviour: dict[str, Any], callbacks: Callbacks, pause: Pause) -> bool:
    """Wait with evenly spaced heartbeats. Returns False if the work should stop."""
    heartbeats = int(behaviour.get("heartbeats", 0))
    step_seconds = float(behaviour.get("seconds", 0)) / (heartbeats + 1)
    for step in range(1, heartbeats + 1):
        if not pause(step_seconds):
            return False
        if callbacks.heartbeat(progress=round(100 * step / (heartbeats + 1))).status == 410:
            return False
    return pause(step_seconds)


def _succeed(behaviour: dict[str, Any], notification: Notification, callbacks: Callbacks) -> None:
    summary, state = behaviour.get("summary"), behaviour.get("state")
    if "advance" in behaviour:
        last = int(notification["last_successful_execution"].get("state") or 0)
        state = str(last + int(behaviour["advance"]))
        summary = f"{summary or 'items'} {last + 1} to {state}"
    callbacks.success(summary=summary, state=state)


def _heartbeat_forever(
    behaviour: dict[str, Any], notification: Notification, callbacks: Callbacks, pause: Pause
) -> None:
    every = float(behaviour.get("every") or notification["heartbeat_interval_seconds"] / 2)
    while pause(every):
        if callbacks.heartbeat().status == 410:
            return


def _parse(payload: object) -> dict[str, Any]:
    try:
        behaviour = json.loads(payload) if isinstance(payload, str) else None
    except ValueError:
        behaviour = None
    return behaviour if isinstance(behaviour, dict) else {}
