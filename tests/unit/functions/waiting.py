"""Executions that wait: how they begin and end, and who gives them their turn."""

import json
from typing import Any, cast

import pytest

from jobmanager.executions import queues
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.pacing import Timed
from jobmanager.executions.reap import reap
from jobmanager.executions.record import CallbackFields, Execution
from jobmanager.executions.settle import settle
from jobmanager.executions.turn import give_turns
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.limits import changes as limit_changes
from jobmanager.limits import store as limits
from jobmanager.limits.definition import Limit, LimitDefinition
from tests.unit.functions.examples import NOON_MS, due, end_as, stored
from tests.unit.functions.lambdas import Lambdas

NOON = NOON_MS // 1000
# What the function is asked for that gives turns.
OF_LOCK = {"service_name": "billing", "job_name": "nightly"}
OF_LIMIT = {"service_name": "billing", "limit_name": "db"}
WORKFLOW_TYPES = pytest.mark.parametrize("workflow_type", ["standard", "express"])
OF_STANDARD: CallbackFields = {"callback_hashes": ["h"], "task_token": "t"}
OF_EXPRESS: CallbackFields = {"callback_hashes": ["h"], "machine_execution": "m-1"}


class Turns(Lambdas):
    """Stands in for Lambda, which invokes start_waiting_executions, and for SQS, which delays messages.

    ``asked``: the invocations that are pending. ``sent``: each message, with its delay in seconds.
    """

    def __init__(self) -> None:
        super().__init__("start-waiting")
        self.sent: list[tuple[Timed, int]] = []
        self.is_down = False

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        if self.is_down:
            raise RuntimeError("the function died before it asked")
        super().invoke(FunctionName, InvocationType, Payload)

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:
        if self.is_down:
            raise RuntimeError("the function died before it sent the message")
        assert QueueUrl.rpartition("/")[2] == "spread"
        assert 0 <= DelaySeconds <= 900
        self.sent.append((json.loads(MessageBody), DelaySeconds))

    def give(self, seconds: float) -> int:
        """Handles the pending invocations, and those that follow; returns how many executions started."""
        started = 0
        while self.asked:
            started += give_turns(self.asked.pop(0), at(seconds), lambda: 300_000)
        return started


def at(seconds: float) -> int:
    """A time in seconds after noon, as ms since 1970."""
    return NOON_MS + int(seconds * 1000)


def callback_of(workflow_type: str) -> CallbackFields:
    """What an execution begins with that its callback needs."""
    return OF_EXPRESS if workflow_type == "express" else OF_STANDARD


def begin(seconds: int = 0, job_name: str = "nightly", callback: CallbackFields = OF_STANDARD) -> Execution:
    """Begins the execution of a tick so many seconds after noon, as its state machine does."""
    return begin_to_notify(due(job_name, at_ms=at(seconds)), callback, at(seconds)).record


def end(record: Execution, seconds: int, status: str = "success") -> Execution:
    """Ends a running execution, and settles it."""
    result = {} if status == "success" else {"error": "LedgerBusy", "cause": "busy"}
    end_as(record, status, result, at(seconds))
    return settle(stored(record), at(seconds))


def sweep(seconds: int) -> dict[str, int]:
    """Sweeps. Returns what it did, without what it did not."""
    return {name: number for name, number in reap(at(seconds), lambda: 300_000).items() if number}


def job(job_name: str = "nightly") -> Job:
    """The job as it is stored, or its tombstone."""
    found = jobs.find("billing", job_name)
    assert found is not None
    return found


def put_limit(**fields: int) -> Limit:
    """Saves the limit ``db``."""
    return limit_changes.save("billing", "db", cast(LimitDefinition, fields), "ann", NOON_MS)[0]


def limit() -> Limit:
    """The limit ``db`` as it is stored."""
    return limits.read("billing", "db")


def queue_for_lock(job_name: str = "nightly") -> list[str]:
    """The executions that wait for the lock of a job, the next first."""
    return list(queues.waiting_in(queues.queue_of_lock(job(job_name)["job_guid"])))


def queue_for_slots() -> list[str]:
    """The executions that wait for a slot of the limit, the next first."""
    return list(queues.waiting_in(queues.queue_of_slots("billing", "db")))


def summary(record: Any) -> tuple[str, str | None]:
    """The status of an execution as it is now, and the code of its reason."""
    now = stored(record)
    return now["status"], now["reason"]["code"] if "reason" in now else None
