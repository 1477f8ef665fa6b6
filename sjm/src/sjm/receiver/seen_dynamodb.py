"""Remembers attempts in a DynamoDB table."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class DynamoDBSeen:
    """Remembers attempts in a DynamoDB table: for a service on several machines, and in Lambda.

    The table has a partition key ``key``, a string, and no sort key. Switch TTL on for ``ttl_attribute``: an
    item expires after ``keep_seconds``, by default 15 days, longer than any queue keeps a message. The
    service's role needs ``dynamodb:PutItem`` and ``dynamodb:DeleteItem``. Each claim costs one write.

    Needs boto3, which Lambda has: ``serverless-job-manager[dynamodb]``. ``client`` is a client of yours.
    """

    def __init__(
        self,
        table: str,
        *,
        key: str = "id",
        ttl_attribute: str = "expires_at",
        keep_seconds: int = 15 * 86_400,
        client: Any = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if keep_seconds <= 0:
            raise ValueError("keep_seconds: expected more than 0")
        self._table = table
        self._key = key
        self._ttl_attribute = ttl_attribute
        self._keep_seconds = keep_seconds
        self._client = client
        self._now = now
        self._connecting = threading.Lock()

    def claim(self, execution_id: str, attempt: int) -> bool:
        """Whether the caller is the first to claim this attempt."""
        import uuid

        client = self._connected()
        claim = {"S": uuid.uuid4().hex}
        try:
            client.put_item(
                TableName=self._table,
                Item={
                    **self._id(execution_id, attempt),
                    "claim": claim,
                    self._ttl_attribute: {"N": str(int(self._now()) + self._keep_seconds)},
                },
                # boto3 repeats a write whose answer is lost. The repeated write finds the item of the first.
                ConditionExpression="attribute_not_exists(#key) OR #claim = :claim",
                ExpressionAttributeNames={"#key": self._key, "#claim": "claim"},
                ExpressionAttributeValues={":claim": claim},
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        except Exception:
            self._withdraw(execution_id, attempt, claim)
            raise
        return True

    def forget(self, execution_id: str, attempt: int) -> None:
        """Gives up a claim."""
        self._connected().delete_item(TableName=self._table, Key=self._id(execution_id, attempt))

    def _withdraw(self, execution_id: str, attempt: int, claim: dict[str, str]) -> None:
        """Deletes a claim that was perhaps written, because the notification is going to be repeated."""
        import contextlib

        with contextlib.suppress(Exception):
            self._connected().delete_item(
                TableName=self._table,
                Key=self._id(execution_id, attempt),
                ConditionExpression="#claim = :claim",
                ExpressionAttributeNames={"#claim": "claim"},
                ExpressionAttributeValues={":claim": claim},
            )

    def _id(self, execution_id: str, attempt: int) -> dict[str, dict[str, str]]:
        return {self._key: {"S": f"{execution_id}#{attempt}"}}

    def _connected(self) -> Any:
        # Threads may use a client at once, but not make one.
        with self._connecting:
            if self._client is None:
                self._client = _new_client()
            return self._client


def _new_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ImportError(
            'DynamoDBSeen needs boto3: pip install "serverless-job-manager[dynamodb]"'
        ) from None
    # The webhook must be answered within 10 seconds.
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    # A session of its own: the service may use boto3's default one in another thread.
    return boto3.session.Session().client("dynamodb", config=config)
