"""The state machine that runs one execution of one job."""

import json
from typing import Any

from jobmanager.aws import step_functions
from jobmanager.settings import setting

_PASSED = ("service_name", "job_name", "job_guid", "execution_id", "schedule", "scheduled_time")


def start_machine(due: dict[str, Any]) -> bool:
    """Starts the Step Functions execution of that execution_id; False if it was started before.

    ``due`` names the execution by its service_name, job_name, job_guid, execution_id, schedule and
    scheduled_time; nothing else of it is passed on, as Step Functions' history keeps what is.
    """
    client = step_functions()
    try:
        client.start_execution(
            stateMachineArn=setting("STATE_MACHINE_ARN"),
            name=due["execution_id"],
            input=json.dumps({name: due[name] for name in _PASSED}),
        )
    except client.exceptions.ExecutionAlreadyExists:
        return False
    return True
