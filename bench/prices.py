"""AWS's list prices in us-east-1, without free tiers and volume discounts, as looked up on 2026-11-23.

The names of PRICES are the units in which the benchmarks count. AWS does not bill the use of anything that
has no price here: a scheduled rule, a call to PutRule, StartExecution itself, SendTaskSuccess.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

AS_OF = "2026-11-23"
REGION = "us-east-1"

type Units = Mapping[str, float]


@dataclass(frozen=True)
class Price:
    """``per`` units cost ``dollars``. ``bill`` is the AWS service that charges them."""

    bill: str
    dollars: float
    per: float
    what: str
    source: str


_API = "https://aws.amazon.com/api-gateway/pricing/"
_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_STEP_FUNCTIONS = "https://aws.amazon.com/step-functions/pricing/"
_EVENTBRIDGE = "https://aws.amazon.com/eventbridge/pricing/"
_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_MILLION = 1e6

PRICES = {
    "api request": Price("API Gateway", 1.00, _MILLION, "HTTP API request of up to 512 KB", _API),
    "lambda request": Price("Lambda", 0.20, _MILLION, "invocation", _LAMBDA),
    "lambda GB-second": Price("Lambda", 0.0000166667, 1, "duration, x86, rounded up to 1 ms", _LAMBDA),
    "dynamodb read": Price("DynamoDB", 0.125, _MILLION, "read request unit, on demand", _DYNAMODB),
    "dynamodb write": Price("DynamoDB", 0.625, _MILLION, "write request unit, on demand", _DYNAMODB),
    "transition": Price("Step Functions", 0.025, 1000, "state transition, Standard", _STEP_FUNCTIONS),
    "express request": Price("Step Functions", 1.00, _MILLION, "Express workflow started", _STEP_FUNCTIONS),
    "express GB-second": Price(
        "Step Functions", 0.00001667, 1, "Express duration, by 100 ms and 64 MB", _STEP_FUNCTIONS
    ),
    "sns publish": Price(
        "SNS", 0.50, _MILLION, "publish of up to 64 KB, standard topic", "https://aws.amazon.com/sns/pricing/"
    ),
    "kms request": Price(
        "KMS", 0.03, 10_000, "request with a symmetric key", "https://aws.amazon.com/kms/pricing/"
    ),
    "scheduler invocation": Price(
        "EventBridge", 1.00, _MILLION, "invocation by EventBridge Scheduler", _EVENTBRIDGE
    ),
    "sqs request": Price(
        "SQS", 0.40, _MILLION, "request of up to 64 KB, standard queue", "https://aws.amazon.com/sqs/pricing/"
    ),
    "trace": Price("X-Ray", 5.00, _MILLION, "trace recorded", "https://aws.amazon.com/xray/pricing/"),
    "log GB": Price("CloudWatch", 0.50, 1, "GB of logs taken in", _CLOUDWATCH),
}

# A rotated key costs one dollar a month more after its first year, and another after its second.
MONTHLY_PRICES = {
    "alarm metric": Price("CloudWatch", 0.10, 1, "metric that an alarm watches", _CLOUDWATCH),
    "custom metric": Price(
        "CloudWatch", 0.30, 1, "metric, for the hours in which it has values", _CLOUDWATCH
    ),
    "dashboard": Price("CloudWatch", 3.00, 1, "dashboard", _CLOUDWATCH),
    "key": Price("KMS", 1.00, 1, "key", "https://aws.amazon.com/kms/pricing/"),
}


def dollars(units: Units) -> float:
    """The price of the units. Raises KeyError for a unit without a price."""
    return sum(PRICES[name].dollars * count / PRICES[name].per for name, count in units.items())


def bills(units: Units) -> dict[str, float]:
    """The dollars that each AWS service charges, in the order of PRICES, if it charges any."""
    found: dict[str, float] = {}
    for name, price in PRICES.items():
        if count := units.get(name):
            found[price.bill] = found.get(price.bill, 0.0) + dollars({name: count})
    return found


def services_that_bill(several: Iterable[Units]) -> list[str]:
    """The AWS services that charge something for any of the units, in the order of PRICES."""
    charging = {bill for units in several for bill in bills(units)}
    return [bill for bill in dict.fromkeys(price.bill for price in PRICES.values()) if bill in charging]
