"""What the events topic publishes about a test's service."""

import json
from functools import partial

from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario


class PublishedEvents:
    """The events about one service that the events topic publishes."""

    def __init__(self, scenario: Scenario) -> None:
        self.checked = scenario.checked_event
        self.sqs, sns = scenario.aws.client("sqs"), scenario.aws.client("sns")
        self.queue: str = self.sqs.create_queue(QueueName=scenario.service_name)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"Policy": policy})
        subscription = sns.subscribe(
            TopicArn=scenario.outputs["events_topic_arn"],
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"FilterPolicy": json.dumps({"service_name": [scenario.service_name]})},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        self.unsubscribe = partial(sns.unsubscribe, SubscriptionArn=subscription)

    def end(self) -> None:
        """Deletes the subscription and the queue."""
        self.unsubscribe()
        self.sqs.delete_queue(QueueUrl=self.queue)

    def wait_for(self, event: str) -> Json:
        """The first event of that name, which does not come again."""

        def look() -> Json | None:
            found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            for message in found.get("Messages", []):
                found_event = self.checked(json.loads(json.loads(message["Body"])["Message"]))
                if found_event["event"] == event:
                    self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                    return found_event
            return None

        return poll(look, 20, event)
