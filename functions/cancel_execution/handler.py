"""POST …/executions/{execution_id}/cancel: ends an execution that runs.

The outcome is recorded first, so later callbacks get 410; then the waiting task is told, so that the state
machine frees the lock and tells the subscribers. Where no task waits, because the service is not notified
yet, the next attempt is an hour away or the machine is gone, the machine is stopped, and what it would have
done is done here. Safe to repeat: each part is done again; what is left undone, the machine or
reap_executions does.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import reason, refuse_unknown
from jobmanager.api.http import answer, api_handler, caller_arn, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import Conflict
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.machine import stop_machine
from jobmanager.executions.outcome import error_and_cause, record_outcome, signal
from jobmanager.executions.settle import settle
from jobmanager.runtime.step import step


def cancel(execution: executions.Execution, cause: str, at_ms: int) -> executions.Execution:
    """Answers the record as it is then; raises Conflict if the execution has ended otherwise."""
    ended = record_outcome(execution, "cancelled", {"cause": cause}, at_ms)
    if ended is None:
        ended = executions.find(execution["execution_id"]) or execution
        if ended["status"] != "cancelled":
            raise Conflict(
                f"The execution has ended as {ended['status']}; there is nothing to cancel.",
                execution_status=ended["status"],
            )
    if "settled_at_ms" in ended:
        return ended
    waits = "task_token" in ended and not attempts.is_waited_for(ended)
    if waits and signal(ended) == "sent":
        return ended
    stop_machine(ended["execution_id"], *error_and_cause(ended))
    return settle(ended, at_ms)


def cause_of(body: dict[str, Any], cancelled_by: str) -> str:
    """Who cancelled it and why, as the record keeps it; raises BadRequest."""
    refuse_unknown(body, ("reason",))
    return f"cancelled by {cancelled_by}: {reason(body.get('reason', 'no reason given'))}"


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with the execution; else 400, 404 or 409."""
    names = (path_parameter(event, name) for name in ("service_name", "job_name", "execution_id"))
    cause = cause_of(optional_json_body(event), caller_arn(event))
    return answer(200, executions.execution_view(cancel(executions.read(*names), cause, now_ms())))
