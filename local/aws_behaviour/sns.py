"""SNS: how subscriptions are confirmed, and what becomes of a message that cannot be delivered."""

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.core.arn import parse_arn
from ministack.services import sns, sqs

from local.aws_behaviour.wrapping import around


def apply() -> None:
    """Mends SNS."""
    keep_what_a_queue_did_not_take()
    tell_the_arn_of_what_is_pending()


def keep_what_a_queue_did_not_take() -> None:
    """AWS sends it to the queue that the subscription's redrive policy names; ministack drops it.

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
    """The ARN of the queue for what the endpoint does not take."""
    topic = sns._topic_by_arn_any_scope(topic_arn) or {"subscriptions": []}
    for subscription in topic["subscriptions"]:
        policy = subscription.get("attributes", {}).get("RedrivePolicy")
        if subscription.get("endpoint") == endpoint and policy:
            arn: str = json.loads(policy)["deadLetterTargetArn"]
            return arn
    return None


def tell_the_arn_of_what_is_pending() -> None:
    """AWS has mail confirmed too, and tells who asks which ARN a pending subscription has.

    Ministack confirms mail by itself, and of what is pending tells only that.
    https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
    """

    @around(sns, "_subscribe")
    def subscribe(original: Callable[..., Any], params: dict[str, Any]) -> Any:
        status, headers, body = original(params)
        topic = sns._topic_by_arn_any_scope(sns._p(params, "TopicArn"))
        if status != 200 or topic is None:
            return status, headers, body
        asked = [sns._p(params, name) for name in ("Protocol", "Endpoint")]
        (made,) = (each for each in topic["subscriptions"] if [each["protocol"], each["endpoint"]] == asked)
        if asked[0] in ("email", "email-json"):
            made["confirmed"] = False
            made["attributes"]["PendingConfirmation"] = "true"
        told = made["arn"] if sns._p(params, "ReturnSubscriptionArn") == "true" else "pending confirmation"
        if not made["confirmed"]:
            body = re.sub(rb"<SubscriptionArn>[^<]*<", f"<SubscriptionArn>{told}<".encode(), body)
        return status, headers, body
