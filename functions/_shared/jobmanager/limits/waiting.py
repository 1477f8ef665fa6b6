"""Has executions started that wait, by start_waiting_executions.

Only start_waiting_executions needs the rights to start them. The functions that change a job or a limit, or
end an execution, invoke it asynchronously. It reads again who waits for what, so a repeated invocation starts
nothing more.
"""

from collections.abc import Mapping

from jobmanager.aws.invocations import invoke_later
from jobmanager.core.settings import setting


def ask_for_starts(service_name: str, limit_name: str) -> None:
    """Asks for the executions that wait for a slot of a limit. Safe to repeat."""
    ask_for_turns({"service_name": service_name, "limit_name": limit_name})


def ask_for_turns(asked: Mapping[str, str]) -> None:
    """Invokes start_waiting_executions, see :func:`jobmanager.executions.turn.give_turns`. Safe to repeat."""
    invoke_later(setting("START_WAITING_EXECUTIONS_ARN"), asked)
