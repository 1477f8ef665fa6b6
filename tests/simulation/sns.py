"""SNS: the topic of notifications, which the service receives, and the topic of events."""

import json
from collections.abc import Callable
from typing import Any


class Topics:
    """Takes messages."""

    def __init__(self, notified: Callable[[dict[str, Any]], None]) -> None:
        self._notified = notified
        self.events: list[dict[str, Any]] = []

    def publish(self, TopicArn: str, Message: str, MessageAttributes: Any) -> dict[str, Any]:
        """Takes a message."""
        if TopicArn.endswith(":notifications"):
            self._notified(json.loads(Message))
        else:
            self.events.append(json.loads(Message))
        return {"MessageId": "message"}
