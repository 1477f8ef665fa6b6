"""One cached client per AWS service, with its timeouts and retries. Importing this module makes no call."""

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from jobmanager.aws.lean_calls import LeanCalls

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

# All attempts together take less time than a function has, so that it can log and raise the error.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=1,
    read_timeout=3,
    max_pool_connections=32,
)

# For calls that may fail now and be repeated later, while a caller waits.
_FAST_FAILING = _CONFIG.merge(Config(read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))

# StartSyncExecution returns only when the execution has ended, so an early retry would run it twice.
_SYNCHRONOUS = _CONFIG.merge(Config(read_timeout=26, retries={"mode": "standard", "total_max_attempts": 1}))


@cache
def _client(service: Any, config: Config = _CONFIG, is_lean: bool = False) -> Any:
    client = boto3.client(service, config=config)
    if is_lean:
        client._make_api_call = LeanCalls(client, boto3.DEFAULT_SESSION)
    return client


def dynamodb() -> "DynamoDBClient":
    """The DynamoDB client."""
    client: DynamoDBClient = _client("dynamodb")
    return client


def sns() -> "SNSClient":
    """The SNS client."""
    client: SNSClient = _client("sns")
    return client


def fast_failing_sns() -> "SNSClient":
    """An SNS client that gives up within about 6 s."""
    client: SNSClient = _client("sns", _FAST_FAILING)
    return client


def sqs() -> "SQSClient":
    """The SQS client."""
    client: SQSClient = _client("sqs")
    return client


def ssm() -> Any:
    """The SSM client."""
    return _client("ssm")


def firehose() -> "FirehoseClient":
    """The Firehose client."""
    client: FirehoseClient = _client("firehose")
    return client


def events() -> "EventBridgeClient":
    """The EventBridge client."""
    client: EventBridgeClient = _client("events")
    return client


def scheduler() -> "EventBridgeSchedulerClient":
    """The client of EventBridge Scheduler."""
    client: EventBridgeSchedulerClient = _client("scheduler")
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
    """The Step Functions client for everything except StartSyncExecution."""
    client: SFNClient = _client("stepfunctions")
    return client


def untraced_step_functions() -> "SFNClient":
    """A Step Functions client that sends no trace header, so each execution that it starts has its own trace.

    Its calls are missing from the caller's trace too: X-Ray could not keep thousands of them. And they take
    half of the CPU time.
    """
    client: SFNClient = _client("stepfunctions", is_lean=True)
    return client


def synchronous_step_functions() -> "SFNClient":
    """The Step Functions client for StartSyncExecution: it waits until an Express workflow has ended."""
    client: SFNClient = _client("stepfunctions", _SYNCHRONOUS)
    return client
