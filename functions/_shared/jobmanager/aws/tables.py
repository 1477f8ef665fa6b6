"""Reads and writes items of any table as plain Python values."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws.clients import dynamodb
from jobmanager.aws.items import from_item, to_item
from jobmanager.core.retry import tries

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_MAX_TRIES = 5
_RESERVED_WORDS = ("status", "state", "error", "version", "catalog")


def get(table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Reads an item consistently; None if there is none."""
    answer = dynamodb().get_item(TableName=table, Key=to_item(key), ConsistentRead=True)
    return from_item(answer["Item"]) if "Item" in answer else None


def get_many(table: str, keys: list[dict[str, Any]], is_consistent: bool = False) -> list[dict[str, Any]]:
    """Reads the items with these keys (at most 100), in any order; skips keys without an item."""
    found: list[dict[str, Any]] = []
    pending: Any = [to_item(key) for key in keys]
    if not pending:
        return found
    for _ in tries(None, 0.05, 3.2):
        answer = dynamodb().batch_get_item(
            RequestItems={table: {"Keys": pending, "ConsistentRead": is_consistent}}
        )
        found += map(from_item, answer["Responses"].get(table, []))
        if not answer.get("UnprocessedKeys"):
            break
        pending = answer["UnprocessedKeys"][table]["Keys"]
    return found


def update_if(
    table: str, key: Mapping[str, Any], update: str, condition: str, values: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Updates an item and returns it as updated; None if the condition does not hold.

    In ``update`` and ``condition`` write ``#status`` for ``status``, and so for each of _RESERVED_WORDS.
    """
    return _write_if(
        dynamodb().update_item,
        table,
        key,
        condition,
        values,
        UpdateExpression=update,
        ReturnValues="ALL_NEW",
    )


def delete_if(table: str, key: Mapping[str, Any], condition: str, values: Mapping[str, Any]) -> bool:
    """Deletes an item; False if the condition does not hold.

    Write reserved words as for :func:`update_if`.
    """
    return _write_if(dynamodb().delete_item, table, key, condition, values) is not None


def _write_if(
    write: Callable[..., Any],
    table: str,
    key: Mapping[str, Any],
    condition: str,
    values: Mapping[str, Any],
    **options: str,
) -> dict[str, Any] | None:
    """Writes an item on a condition; returns the answer's attributes if any, or None if it does not hold."""
    names = _reserved_names(condition + options.get("UpdateExpression", ""))
    for number in tries(_MAX_TRIES, 0.05):
        try:
            answer = write(
                TableName=table,
                Key=to_item(key),
                ConditionExpression=condition,
                ExpressionAttributeValues=to_item(values),
                **options,
                **names,
            )
        except ClientError as error:
            if condition_failed(error):
                return None
            # Another transaction holds the item. The SDK does not retry this.
            is_conflict = error.response["Error"]["Code"] == "TransactionConflictException"
            if not is_conflict or number + 1 == _MAX_TRIES:
                raise
        else:
            return from_item(answer.get("Attributes", {}))
    raise AssertionError("the last try returns or raises")


def _reserved_names(expressions: str) -> dict[str, Any]:
    """Returns the argument that says what ``#status`` and the like in these expressions mean."""
    reserved = {f"#{name}": name for name in _RESERVED_WORDS if f"#{name}" in expressions}
    return {"ExpressionAttributeNames": reserved} if reserved else {}


def insert(table: str, item: Mapping[str, Any], key_name: str, now_seconds: int | None = None) -> bool:
    """Inserts an item; False if one with that key exists.

    With ``now_seconds`` an expired item is replaced, because DynamoDB deletes expired items late.
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


def put(table: str, item: Mapping[str, Any]) -> None:
    """Writes an item, whether or not one with its key exists."""
    dynamodb().put_item(TableName=table, Item=to_item(item))


def update_change(
    table: str, key: Mapping[str, Any], update: str, condition: str, values: Mapping[str, Any]
) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that updates an item; ``condition`` may be empty.

    Write reserved words as for :func:`update_if`.
    """
    change: Any = {
        "TableName": table,
        "Key": to_item(key),
        "UpdateExpression": update,
        "ExpressionAttributeValues": to_item(values),
        **_reserved_names(update + condition),
    }
    if condition:
        change["ConditionExpression"] = condition
    return {"Update": change}


def put_change(
    table: str, item: Mapping[str, Any], condition: str, values: Mapping[str, Any] | None = None
) -> "TransactWriteItemTypeDef":
    """Builds the part of a transaction that writes a whole item.

    Write reserved words as for :func:`update_if`.
    """
    change: Any = {"TableName": table, "Item": to_item(item), "ConditionExpression": condition}
    change |= _reserved_names(condition)
    if values:
        change["ExpressionAttributeValues"] = to_item(values)
    return {"Put": change}


def transact(changes: "list[TransactWriteItemTypeDef]") -> bool:
    """Writes all changes in one transaction. If another writer was first, writes none and returns False."""
    try:
        dynamodb().transact_write_items(TransactItems=changes)
    except ClientError as error:
        if _transaction_lost(error):
            return False
        raise
    return True


def query_pages(**request: Any) -> Iterator[Any]:
    """Yields the pages of a Query; fetches each page when the caller asks for it."""
    while True:
        answer = dynamodb().query(**request)
        yield answer
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def condition_failed(error: ClientError) -> bool:
    """Whether DynamoDB refused a write because its condition did not hold."""
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _transaction_lost(error: ClientError) -> bool:
    """Whether DynamoDB cancelled a transaction because another writer was first."""
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        return False
    codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return bool(codes & {"ConditionalCheckFailed", "TransactionConflict"})
