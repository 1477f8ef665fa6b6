"""Has the executions started that wait for a slot of a limit.

Only start_waiting_executions needs the rights to start them. The functions that change a limit invoke it
asynchronously. It reads the limit again, so a repeated invocation starts nothing more.
"""

import json

from jobmanager.aws.clients import lambdas
from jobmanager.core.settings import setting


def ask_for_starts(service_name: str, limit_name: str) -> None:
    """Invokes start_waiting_executions for a limit. Safe to repeat."""
    asked = {"service_name": service_name, "limit_name": limit_name}
    lambdas().invoke(
        FunctionName=setting("START_WAITING_EXECUTIONS_ARN"),
        InvocationType="Event",
        Payload=json.dumps(asked).encode(),
    )
