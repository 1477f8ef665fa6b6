"""SNS: confirmations of subscriptions, and dead letters."""

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.core.arn import parse_arn
from ministack.services import sns, sqs

from local.aws_behaviour.wrapping import around


def apply() -> None:
    """Corrects SNS."""
    keep_undelivered_messages()
    return_arns_of_pending_subscriptions()


def keep_undelivered_messages() -> None:
    """AWS sends them to the queue that the subscription's redrive policy names; ministack drops them.

    https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
    """

    @around(sns, "_deliver_to_sqs")
    def deliver_to_sqs(
        original: Callable[..., None], endpoint: str, *arguments: Any, topic_arn: str = "", **named: Any
    ) -> None:
        account = parse_arn(topic_arn).account_id
        is_there = sqs._queue_by_arn(endpoint) is not None
        if not is_there or not sqs.queue_policy_allows(endpoint, "sns.amazonaws.com", topic_arn, account):
            endpoint = dead_letter_queue(topic_arn, endpoint) or endpoint
        original(endpoint, *arguments, topic_arn=topic_arn, **named)


def dead_letter_queue(topic_arn: str, endpoint: str) -> str | None:
    """The ARN of the dead-letter queue of the endpoint's subscription."""
    topic = sns._topic_by_arn_any_scope(topic_arn) or {"subscriptions": []}
    for subscription in topic["subscriptions"]:
        policy = subscription.get("attributes", {}).get("RedrivePolicy")
        if subscription.get("endpoint") == endpoint and policy:
            arn: str = json.loads(policy)["deadLetterTargetArn"]
            return arn
    return None


def return_arns_of_pending_subscriptions() -> None:
    """AWS leaves mail pending until it is confirmed, and returns a pending subscription's ARN on request.

    Ministack confirms mail itself, and returns only "pending confirmation".
    https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
    """

    @around(sns, "_subscribe")
    def subscribe(original: Callable[..., Any], params: dict[str, Any]) -> Any:
        status, headers, body = original(params)
        topic = sns._topic_by_arn_any_scope(sns._p(params, "TopicArn"))
        if status != 200 or topic is None:
            return status, headers, body
        key = [sns._p(params, name) for name in ("Protocol", "Endpoint")]
        (created,) = (each for each in topic["subscriptions"] if [each["protocol"], each["endpoint"]] == key)
        if key[0] in ("email", "email-json"):
            created["confirmed"] = False
            created["attributes"]["PendingConfirmation"] = "true"
        wants_arn = sns._p(params, "ReturnSubscriptionArn") == "true"
        arn = created["arn"] if wants_arn else "pending confirmation"
        if not created["confirmed"]:
            body = re.sub(rb"<SubscriptionArn>[^<]*<", f"<SubscriptionArn>{arn}<".encode(), body)
        return status, headers, body
