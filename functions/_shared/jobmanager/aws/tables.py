"""The few ways in which the tables are read and written, over plain Python values."""

import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_RESERVED_WORDS = ("status", "state", "error", "version", "catalog")


def get(table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """An item as it is now (consistent read); None if there is none."""
    answer = dynamodb().get_item(TableName=table, Key=to_item(key), ConsistentRead=True)
    return from_item(answer["Item"]) if "Item" in answer else None


def get_many(table: str, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items with these keys (100 at most), in any order, without those that do not exist."""
    found: list[dict[str, Any]] = []
    pending: Any = [to_item(key) for key in keys]
    pauses = iter((0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6))
    while pending:
        time.sleep(next(pauses, 3.2))
        answer = dynamodb().batch_get_item(RequestItems={table: {"Keys": pending}})
        found += map(from_item, answer["Responses"].get(table, []))
        pending = answer["UnprocessedKeys"][table]["Keys"] if answer.get("UnprocessedKeys") else None
    return found


def update_if(
    table: str, key: Mapping[str, Any], update: str, condition: str, values: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Updates an item and answers it as it is then; None if the condition does not hold.

    ``#status`` and its like stand for names that are reserved words of DynamoDB, or may become such.
    """
    reserved = {f"#{name}": name for name in _RESERVED_WORDS if f"#{name}" in update + condition}
    names: dict[str, Any] = {"ExpressionAttributeNames": reserved} if reserved else {}
    for longest_pause in (0.05, 0.1, 0.2, 0.4, None):
        try:
            answer = dynamodb().update_item(
                TableName=table,
                Key=to_item(key),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeValues=to_item(values),
                ReturnValues="ALL_NEW",
                **names,
            )
        except ClientError as error:
            if condition_failed(error):
                return None
            # A transaction is at the item just now. The SDK does not try this again.
            if error.response["Error"]["Code"] != "TransactionConflictException" or longest_pause is None:
                raise
            time.sleep(random.uniform(0, longest_pause))
        else:
            return from_item(answer["Attributes"])
    raise AssertionError("the last attempt answers or raises")


def insert(table: str, item: Mapping[str, Any], key_name: str, now_seconds: int | None = None) -> bool:
    """Inserts an item; False if there is one.

    With ``now_seconds``, an item whose ``expires_at`` has passed does not count: DynamoDB removes it late.
    """
    request: Any = {
        "TableName": table,
        "Item": to_item(item),
        "ConditionExpression": f"attribute_not_exists({key_name})",
    }
    if now_seconds is not None:
        request["ConditionExpression"] += " OR expires_at <= :now"
        request["ExpressionAttributeValues"] = to_item({":now": now_seconds})
    try:
        dynamodb().put_item(**request)
    except ClientError as error:
        if condition_failed(error):
            return False
        raise
    return True


def transact(changes: "list[TransactWriteItemTypeDef]") -> bool:
    """Writes all of the changes; False, and none of them, if another writer was first."""
    try:
        dynamodb().transact_write_items(TransactItems=changes)
    except ClientError as error:
        if _transaction_lost(error):
            return False
        raise
    return True


def query_pages(**request: Any) -> Iterator[Any]:
    """The answers to a Query, page by page as they are asked for."""
    while True:
        answer = dynamodb().query(**request)
        yield answer
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def condition_failed(error: ClientError) -> bool:
    """Whether a write was refused because its condition did not hold."""
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _transaction_lost(error: ClientError) -> bool:
    """Whether a transaction was cancelled because another writer was first."""
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        return False
    codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return bool(codes & {"ConditionalCheckFailed", "TransactionConflict"})
