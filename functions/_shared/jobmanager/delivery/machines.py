"""The two kinds of state machine that run an execution, as seen by the function that notifies the service.

A Standard machine waits in a task: it has a token, knows the limits of the job, and ends with the execution.
An Express machine ends as soon as the service was notified. Callbacks and the sweep do the rest
(:mod:`jobmanager.executions.reap`).

An Express machine may be started twice under one name, and the sweep starts another if one has died. So the
record says which machine execution runs the attempt, and only that one notifies the service:
https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.delivery.notification import ANSWER_WITHIN_SECONDS
from jobmanager.executions import attempts, store, task_signal
from jobmanager.executions.end_attempt import keep_lock, overdue_if_not_begun
from jobmanager.executions.end_task import end_task
from jobmanager.executions.record import (
    POSTPONED,
    CallbackFields,
    Execution,
    first_sweep_at,
    is_express,
)
from jobmanager.executions.time_limits import TaskLimits
from jobmanager.runtime.logs import logger

LONGEST_SECONDS = 300
"""How long an Express machine may run.

https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
"""
LONGEST_WAIT_SECONDS = 20
"""The longest wait of an Express machine between two tries to notify a service."""
_SECONDS_TO_BEGIN = 10


class Machine(Protocol):
    """What runs the execution."""

    def callback_fields(self, callback_hash: str) -> CallbackFields:
        """Returns the fields that the record needs, so that the service can call back."""

    def fits(self, record: Execution) -> bool:
        """Whether the execution is of this kind. A repeated tick starts both kinds if its job has changed."""

    def runs(self, record: Execution) -> bool:
        """Whether this one runs the execution, and no other."""

    def leave(self, record: Execution) -> None:
        """Ends the machine, and leaves the execution to the one that runs it."""

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Builds the condition, with its values, that no other machine execution runs the attempt."""

    def still_waits(self) -> bool:
        """Whether the service may be notified. If not, this function must touch nothing."""

    def claim(self, record: Execution, at_ms: int) -> tuple[str, dict[str, Any]]:
        """Builds the part of an update, with its values, by which it runs the attempt from now on."""

    def begins_again(self, execution: Mapping[str, Any], begun: Mapping[str, Any], at_ms: int) -> bool:
        """Starts its task again with the input ``begun`` if its limits are outdated; whether it did."""

    def postponed(self, execution: Mapping[str, Any], record: Execution) -> int:
        """Returns how often the service asked to be notified later."""

    def postpone(self, execution: Mapping[str, Any], record: Execution, until: int, seconds: int) -> None:
        """Has the service notified again at ``until`` (seconds since 1970), which is ``seconds`` away."""

    def may_try_again(self, record: Execution, at_ms: int) -> bool:
        """Whether the machine has the time to notify the service once more, if that has just failed."""

    def confirm(self, record: Execution) -> None:
        """Notes that the service was notified, if nobody else knows."""

    def wait(self, execution_id: str, attempt: int) -> bool:
        """Waits for callbacks to a notification that was sent before; False if the attempt has ended."""

    def end(self, record: Execution, at_ms: int) -> None:
        """Settles the execution if it has ended, and ends the machine's task, as :func:`end_task` does."""


def machine_of(event: Mapping[str, Any]) -> Machine:
    """Returns the machine that invoked the function with this event."""
    if "task_token" in event:
        return StandardTask(event["task_token"])
    identifier = str(event["machine_execution"]).rpartition(":")[2]
    # Absent if a machine started with the definition of the version before.
    started_at = event.get("machine_started_at")
    started_at_ms = ms_of_iso(started_at) if started_at else None
    return ExpressExecution(identifier, event["execution"].get("takes_over"), started_at_ms)


@dataclass(frozen=True)
class StandardTask:
    """The task of a Standard machine that waits for this function, and then for callbacks."""

    token: str

    def callback_fields(self, callback_hash: str) -> CallbackFields:
        """The token of the task."""
        return {"callback_hashes": [callback_hash], "task_token": self.token}

    def fits(self, record: Execution) -> bool:
        """Whether no Express machine has begun it."""
        return not is_express(record)

    def runs(self, record: Execution) -> bool:
        """A Standard machine runs a name only once."""
        return self.fits(record)

    def leave(self, record: Execution) -> None:
        """Ends the task; nothing follows in its machine."""
        task_signal.leave(self.token, record)

    def condition(self) -> tuple[str, dict[str, Any]]:
        """None is needed. If the task is over, :meth:`still_waits` says so."""
        return "", {}

    def still_waits(self) -> bool:
        """Sends a heartbeat; False if the task is over: Step Functions took this function for dead.

        Then another function goes on. The heartbeat also makes Step Functions count the service's silence
        from now. Otherwise it counts from the start of the task, and includes this function's cold start.
        That matters only if the limit is short. If the heartbeat fails, the service is notified anyway.
        """
        try:
            return task_signal.heartbeat(self.token) == "sent"
        except (ClientError, BotoCoreError) as error:
            logger.warning("heartbeat before the notification failed", extra={"error": str(error)})
            return True

    def claim(self, record: Execution, at_ms: int) -> tuple[str, dict[str, Any]]:
        """Callbacks end this task."""
        return "task_token = :token", {":token": self.token}

    def begins_again(self, execution: Mapping[str, Any], begun: Mapping[str, Any], at_ms: int) -> bool:
        """A tick has the limits from an index, which may be late. Another task costs two transitions."""
        if all(execution.get(name) == begun[name] for name in TaskLimits.__annotations__):
            return False
        task_signal.wait_and_notify_again(self.token, {**begun, "next_attempt_at": iso(at_ms)})
        logger.info("the job's limits have changed since the tick")
        return True

    def postponed(self, execution: Mapping[str, Any], record: Execution) -> int:
        """The machine's input counts it."""
        number: int = execution.get("postponed", 0)
        return number

    def postpone(self, execution: Mapping[str, Any], record: Execution, until: int, seconds: int) -> None:
        """Sends the machine to the state in which it waits for a next attempt: two transitions."""
        left = max(execution["timeout_seconds"] - seconds, execution["heartbeat_seconds"] + 1)
        number = self.postponed(execution, record) + 1
        waiting = {"next_attempt_at": iso(until * 1000), "postponed": number, "timeout_seconds": left}
        task_signal.wait_and_notify_again(self.token, {**execution, **waiting})

    def may_try_again(self, record: Execution, at_ms: int) -> bool:
        """It waits for longer than all tries take."""
        return True

    def confirm(self, record: Execution) -> None:
        """Step Functions knows that the function has not failed."""

    def wait(self, execution_id: str, attempt: int) -> bool:
        """Stores the token of this task, because the record has that of an earlier one."""
        condition, values = store.is_at_attempt(attempt)
        token = {":token": self.token}
        return store.update_if(execution_id, "SET task_token = :token", condition, values | token) is not None

    def end(self, record: Execution, at_ms: int) -> None:
        """The record may hold the token of an earlier task."""
        end_task({**record, "task_token": self.token}, at_ms)


