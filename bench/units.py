"""What AWS bills for invocations and the calls that they make; NOTES say what is assumed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil

from local.segments import AwsCall, Invocation

SAMPLED = 0.05
LOG_BYTES_OF_AN_INVOCATION = 1000
LOG_BYTES_OF_A_REQUEST = 300
BYTES_OF_AN_INDEX_ENTRY = 200

_EXPRESS_STEP_SECONDS = 0.1
_EXPRESS_GB = 64 / 1024
_READ_BYTES = 4096

NOTES = (
    "Lambda's duration on AWS is not known. GB-seconds are the median of what the handlers took here, on a"
    " machine with other work, against an emulator: a rough figure. Cold starts are left out. Express"
    " duration likewise.",
    "DynamoDB: an item is at most 1 KB where it is written and 4 KB where it is read. A transaction counts"
    " twice for each of its items, a consistent read of an item 1, an eventually consistent one 0.5;"
    " BatchGetItem rounds each item up by itself, Query the sum of its page"
    f" (an index entry of {BYTES_OF_AN_INDEX_ENTRY} bytes, as many as Limit allows).",
    "Not counted are writes to indexes, which come on top: one unit for each index whose entry is made,"
    " changed or removed (jobs and executions have 3 each), two if its key changes.",
    "A call of the SDK counts once; on the local stage nothing is throttled.",
    f"One trace a request, of which X-Ray records {SAMPLED:.0%} (its default rule, beyond the first one a"
    f" second); {LOG_BYTES_OF_AN_INVOCATION} bytes of logs an invocation and {LOG_BYTES_OF_A_REQUEST} a"
    " request.",
    "Not counted: requests that AWS makes by itself with the stage's key (DynamoDB, SNS, logs), which it"
    " caches; deliveries to a topic's subscribers; data transfer out.",
)


def api_request_units(
    made: Iterable[Invocation], memory_mb: Mapping[str, int], transaction_items: int, items: int
) -> dict[str, float]:
    """The units of one request to the API, API Gateway, trace and logs included.

    ``transaction_items``: of each transaction, as traces do not tell it; ``items``: that BatchGetItem reads.
    """
    units = Counter[str]({"api request": 1, "trace": SAMPLED, "log GB": LOG_BYTES_OF_A_REQUEST / 1e9})
    for invocation in made:
        units.update(
            invocation_units(invocation, memory_mb[invocation.function_name], transaction_items, items)
        )
    return dict(units)


def invocation_units(
    invocation: Invocation,
    memory_mb: int,
    transaction_items: int = 0,
    items: int = 0,
    entries: int | None = None,
) -> dict[str, float]:
    """The units of one invocation, with those of its calls; ``entries``: that a Query finds."""
    units = Counter[str]()
    billed_seconds = ceil(round(invocation.seconds * 1000, 3)) / 1000
    units["lambda request"] += 1
    units["lambda GB-second"] += memory_mb / 1024 * billed_seconds  # type: ignore[assignment]
    units["log GB"] += LOG_BYTES_OF_AN_INVOCATION / 1e9  # type: ignore[assignment]
    for call in invocation.aws_calls:
        units.update(call_units(call, transaction_items, items, entries))
    return dict(units)


def call_units(
    call: AwsCall, transaction_items: int = 0, items: int = 0, entries: int | None = None
) -> dict[str, float]:
    """The units of one AWS call. Raises ValueError for one of which nobody has said what it costs."""
    match call.service.lower(), call.operation:
        case "dynamodb", _:
            return _dynamodb_units(call, transaction_items, items, entries)
        case "stepfunctions" | "states", "StartSyncExecution":
            steps = ceil(round(call.seconds / _EXPRESS_STEP_SECONDS, 6))
            return {"express request": 1, "express GB-second": _EXPRESS_GB * _EXPRESS_STEP_SECONDS * steps}
        case "sns", "Publish":
            return {"sns publish": 1}
        case "kms", "Encrypt" | "Decrypt":
            return {"kms request": 1}
        # A started execution is billed by its own transitions; the rest are requests that are not billed.
        case ("stepfunctions" | "states" | "events", _) | ("sns", "GetTopicAttributes"):
            return {}
    raise ValueError(f"{call.service} {call.operation}: say in bench/units.py what it is billed as")


def _dynamodb_units(
    call: AwsCall, transaction_items: int, items: int, entries: int | None
) -> dict[str, float]:
    a_read = 1.0 if call.parameters.get("consistent_read") else 0.5
    match call.operation:
        case "GetItem":
            return {"dynamodb read": a_read}
        case "Query":
            found = call.parameters.get("limit", 1) if entries is None else entries
            size = BYTES_OF_AN_INDEX_ENTRY * found
            return {"dynamodb read": a_read * max(1, ceil(size / _READ_BYTES))}
        case "BatchGetItem":
            return {"dynamodb read": 0.5 * items}
        case "PutItem" | "UpdateItem" | "DeleteItem":
            return {"dynamodb write": 1}
        case "TransactWriteItems" if transaction_items:
            return {"dynamodb write": 2 * transaction_items}
        case "TransactWriteItems":
            raise ValueError("TransactWriteItems: say in bench/route_cases.py how many items it has")
    raise ValueError(f"DynamoDB's {call.operation}: say in bench/units.py what it is billed as")
