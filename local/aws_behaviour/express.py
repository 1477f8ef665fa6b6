"""Step Functions: executions of Express machines. Ministack runs them as it runs those of Standard machines.

The exact errors and lines of the log, which AWS's pages do not show, were recorded from AWS in
https://github.com/localstack/localstack/tree/master/tests/aws/services/stepfunctions/v2
(test_sfn_api_express, express and logs).
"""

import contextvars
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, error_response_json, json_response, now_iso
from ministack.services import cloudwatch_logs, stepfunctions

from local.aws_behaviour.step_functions import JsonObject, Response
from local.aws_behaviour.wrapping import around

LONGEST_SECONDS = 300
NOT_FOR_EXPRESS = re.compile(r"\.(sync|waitForTaskToken)(:\d)?$")
ON_EXECUTIONS = (
    "_describe_execution",
    "_describe_state_machine_for_execution",
    "_get_execution_history",
    "_stop_execution",
)
LOGGED_AT_FATAL = {"ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"}
LOGGED_AT_ERROR = LOGGED_AT_FATAL | {
    "FailStateEntered",
    "LambdaFunctionFailed",
    "LambdaFunctionScheduleFailed",
    "LambdaFunctionStartFailed",
    "LambdaFunctionTimedOut",
    "MapIterationAborted",
    "MapIterationFailed",
    "MapStateAborted",
    "MapStateFailed",
    "ParallelStateAborted",
    "ParallelStateFailed",
    "TaskFailed",
    "TaskStartFailed",
    "TaskStateAborted",
    "TaskSubmitFailed",
    "TaskTimedOut",
    "WaitStateAborted",
}
STREAM = secrets.token_hex(4)

own_record: contextvars.ContextVar[JsonObject | None] = contextvars.ContextVar("own_record", default=None)
"""The record of the Express execution that runs in this context."""


