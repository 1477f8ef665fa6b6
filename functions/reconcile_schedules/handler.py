"""Makes the rules match the jobs, and finds missed ticks. A rule of the stage invokes it, and the API."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import ReconcileIncomplete
from jobmanager.runtime.step import step
from jobmanager.schedules.reconcile import reconcile


@api_handler
def _on_demand(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return answer(200, reconcile(now_ms(), context.get_remaining_time_in_millis))


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns what :func:`reconcile` returns; for POST /schedules/reconcile in a response with 200.

    If the rule invoked it, and something is left to do, it raises ReconcileIncomplete. Lambda then retries,
    and finally sends a dead letter.
    """
    if "requestContext" in event:
        return _on_demand(event, context)
    report = reconcile(now_ms(), context.get_remaining_time_in_millis)
    if not report["complete"]:
        raise ReconcileIncomplete("some rules were not checked or not repaired: reconcile again")
    return report
