"""Step Functions: tasks that wait for a callback, stopping, starting twice, describing."""

import base64
import contextvars
import functools
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import stepfunctions

from local.aws_behaviour.wrapping import around

JsonObject = dict[str, Any]
Response = tuple[int, Any, Any]

AT_MOST = 99_999_999  # seconds; AWS's default for a task without TimeoutSeconds
LIMITS = ("TimeoutSeconds", "HeartbeatSeconds")
TEMPLATE = "(before JSONata)"
BYTES_OF_A_TOKEN = 540
"""In base64, 720 characters. Tokens that AWS gave to others have 580 to 770; at most 2048 are allowed:
https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html
"""
WAITS_FOR_TOKEN = ".waitForTaskToken"


@dataclass
class RunningExecution:
    """The execution that this thread runs."""

    arn: str

    def record(self) -> JsonObject:
        """The emulator's own record of it."""
        record: JsonObject = stepfunctions._executions.get(self.arn) or {}
        return record


@dataclass
class Wait:
    """One attempt of a task that waits for a callback."""

    execution_arn: str | None
    over: threading.Event = field(default_factory=threading.Event)
    beat_at: float = field(default_factory=time.monotonic)


class Stopped(BaseException):
    """The execution was stopped. Not an Exception, so that no Retry or Catch sees it."""


running_execution: contextvars.ContextVar[RunningExecution | None] = contextvars.ContextVar(
    "running_execution", default=None
)
waits: dict[str, Wait] = {}
tokens_over: dict[str, str | None] = {}
"""The tokens of tasks that are over, with the executions to which they belonged."""


def apply() -> None:
    """Corrects Step Functions."""
    follow_executions()
    resolve_limits_at_run_time()
    give_each_attempt_a_token()
    wait_for_callbacks()
    refuse_tokens_of_tasks_that_are_over()
    end_waits_of_stopped_executions()
    accept_repeated_starts()
    remember_tracing()
    limit_waits_before_retries()


def limit_waits_before_retries() -> None:
    """AWS waits at most the MaxDelaySeconds of a retrier before a retry; ministack ignores the field.

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """

    @around(stepfunctions, "_find_matching_retrier")
    def find_matching_retrier(
        original: Callable[..., tuple[JsonObject | None, int]], retriers: Any, error: str, counts: Any
    ) -> tuple[JsonObject | None, int]:
        retrier, index = original(retriers, error, counts)
        if retrier is None or "MaxDelaySeconds" not in retrier:
            return retrier, index
        grown = retrier.get("BackoffRate", 2.0) ** counts.get(index, 0)
        seconds = min(retrier.get("IntervalSeconds", 1) * grown, retrier["MaxDelaySeconds"])
        return {**retrier, "IntervalSeconds": seconds, "BackoffRate": 1}, index


def follow_executions() -> None:
    """Tells the other functions here in which execution they run, and when it was stopped."""

    @around(stepfunctions, "_run_execution")
    def run_execution(original: Callable[..., None], arn: str) -> None:
        reset = running_execution.set(RunningExecution(arn))
        try:
            original(arn)
        except Stopped:
            pass
        finally:
            running_execution.reset(reset)


def resolve_limits_at_run_time() -> None:
    """AWS evaluates TimeoutSeconds and HeartbeatSeconds of a task if they are JSONata; ministack does not.

    A Catch of the task also catches errors of these expressions.
    https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html
    """

    @around(stepfunctions, "_execute_task")
    def execute_task(original: Callable[..., Any], state: JsonObject, *arguments: Any) -> Any:
        return original({**state, TEMPLATE: state}, *arguments)

    @around(stepfunctions, "_apply_jsonata_arguments")
    def apply_arguments(
        original: Callable[..., Any], state: JsonObject, raw_input: Any, context: JsonObject | None = None
    ) -> Any:
        arguments = original(state, raw_input, context)
        template = state.get(TEMPLATE, {})
        for limit in LIMITS:
            if isinstance(template.get(limit), str):
                evaluate = stepfunctions._jsonata_state_field
                state[limit] = evaluate(template, limit, "number", raw_input, context)
        return arguments


def give_each_attempt_a_token() -> None:
    """AWS gives each attempt of a task its own token; ministack keeps the first token for all retries.

    AWS's tokens are long, and a record holds one, so the length counts in what DynamoDB bills.
    https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-wait-token
    """

    @around(stepfunctions, "_apply_jsonata_arguments")
    def apply_arguments(
        original: Callable[..., Any], state: JsonObject, raw_input: Any, context: JsonObject | None = None
    ) -> Any:
        if context is not None and WAITS_FOR_TOKEN in state.get("Resource", ""):
            context["Task"] = {"Token": base64.b64encode(secrets.token_bytes(BYTES_OF_A_TOKEN)).decode()}
        return original(state, raw_input, context)


def wait_for_callbacks() -> None:
    """Waits for a callback as AWS does.

    AWS fails the task with States.HeartbeatTimeout after HeartbeatSeconds without a heartbeat. Each heartbeat
    restarts them. TimeoutSeconds count from the task's start. An error of the invoked function fails the task
    at once. Ministack has no heartbeats, counts from the function's end, and still waits after its error.
    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """

    @around(stepfunctions, "_invoke_with_callback")
    def invoke_with_callback(
        original: Callable[..., Any], resource: str, arguments: Any, token: str, state: JsonObject
    ) -> Any:
        if "states:::lambda:invoke" not in resource:
            return original(resource, arguments, token, state)
        running = running_execution.get()
        wait = Wait(running.arn if running else None)
        task: JsonObject = {"event": wait.over, "result": None, "error": None, "heartbeat": None}
        waits[token] = wait
        stepfunctions._task_tokens[token] = task
        try:
            invoke = functools.partial(contextvars.copy_context().run, invoke_function, arguments, task)
            threading.Thread(target=invoke, daemon=True).start()
            watch(wait, state)
        finally:
            tokens_over[token] = wait.execution_arn
            del waits[token]
            stepfunctions._task_tokens.pop(token, None)
        if running and running.record().get("status") != "RUNNING":
            raise Stopped
        if task["error"]:
            raise stepfunctions._ExecutionError(task["error"]["Error"], task["error"]["Cause"])
        return json.loads(task["result"])


