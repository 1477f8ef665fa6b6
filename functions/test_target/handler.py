"""Tests the target of a job that is about to be saved.

Safe to repeat: the service receives one more test notification.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.delivery.trial import check_target
from jobmanager.runtime.step import returns_refusals, step


@step
@returns_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{service_name, job_name, job}``, the job in canonical form; see :func:`check_target`."""
    check_target(event["service_name"], event["job_name"], event["job"])
    return {}