@dataclass(frozen=True)
class ExpressExecution:
    """An execution of an Express machine. It may take over from one that is dead."""

    identifier: str
    takes_over: str | None = None
    started_at_ms: int | None = None

    def callback_fields(self, callback_hash: str) -> CallbackFields:
        """The id by which a retry knows that the record is its own."""
        return {"callback_hashes": [callback_hash], "machine_execution": self.identifier}

    def fits(self, record: Execution) -> bool:
        """Whether an Express machine has begun it."""
        return is_express(record)

    def leave(self, record: Execution) -> None:
        """It ends with the function."""

    def runs(self, record: Execution) -> bool:
        """Whether the record names this one."""
        return record.get("machine_execution") == self.identifier

    def condition(self) -> tuple[str, dict[str, Any]]:
        """An attempt that no machine execution runs is free, and so is that of the one to take over from."""
        values = {":me": self.identifier, ":former": self.takes_over or self.identifier}
        is_free = "attribute_not_exists(machine_execution) OR machine_execution IN (:me, :former)"
        return f" AND ({is_free})", values

    def still_waits(self) -> bool:
        """The conditions of its writes decide."""
        return True

    def claim(self, record: Execution, at_ms: int) -> tuple[str, dict[str, Any]]:
        """Other machine executions find the id. The sweep takes over from this one if it does not confirm."""
        values = {":machine": self.identifier, ":sweep": first_sweep_at(record, at_ms)}
        return "machine_execution = :machine, sweep_at = :sweep", values

    def begins_again(self, execution: Mapping[str, Any], begun: Mapping[str, Any], at_ms: int) -> bool:
        """It waits for nothing, so it has no limits."""
        return False

    def postponed(self, execution: Mapping[str, Any], record: Execution) -> int:
        """The record counts it."""
        return record.get("postponed", 0)

    def postpone(self, execution: Mapping[str, Any], record: Execution, until: int, seconds: int) -> None:
        """Leaves the attempt to the sweep, which starts a machine execution after ``until``."""
        keep_lock(record, until)
        condition, values = store.is_at_undelivered_attempt(attempts.current(record))
        own, mine = self.condition()
        store.update_if(
            record["execution_id"],
            "SET sweep_at = :until, lock_expires_at = :expires, postponed = :number,"
            " machine_execution = :nobody",
            condition + own,
            {
                **values,
                **mine,
                ":until": until,
                ":nobody": POSTPONED,
                ":expires": overdue_if_not_begun(record, until),
                ":number": self.postponed(execution, record) + 1,
            },
        )

    def may_try_again(self, record: Execution, at_ms: int) -> bool:
        """A sync job's service may take its whole ``ttl_seconds`` to answer that it is unavailable."""
        if self.started_at_ms is None:
            return True
        answers_within = ANSWER_WITHIN_SECONDS if record["async"] else record["ttl_seconds"]
        needed = LONGEST_WAIT_SECONDS + _SECONDS_TO_BEGIN + answers_within
        return at_ms + needed * 1000 <= self.started_at_ms + LONGEST_SECONDS * 1000

    def confirm(self, record: Execution) -> None:
        """Notes the attempt as delivered; if that fails, the sweep may notify the service once more."""
        number = attempts.current(record)
        condition, values = store.is_at_attempt(number)
        try:
            store.update_if(
                record["execution_id"],
                "SET delivered_attempt = :attempt",
                condition,
                {**values, ":attempt": number},
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("the notification was not noted as delivered", extra={"error": str(error)})

    def wait(self, execution_id: str, attempt: int) -> bool:
        """Nothing waits: callbacks and the sweep go on."""
        return True

    def end(self, record: Execution, at_ms: int) -> None:
        """No task waits."""
        end_task(record, at_ms)
