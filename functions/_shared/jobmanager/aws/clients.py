"""One cached client per AWS service, all with the same retries; importing this makes no call."""

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from wrapt import BoundFunctionWrapper

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

# All attempts together end before Lambda ends the function, so that an error is told and not cut off.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=1,
    read_timeout=3,
    max_pool_connections=32,
)

# For what can wait on the job, while a caller cannot.
_IMPATIENT = _CONFIG.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))

# StartSyncExecution answers only when the machine has ended, so it must not be repeated early.
_SYNCHRONOUS = _CONFIG.merge(Config(read_timeout=26, retries={"mode": "standard", "total_max_attempts": 1}))


@cache
def _client(service: Any, config: Config = _CONFIG, is_traced: bool = True) -> Any:
    client = boto3.client(service, config=config)
    if not is_traced:
        client.meta.events.register_first("before-send", _forget_trace)
        # The X-Ray SDK wraps this in the class, and keeps each call's subsegment until the invocation ends.
        if isinstance(client._make_api_call, BoundFunctionWrapper):
            client._make_api_call = client._make_api_call.__wrapped__
    return client


def _forget_trace(request: Any, **_: Any) -> None:
    """The X-Ray SDK adds the header, unsigned, to whatever is sent."""
    with suppress(KeyError):
        del request.headers["X-Amzn-Trace-Id"]


def dynamodb() -> "DynamoDBClient":
    """The DynamoDB client."""
    client: DynamoDBClient = _client("dynamodb")
    return client


def sns() -> "SNSClient":
    """The SNS client."""
    client: SNSClient = _client("sns")
    return client


def impatient_sns() -> "SNSClient":
    """An SNS client that gives up within some 6 s."""
    client: SNSClient = _client("sns", _IMPATIENT)
    return client


def sqs() -> "SQSClient":
    """The SQS client."""
    client: SQSClient = _client("sqs")
    return client


def firehose() -> "FirehoseClient":
    """The Firehose client."""
    client: FirehoseClient = _client("firehose")
    return client


def events() -> "EventBridgeClient":
    """The EventBridge client."""
    client: EventBridgeClient = _client("events")
    return client


def kms() -> "KMSClient":
    """The KMS client."""
    client: KMSClient = _client("kms")
    return client


def lambdas() -> "LambdaClient":
    """The Lambda client."""
    client: LambdaClient = _client("lambda")
    return client


def step_functions() -> "SFNClient":
    """The Step Functions client, but for StartSyncExecution."""
    client: SFNClient = _client("stepfunctions")
    return client


def step_functions_apart() -> "SFNClient":
    """A Step Functions client that names no trace: what it starts begins one of its own.

    Its calls are not in the caller's trace either, where thousands would be beyond what X-Ray keeps.
    """
    client: SFNClient = _client("stepfunctions", is_traced=False)
    return client


def synchronous_step_functions() -> "SFNClient":
    """The Step Functions client that waits for an Express workflow to end."""
    client: SFNClient = _client("stepfunctions", _SYNCHRONOUS)
    return client