class Executions(AccountRegionScopedDict):  # type: ignore[misc]
    """The emulator's records. That of an Express execution is not among them: only its own run finds it."""

    __slots__ = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The record of an execution."""
        own = own_record.get()
        return own if own is not None and own["executionArn"] == key else super().get(key, default)


def apply() -> None:
    """Corrects Express machines. Call this after Step Functions as a whole was corrected."""
    stepfunctions._executions = Executions()
    start_under_any_name()
    return_the_end_of_synchronous_executions()
    refuse_calls_about_executions()
    refuse_what_waits()
    log_events()


def start_under_any_name() -> None:
    """AWS starts another Express execution under a name that is taken; ministack refuses that.

    It has the same name, and an ARN of its own, which is also its `$states.context.Execution.Id`. No event of
    EventBridge tells its status.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    https://docs.aws.amazon.com/step-functions/latest/dg/express-at-least-once-execution.html
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
    """

    @around(stepfunctions, "_start_execution")
    def start_execution(original: Callable[..., Response], data: JsonObject) -> Response:
        machine = express_machine(data)
        if machine is None:
            return original(data)
        record = begun(machine, data)
        in_background(lambda: run(machine, record))
        return answer({name: record[name] for name in ("executionArn", "startDate")})


def return_the_end_of_synchronous_executions() -> None:
    """On AWS, synchronous executions under one name do not affect one another; in ministack, they mix.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartSyncExecution.html
    """
    returned = ("executionArn", "stateMachineArn", "name", "startDate", "stopDate", "status", "input")

    @around(stepfunctions, "_start_sync_execution")
    def start_sync_execution(original: Callable[..., Response], data: JsonObject) -> Response:
        machine = express_machine(data)
        if machine is None:
            return original(data)
        record = begun(machine, data)
        run(machine, record)
        ended = ("output",) if record["status"] == "SUCCEEDED" else ("error", "cause")
        return answer({name: record[name] for name in (*returned, *ended) if name in record})


def refuse_calls_about_executions() -> None:
    """AWS knows nothing of an Express execution: it is in the log of its machine only.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html
    """
    for action in ON_EXECUTIONS:

        @around(stepfunctions, action)
        def about_execution(original: Callable[..., Response], data: JsonObject) -> Response:
            if is_express(data):
                return refusal(
                    "InvalidArn", "Invalid Arn: 'Resource type not valid in this context: express'"
                )
            return original(data)

    @around(stepfunctions, "_list_executions")
    def list_executions(original: Callable[..., Response], data: JsonObject) -> Response:
        if express_machine(data):
            message = "This operation is not supported by this type of state machine"
            return refusal("StateMachineTypeNotSupported", message)
        return original(data)


def refuse_what_waits() -> None:
    """AWS refuses an Express machine that waits for a callback, a job or an activity; ministack runs it.

    https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html
    https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
    """

    def refused(data: JsonObject, machine_type: str | None) -> Response | None:
        reason = reason_against(data["definition"]) if "definition" in data else None
        if machine_type != "EXPRESS" or reason is None:
            return None
        message = f"Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: {reason}'"
        return refusal("InvalidDefinition", message)

    @around(stepfunctions, "_create_state_machine")
    def create(original: Callable[..., Response], data: JsonObject) -> Response:
        return refused(data, data.get("type")) or original(data)

    @around(stepfunctions, "_update_state_machine")
    def update(original: Callable[..., Response], data: JsonObject) -> Response:
        machine = stepfunctions._state_machines.get(data.get("stateMachineArn")) or {}
        return refused(data, machine.get("type")) or original(data)


def log_events() -> None:
    """AWS logs the events of an execution that are of the level of its machine; ministack logs none.

    https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html
    https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
    """

    @around(stepfunctions, "_add_event")
    def add_event(
        original: Callable[..., JsonObject],
        execution: JsonObject,
        name: str,
        details: JsonObject | None = None,
    ) -> JsonObject:
        event = original(execution, name, details)
        # What a function returns after its execution timed out is not an event any more.
        if is_express(execution) and (execution["status"] == "RUNNING" or name.startswith("Execution")):
            log(execution, event)
        return event


def express_machine(data: JsonObject) -> JsonObject | None:
    """The Express machine of a call."""
    arn = stepfunctions._resolve_state_machine_arn(data.get("stateMachineArn", ""))
    machine: JsonObject = stepfunctions._state_machines.get(arn) or {}
    return machine if machine.get("type") == "EXPRESS" else None


def is_express(execution: JsonObject) -> bool:
    """Whether this is an Express execution, or a call about one."""
    return str(execution.get("executionArn", "")).split(":")[5:6] == ["express"]


def begun(machine: JsonObject, data: JsonObject) -> JsonObject:
    """The record of a new execution, in the emulator's form."""
    name, started = data.get("name") or str(uuid.uuid4()), now_iso()
    arn = machine["stateMachineArn"].replace(":stateMachine:", ":express:")
    details = {"input": data.get("input", "{}"), "roleArn": machine["roleArn"]}
    event = {"id": 1, "type": "ExecutionStarted", "timestamp": started}
    record = {
        "executionArn": f"{arn}:{name}:{uuid.uuid4()}",
        "stateMachineArn": machine["stateMachineArn"],
        "name": name,
        "status": "RUNNING",
        "startDate": started,
        "stopDate": None,
        "input": data.get("input", "{}"),
        "testCase": "",
        "mockAttempts": {},
        "events": [event | {"executionStartedEventDetails": details}],
        "sync": True,  # the emulator's way to publish no events of EventBridge
    }
    log(record, record["events"][0])
    return record


