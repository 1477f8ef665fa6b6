"""The state machine that runs one execution of one job."""

import json
from typing import Any

from jobmanager.aws.clients import step_functions, step_functions_apart
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger

_PASSED = ("service_name", "job_name", "job_guid", "execution_id", "schedule", "scheduled_time")


def start_machine(due: dict[str, Any], has_own_trace: bool = False) -> bool:
    """Starts the Step Functions execution of that execution_id; False if it was started before.

    ``due`` names the execution by its service_name, job_name, job_guid, execution_id, schedule and
    scheduled_time; nothing else of it is passed on, as Step Functions' history keeps what is.
    It goes on in the trace of who starts it, unless it is to have its own.
    """
    client = step_functions_apart() if has_own_trace else step_functions()
    try:
        client.start_execution(
            stateMachineArn=setting("STATE_MACHINE_ARN"),
            name=due["execution_id"],
            input=json.dumps({name: due[name] for name in _PASSED}),
        )
    except client.exceptions.ExecutionAlreadyExists:
        return False
    return True


def stop_machine(execution_id: str, error: str, cause: str) -> None:
    """Stops the Step Functions execution of that execution_id, if there is one that runs; repeatable.

    It may never have been started, be over, or be older than the 90 days for which Step Functions keeps it:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
    """
    client = step_functions()
    machine = setting("STATE_MACHINE_ARN").replace(":stateMachine:", ":execution:", 1)
    try:
        client.stop_execution(executionArn=f"{machine}:{execution_id}", error=error, cause=cause)
    except (client.exceptions.ExecutionDoesNotExist, client.exceptions.ValidationException) as nothing:
        logger.info("there is no machine to stop", extra={"error": str(nothing)})
