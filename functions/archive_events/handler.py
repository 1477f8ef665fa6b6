"""Writes events from their queue to the archive."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.delivery.archive import archive
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Archives the messages that Lambda has read from the queue; see :func:`archive`."""
    bodies = [record["body"] for record in event["Records"]]
    records = archive(bodies)
    logger.info("events archived", extra={"events": len(bodies), "records": records})