def run(machine: JsonObject, record: JsonObject) -> None:
    """Runs an execution. Returns when it ends, or when it has run for as long as its machine may.

    AWS ends an Express execution after five minutes, whatever its TimeoutSeconds. Ministack never does.
    https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
    """

    def run_with_own_record() -> None:
        own_record.set(record)
        stepfunctions._run_execution(record["executionArn"])

    running = in_background(run_with_own_record)
    if not is_over(running, seconds_allowed(machine["definition"])) and record["status"] == "RUNNING":
        record.update(status="TIMED_OUT", error="States.Timeout", stopDate=now_iso())
        details = {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
        stepfunctions._add_event(record, "ExecutionTimedOut", details)


def is_over(running: threading.Thread, seconds: float) -> bool:
    """Whether a thread ends within that time."""
    running.join(seconds)
    return not running.is_alive()


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Does something in a thread with a copy of this context."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    thread.start()
    return thread


def seconds_allowed(definition: str) -> float:
    """How long an execution of a machine may run."""
    return float(min(json.loads(definition).get("TimeoutSeconds", LONGEST_SECONDS), LONGEST_SECONDS))


def reason_against(definition: str) -> str | None:
    """Why a definition cannot be that of an Express machine."""
    try:
        found = json.loads(definition)
    except ValueError:
        return None  # the emulator refuses it
    for path, resource in resources(found, ""):
        waits = NOT_FOR_EXPRESS.search(resource)
        if waits:
            return f"Express state machine does not support '.{waits[1]}' service integration at {path}"
        if ":activity:" in resource:
            return f"Express state machine does not support Activity ARN at {path}"
    return None


def resources(machine: JsonObject, path: str) -> Iterator[tuple[str, str]]:
    """The resources of all tasks of a machine, with their paths."""
    for name, state in machine.get("States", {}).items():
        here = f"{path}/States/{name}"
        if "Resource" in state:
            yield f"{here}/Resource", str(state["Resource"])
        inner = {field: state[field] for field in ("Iterator", "ItemProcessor") if field in state}
        inner |= {f"Branches[{number}]": branch for number, branch in enumerate(state.get("Branches", ()))}
        for field, machine_within in inner.items():
            yield from resources(machine_within, f"{here}/{field}")


def log(execution: JsonObject, event: JsonObject) -> None:
    """Logs an event of an execution, if its machine logs such events."""
    machine = stepfunctions._state_machines.get(execution["stateMachineArn"]) or {}
    settings = machine.get("loggingConfiguration") or {}
    level, destinations = settings.get("level", "OFF"), settings.get("destinations")
    details = next((dict(value) for name, value in event.items() if name.endswith("EventDetails")), {})
    name = event["type"]
    if name == "TaskFailed" and details.get("error") == "States.Timeout":
        name = "TaskTimedOut"
    logged = {"ALL": {name}, "ERROR": LOGGED_AT_ERROR, "FATAL": LOGGED_AT_FATAL}
    if not destinations or name not in logged.get(level, ()):
        return
    if "resource" in details:  # arn:aws:states:::lambda:invoke
        details["resourceType"], _, details["resource"] = (
            details["resource"].partition(":::")[2].rpartition(":")
        )
    for data in ("input", "output"):
        if data in details and settings.get("includeExecutionData"):
            details[f"{data}Details"] = {"truncated": False}
        else:
            details.pop(data, None)
    at, number = int(time.time() * 1000), event["id"]
    line = {
        "id": str(number),
        "type": name,
        "details": details,
        "redrive_count": "0",
        "previous_event_id": str(number - 1 if number > 2 else 0),
        "event_timestamp": str(at),
        "execution_arn": execution["executionArn"],
    }
    minute = time.strftime("%Y-%m-%d-%H-%M", time.gmtime())
    where = {
        "logGroupName": destinations[0]["cloudWatchLogsLogGroup"]["logGroupArn"].split(":")[6],
        "logStreamName": f"states/{machine['name']}/{minute}/{STREAM}",
    }
    cloudwatch_logs._create_log_stream(where)
    cloudwatch_logs._put_log_events(where | {"logEvents": [{"timestamp": at, "message": json.dumps(line)}]})


def answer(content: JsonObject) -> Response:
    """A successful response."""
    status, headers, body = json_response(content)
    return status, headers, body


def refusal(code: str, message: str) -> Response:
    """A response with an error."""
    status, headers, body = error_response_json(code, message, 400)
    return status, headers, body
