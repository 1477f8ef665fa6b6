"""What AWS tells about a stage with the caller's own credentials: its rules, queues, alarms and quotas.

The names are those of terraform/: ``<name>-<stage>-…``. Each call is one that reads.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from sjm.doctor.findings import Some

_PAGES = 20
_MAX_QUEUES = 50
_DEAD_LETTERS = ("-dead-letters", "-aside")
_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})


@dataclass(frozen=True)
class Caller:
    """Who asks, and how far this computer's clock is ahead of AWS's."""

    arn: str
    clock_ahead: timedelta | None


@dataclass(frozen=True)
class Alarm:
    """An alarm of the stage. ``topics`` are told when it is raised."""

    name: str
    is_raised: bool
    reason: str
    topics: Sequence[str]


class AccountFacts:
    """Reads one stage by its prefix, such as ``sjm-prod``."""

    def __init__(self, session: Session, region: str, prefix: str) -> None:
        self._session = session
        self._region = region
        self.prefix = prefix
        self._lock = threading.Lock()

    def caller(self) -> Caller:
        """Whose credentials these are. AWS lets everybody ask that."""
        try:
            answer = self._client("sts").get_caller_identity()
            arn = str(answer["Arn"])
        except ClientError as error:
            ahead = _clock_ahead(error.response)
            if ahead is None or abs(ahead) < timedelta(minutes=4):
                raise
            return Caller("", ahead)  # AWS refuses signatures of more than five minutes away
        return Caller(arn, _clock_ahead(answer))

    def rules(self) -> Some[dict[str, Any]]:
        """The rules of the stage's schedules, as ListRules has them."""
        return self._paged("events", "list_rules", "Rules", NamePrefix=f"{self.prefix}-schedule-")

    def dead_letters(self) -> dict[str, int]:
        """The number of messages in each dead-letter queue, by its name."""
        sqs = self._client("sqs")
        urls = self._paged(
            "sqs", "list_queues", "QueueUrls", QueueNamePrefix=f"{self.prefix}-", MaxResults=1000
        )
        queues = [url for url in urls.found if str(url).endswith(_DEAD_LETTERS)]
        return {
            str(url).rpartition("/")[2]: int(
                sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])[
                    "Attributes"
                ]["ApproximateNumberOfMessages"]
            )
            for url in queues[:_MAX_QUEUES]
        }

    def alarms(self) -> Some[Alarm]:
        """The alarms of the stage."""
        found = self._paged(
            "cloudwatch",
            "describe_alarms",
            "MetricAlarms",
            AlarmNamePrefix=f"{self.prefix}-",
            AlarmTypes=["MetricAlarm"],
        )
        alarms = [
            Alarm(
                name=each["AlarmName"],
                is_raised=each["StateValue"] == "ALARM",
                reason=each.get("StateReason", ""),
                topics=[action for action in each.get("AlarmActions", []) if ":sns:" in action],
            )
            for each in found.found
        ]
        return Some(alarms, found.is_complete)

    def subscribers(self, topic_arn: str) -> int:
        """How many have subscribed to a topic, and confirmed it."""
        found = self._paged("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic_arn)
        return sum(str(each.get("SubscriptionArn", "")).startswith("arn:") for each in found.found)

    def concurrency(self) -> int:
        """How many functions the account may run at once in this region."""
        limits = self._client("lambda").get_account_settings()["AccountLimit"]
        return int(limits["ConcurrentExecutions"])

    def _paged(self, service: str, operation: str, key: str, **arguments: Any) -> Some[Any]:
        client = self._client(service)
        found: list[Any] = []
        for number, page in enumerate(client.get_paginator(operation).paginate(**arguments), 1):
            found += page.get(key, [])
            if number == _PAGES:
                return Some(found, is_complete="NextToken" not in page)
        return Some(found)

    def _client(self, service: str) -> Any:
        with self._lock:  # a session makes one client at a time
            return self._session.create_client(service, region_name=self._region, config=_CONFIG)


def _clock_ahead(answer: Any) -> timedelta | None:
    """How far this computer's clock is ahead of the one that dated the answer."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return datetime.now(UTC) - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
