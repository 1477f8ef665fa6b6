"""Makes the rules match the jobs, and finds missed ticks: on a rule of its own, and on demand."""

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
    """Returns what :func:`reconcile` returns; to POST /schedules/reconcile as an answer with 200.

    Raises ReconcileIncomplete if a rule invoked it, so that Lambda tries again, and keeps it as a dead letter
    in the end.
    """
    if "requestContext" in event:
        return _on_demand(event, context)
    report = reconcile(now_ms(), context.get_remaining_time_in_millis)
    if not report["complete"]:
        raise ReconcileIncomplete("some rules were not checked, or not repaired: reconcile again")
    return report
