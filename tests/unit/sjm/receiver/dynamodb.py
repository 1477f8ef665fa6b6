"""A stand-in of the two DynamoDB calls that are used. test_seen_dynamodb.py holds it against moto."""

import threading
from typing import Any


class Exceptions:
    """The exceptions of a client."""

    class ConditionalCheckFailedException(Exception):
        """The condition does not hold."""


class Table:
    """A table with the key ``id``."""

    exceptions = Exceptions

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.items: dict[str, dict[str, Any]] = {}

    def put_item(self, Item: dict[str, Any], ExpressionAttributeValues: dict[str, Any], **_: Any) -> None:
        """Puts an item that is not there, or has the same claim."""
        with self._lock:
            found = self.items.get(Item["id"]["S"])
            if found is not None and found["claim"] != ExpressionAttributeValues[":claim"]:
                raise self.exceptions.ConditionalCheckFailedException
            self.items[Item["id"]["S"]] = Item

    def delete_item(
        self, Key: dict[str, Any], ExpressionAttributeValues: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Deletes an item, if it has this claim."""
        with self._lock:
            found = self.items.get(Key["id"]["S"], {})
            if ExpressionAttributeValues and found.get("claim") != ExpressionAttributeValues[":claim"]:
                raise self.exceptions.ConditionalCheckFailedException
            self.items.pop(Key["id"]["S"], None)
