"""POST …/executions/{execution_id}/rerun: runs a job again with the payload that it had then."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import refuse_unknown
from jobmanager.api.http import answer, api_handler, caller_arn, header, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.executions import store as executions
from jobmanager.executions.by_hand import start_by_hand
from jobmanager.runtime.step import step


def rerun(
    service_name: str,
    job_name: str,
    execution_id: str,
    started_by: str,
    idempotency_key: str | None,
    at_ms: int,
) -> executions.Execution:
    """Starts the execution, and links the two: ``rerun_of`` on the new one, ``reruns`` on the old one.

    Raises NotFound or Conflict, as starting by hand does.
    """
    old = executions.read(service_name, job_name, execution_id)
    by_hand = {"started_by": started_by, "rerun_of": execution_id, "payload": old.get("payload", "")}
    new = start_by_hand(service_name, job_name, by_hand, idempotency_key, at_ms)
    executions.update_if(
        execution_id,
        "SET reruns = list_append(if_not_exists(reruns, :none), :new)",
        "attribute_exists(execution_id) AND NOT contains(reruns, :id)",
        {":none": [], ":new": [new["execution_id"]], ":id": new["execution_id"]},
    )
    return new


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 201 with the new execution; else 400, 404 or 409."""
    refuse_unknown(optional_json_body(event), ())
    record = rerun(
        path_parameter(event, "service_name"),
        path_parameter(event, "job_name"),
        path_parameter(event, "execution_id"),
        caller_arn(event),
        header(event, "idempotency-key"),
        now_ms(),
    )
    return answer(201, executions.execution_view(record))
