"""Replays the events of a time range to a target."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.delivery.replay import replay
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Replays the messages that Lambda has read from the queue; see :func:`replay`."""
    bodies = [record["body"] for record in event["Records"]]
    sent = replay(bodies)
    logger.info("events replayed", extra={"read": len(bodies), "sent": sent})