def invoke_function(arguments: JsonObject, task: JsonObject) -> None:
    """Invokes the function of a waiting task. If it fails before a callback arrives, the task fails."""
    try:
        reference = stepfunctions._resolve_lambda_function_ref(arguments["FunctionName"], optimized=True)
        stepfunctions._call_lambda(reference, arguments.get("Payload", {}))
    except stepfunctions._ExecutionError as error:
        if not task["event"].is_set():
            task["error"] = {"Error": error.error, "Cause": error.cause}
            task["event"].set()


def watch(wait: Wait, state: JsonObject) -> None:
    """Returns when the task was answered or stopped. Raises when one of its limits has passed."""
    started = wait.beat_at
    timeout, heartbeat = (state.get(limit) for limit in LIMITS)
    while True:
        deadlines = [(started + (AT_MOST if timeout is None else timeout), "States.Timeout")]
        if heartbeat is not None:
            deadlines.append((wait.beat_at + heartbeat, "States.HeartbeatTimeout"))
        deadline, error = min(deadlines)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise stepfunctions._ExecutionError(error, "")
        if wait.over.wait(remaining):
            return


def refuse_tokens_of_tasks_that_are_over() -> None:
    """AWS answers TaskTimedOut for the token of a task that is over, and InvalidToken for an invalid token.

    Ministack answers TaskDoesNotExist for both, and lets a second answer replace the first.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html
    """

    def refusal(token: str) -> Response | None:
        task = stepfunctions._task_tokens.get(token)
        if task is not None and not task["event"].is_set():
            return None
        if task is not None or token in tokens_over:
            message = "Task Timed Out: 'Provided task does not exist anymore'"
            return _response(error_response_json("TaskTimedOut", message, 400))
        return _response(error_response_json("InvalidToken", "Invalid Token: 'Invalid token'", 400))

    for action in ("_send_task_success", "_send_task_failure", "_send_task_heartbeat"):

        @around(stepfunctions, action)
        def send_task(original: Callable[..., Response], data: JsonObject) -> Response:
            token = data.get("taskToken", "")
            wait = waits.get(token)
            if wait:
                wait.beat_at = time.monotonic()
            return refusal(token) or original(data)


def machine_of_task(token: str) -> str | None:
    """The state machine of a task token. The task may be waiting or over."""
    execution_arn = waits[token].execution_arn if token in waits else tokens_over.get(token)
    if execution_arn is None:
        return None
    return execution_arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]


def end_waits_of_stopped_executions() -> None:
    """On AWS, the task of a stopped execution is over at once; in ministack, it still waits and fails later.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
    """

    @around(stepfunctions, "_stop_execution")
    def stop_execution(original: Callable[..., Response], data: JsonObject) -> Response:
        response = original(data)
        for wait in list(waits.values()):
            if response[0] == 200 and wait.execution_arn == data.get("executionArn"):
                wait.over.set()
        return response

    @around(stepfunctions, "_apply_jsonata_arguments")
    def apply_arguments(original: Callable[..., Any], *arguments: Any) -> Any:
        running = running_execution.get()
        if running and running.record().get("status") in ("ABORTED", "TIMED_OUT"):
            raise Stopped
        return original(*arguments)

    @around(stepfunctions, "_fail_execution")
    def fail_execution(original: Callable[..., None], execution: JsonObject, *arguments: Any) -> None:
        if execution["status"] == "RUNNING":
            original(execution, *arguments)


def accept_repeated_starts() -> None:
    """AWS accepts a start with the name and input of an execution that still runs; ministack refuses it.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    """

    @around(stepfunctions, "_start_execution")
    def start_execution(original: Callable[..., Response], data: JsonObject) -> Response:
        machine = stepfunctions._resolve_state_machine_arn(data.get("stateMachineArn", ""))
        if machine and data.get("name"):
            arn = f"{machine.replace(':stateMachine:', ':execution:')}:{data['name']}"
            known = stepfunctions._executions.get(arn)
            if known and known["status"] == "RUNNING" and known["input"] == data.get("input", "{}"):
                return _response(json_response({"executionArn": arn, "startDate": known["startDate"]}))
        return original(data)


def remember_tracing() -> None:
    """AWS describes a state machine with its tracingConfiguration; ministack does not store it.

    Without it, Terraform's provider 3.39 panics at the second apply.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeStateMachine.html
    """

    @around(stepfunctions, "_create_state_machine")
    def create(original: Callable[..., Response], data: JsonObject) -> Response:
        response = original(data)
        if response[0] == 200:
            machine = stepfunctions._state_machines[json.loads(response[2])["stateMachineArn"]]
            machine.setdefault("tracingConfiguration", data.get("tracingConfiguration") or {"enabled": False})
        return response

    @around(stepfunctions, "_update_state_machine")
    def update(original: Callable[..., Response], data: JsonObject) -> Response:
        response = original(data)
        if response[0] == 200 and "tracingConfiguration" in data:
            stepfunctions._state_machines[data["stateMachineArn"]]["tracingConfiguration"] = data[
                "tracingConfiguration"
            ]
        return response


def _response(response: Any) -> Response:
    """Gives a response of the emulator's helpers its type."""
    status, headers, body = response
    return status, headers, body
