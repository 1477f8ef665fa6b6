"""A stand-in for Step Functions, because moto does not know task tokens."""

from __future__ import annotations

import json
from typing import Any


class Machines:
    """Records the signals to tasks and the executions that were stopped.

    Of an ended execution, it records the error and the cause with which the state machine then fails.
    ``started`` has the machine and the input of each execution that was started.

    ``is_running`` is what it answers about each execution. With ``is_over`` no task waits any longer, so a
    signal is refused. ``refusal`` is raised for each execution that the manager asks about or stops, and
    ExecutionDoesNotExist for each whose name is in ``never_started``.
    """

    class exceptions:
        """The client's errors, by the names that boto3 gives them."""

        class ExecutionAlreadyExists(Exception):
            pass

        class TaskTimedOut(Exception):
            pass

        class TaskDoesNotExist(Exception):
            pass

        class ExecutionDoesNotExist(Exception):
            pass

        class ValidationException(Exception):
            pass

    def __init__(self) -> None:
        self.signals: list[tuple[str, str]] = []
        self.causes: list[str] = []
        self.outputs: list[str] = []
        self.stopped: list[dict[str, str]] = []
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.is_running = False
        self.is_over = False
        self.refusal: type[Exception] | None = None
        self.never_started: set[str] = set()

    @property
    def stopped_names(self) -> list[str]:
        """The names of the executions that were stopped."""
        return [request["executionArn"].rpartition(":")[2] for request in self.stopped]

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> None:
        passed = json.loads(input)
        assert name in (passed["execution_id"], f"{passed['execution_id']}-w")
        self.started.append((stateMachineArn.rpartition(":")[2], passed))

    def describe_execution(self, executionArn: str) -> dict[str, str]:
        if self.refusal or executionArn.rpartition(":")[2] in self.never_started:
            raise self.exceptions.ExecutionDoesNotExist
        return {"status": "RUNNING" if self.is_running else "ABORTED"}

    def stop_execution(self, **request: str) -> None:
        if self.refusal:
            raise self.refusal
        if request["executionArn"].rpartition(":")[2] in self.never_started:
            raise self.exceptions.ExecutionDoesNotExist
        self.stopped.append(request)

    def send_task_heartbeat(self, taskToken: str) -> None:
        if self.is_over:
            raise self.exceptions.TaskTimedOut

    def send_task_success(self, taskToken: str, output: str) -> None:
        self._signal(taskToken, "success")
        self.outputs.append(output)

    def send_task_failure(self, taskToken: str, error: str, cause: str) -> None:
        if error == "ExecutionEnded":
            ended = json.loads(cause)
            error, cause = ended["error"], ended["cause"]
        self._signal(taskToken, error)
        self.causes.append(cause)

    def _signal(self, task_token: str, what: str) -> None:
        if self.is_over:
            raise self.exceptions.TaskTimedOut
        self.signals.append((task_token, what))
