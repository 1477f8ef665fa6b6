"""Computes the units that AWS bills for invocations and their calls. NOTES states the assumptions."""

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
    "Durations on AWS are not known. GB-seconds are the median of what the handlers took on this machine,"
    " against an emulator and beside other work, so they are rough. The same holds for Express durations."
    " Cold starts are left out.",
    "DynamoDB: an item is assumed to have at most 1 KB when it is written and 4 KB when it is read. A write"
    " in a transaction takes 2 units, a consistent read 1, an eventually consistent read 0.5. BatchGetItem"
    " rounds up each item, Query the sum of its page, which is assumed to be full"
    f" ({BYTES_OF_AN_INDEX_ENTRY} bytes for each index entry).",
    "Writes to indexes are not counted and come on top: one unit for each index whose entry is added, changed"
    " or removed (jobs and executions have 3 indexes each), two if the entry's key changes.",
    "A call of the SDK counts once, because the local stage never throttles.",
    f"X-Ray records {SAMPLED:.0%} of the traces, one trace a request. Its default rule also records the first"
    f" of each second. Logs are assumed to have {LOG_BYTES_OF_AN_INVOCATION} bytes an invocation and"
    f" {LOG_BYTES_OF_A_REQUEST} a request.",
    "Not counted: requests that AWS itself makes with the stage's key (DynamoDB, SNS, logs), which it caches;"
    " deliveries to a topic's subscribers; data transfer out.",
)


def api_request_units(
    made: Iterable[Invocation], memory_mb: Mapping[str, int], transaction_items: int, items: int
) -> dict[str, float]:
    """The units of one request to the API, including API Gateway, trace and logs.

    Args:
        made: The invocations that answer the request.
        memory_mb: Each function's memory, by its name in AWS.
        transaction_items: The number of items in each transaction. Traces do not show it.
        items: The number of items that a BatchGetItem reads.
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
    """The units of one invocation and of its calls.

    ``entries``: the number of entries that a Query finds. By default, a Query fills its page.
    """
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
    """The units of one AWS call. Raises ValueError for an operation that has no rule here."""
    match call.service.lower(), call.operation:
        case "dynamodb", _:
            return _dynamodb_units(call, transaction_items, items, entries)
        case "stepfunctions" | "states", "StartSyncExecution":
            return express_units(call.seconds)
        case "sns", "Publish":
            return {"sns publish": 1}
        case "lambda", "Invoke":
            return {}  # the invocation itself is counted where it is made
        case "kms", "Encrypt" | "Decrypt":
            return {"kms request": 1}
        # An execution is billed by its transitions, a schedule by its invocations. Their requests are free.
        case ("stepfunctions" | "states" | "events" | "scheduler", _) | ("sns", "GetTopicAttributes"):
            return {}
    raise ValueError(f"{call.service} {call.operation} has no price; state its units in bench/units.py")


def express_units(seconds: float) -> dict[str, float]:
    """The units of one execution of an Express machine.

    Its memory is 50 MB, its definition and its data, billed by 64 MB. Here that is always one such chunk:
    https://aws.amazon.com/step-functions/pricing/
    """
    steps = ceil(round(seconds / _EXPRESS_STEP_SECONDS, 6))
    return {"express request": 1, "express GB-second": _EXPRESS_GB * _EXPRESS_STEP_SECONDS * steps}


def share_of_a_sweep(sweep: Invocation, memory_mb: int) -> dict[str, float]:
    """The units that one execution adds to a sweep: its calls, and the time that they take.

    The invocation itself and its queries are paid whether or not an execution is due.
    """
    calls = [call for call in sweep.aws_calls if call.operation != "Query"]
    units = Counter[str]({"lambda GB-second": memory_mb / 1024 * sum(call.seconds for call in calls)})
    for call in calls:
        units.update(call_units(call))
    return dict(units)


def _dynamodb_units(
    call: AwsCall, transaction_items: int, items: int, entries: int | None
) -> dict[str, float]:
    units_per_read = 1.0 if call.parameters.get("consistent_read") else 0.5
    match call.operation:
        case "GetItem":
            return {"dynamodb read": units_per_read}
        case "Query":
            found = call.parameters.get("limit", 1) if entries is None else entries
            size = BYTES_OF_AN_INDEX_ENTRY * found
            return {"dynamodb read": units_per_read * max(1, ceil(size / _READ_BYTES))}
        case "BatchGetItem":
            return {"dynamodb read": 0.5 * items}
        case "PutItem" | "UpdateItem" | "DeleteItem":
            return {"dynamodb write": 1}
        case "TransactWriteItems" if transaction_items:
            return {"dynamodb write": 2 * transaction_items}
        case "TransactWriteItems":
            raise ValueError(
                "TransactWriteItems has no price without its size; state transaction_items in"
                " bench/route_cases.py"
            )
    raise ValueError(f"DynamoDB's {call.operation} has no price; state its units in bench/units.py")
