"""Makes the triggers match the jobs, finds missed ticks, and completes jobs that never fire again.

A rule of the stage invokes it, and the API.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import ReconcileIncomplete
from jobmanager.executions.completion import complete_jobs
from jobmanager.runtime.step import step
from jobmanager.schedules.reconcile import reconcile


@api_handler
def _on_demand(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return answer(200, _reconcile(context))


def _reconcile(context: LambdaContext) -> dict[str, Any]:
    """Returns what :func:`reconcile` returns, with ``completed``: how many jobs were completed.

    Jobs that are left to be completed by the next run do not make a run incomplete; those that failed do.
    """
    at_ms, remaining_ms = now_ms(), context.get_remaining_time_in_millis
    report = reconcile(at_ms, remaining_ms)
    done = complete_jobs(at_ms, remaining_ms)
    return {**report, "completed": done.completed, "complete": report["complete"] and not done.failed}


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns what :func:`_reconcile` returns; for POST /schedules/reconcile in a response with 200.

    If the rule invoked it, and something is left to do, it raises ReconcileIncomplete. Lambda then retries,
    and finally sends a dead letter.
    """
    if "requestContext" in event:
        return _on_demand(event, context)
    report = _reconcile(context)
    if not report["complete"]:
        raise ReconcileIncomplete("some triggers were not checked or not repaired: reconcile again")
    return report
