"""Starts and stops the Step Functions execution of an execution, and looks whether it runs.

A Standard machine accepts a name only once. An Express machine accepts it again, so there the insert of the
record decides which machine execution runs the execution. An Express machine execution cannot be stopped or
described: https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobmanager.aws.clients import step_functions, untraced_step_functions
from jobmanager.core.mappings import picked
from jobmanager.core.settings import setting
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.moved import machine_names
from jobmanager.executions.record import Execution, Start, is_express
from jobmanager.runtime.logs import logger

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def start_machine(due: Start, has_own_trace: bool = False, trace_header: str | None = None) -> bool:
    """Starts the Step Functions execution named execution_id; False if it was started before.

    Starting a running execution again with the same input counts as a start, because Step Functions cannot
    tell the two apart. So does starting an Express one again.

    Only the fields of Start are passed on, because Step Functions' history stores all input. The execution
    continues the caller's trace, unless it ``has_own_trace``, or continues that of a ``trace_header``.
    """
    if trace_header is not None:
        # The caller's own header must not contradict it, so the client sends none.
        given = {"traceHeader": trace_header}
        return _start(
            untraced_step_functions(), due["execution_id"], picked(due, Start.__annotations__), given
        )
    client = untraced_step_functions() if has_own_trace else step_functions()
    return _start(client, due["execution_id"], picked(due, Start.__annotations__))


def start_machine_of(record: Execution) -> None:
    """Starts the Step Functions execution of a record, if it was not started before.

    An Express one that takes over from a machine execution says from which. So of several, one goes on.
    """
    passed = machine_input(record)
    if is_express(record):
        passed["workflow_type"] = "express"
        if "machine_execution" in record:
            passed["takes_over"] = record["machine_execution"]
    name = machine_names(record)[0]
    if "waiting_since_ms" in record and "trace_header" in record:
        # It goes on in the trace in which it began to wait.
        _start(untraced_step_functions(), name, passed, {"traceHeader": record["trace_header"]})
    else:
        _start(step_functions(), name, passed)


def _start(
    client: "SFNClient", name: str, machine_input: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> bool:
    is_of_express = machine_input.get("workflow_type") == "express"
    arn = setting("EXPRESS_STATE_MACHINE_ARN") if is_of_express else setting("STATE_MACHINE_ARN")
    try:
        client.start_execution(
            stateMachineArn=arn, name=name, input=json.dumps(machine_input), **(given or {})
        )
    except client.exceptions.ExecutionAlreadyExists:
        return False
    return True


def stop_machine(record: Execution, error: str, cause: str) -> None:
    """Stops the Step Functions execution of a Standard execution, if it is running. Safe to repeat.

    It may never have started, may have ended, or may be older than the 90 days of Step Functions' history:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
    """
    client = step_functions()
    for name in machine_names(record):
        try:
            client.stop_execution(executionArn=_arn(name), error=error, cause=cause)
            return
        except (client.exceptions.ExecutionDoesNotExist, client.exceptions.ValidationException) as nothing:
            logger.info("no Step Functions execution was running", extra={"error": str(nothing)})


def is_machine_running(record: Execution) -> bool:
    """Whether the Step Functions execution of a Standard execution runs.

    The answer may be some seconds old:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    client = step_functions()
    for name in machine_names(record):
        try:
            return client.describe_execution(executionArn=_arn(name))["status"] == "RUNNING"
        except client.exceptions.ExecutionDoesNotExist:
            continue
    return False


def _arn(name: str) -> str:
    machine = setting("STATE_MACHINE_ARN").replace(":stateMachine:", ":execution:", 1)
    return f"{machine}:{name}"
