"""Dead letters: ticks that were not delivered, or not handled, are redriven, and start each job once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobmanager.clock import iso
from tests.integration.conftest import required
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

PROJECT = Path(__file__).resolve().parents[2]


def queue_of_its_own(scenario: Scenario) -> str:
    """A queue like the stage's, which other tests may look at meanwhile."""
    url: str = scenario.aws.client("sqs").create_queue(QueueName=scenario.service_name)["QueueUrl"]
    return url


def redrive(scenario: Scenario, queue_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    outputs = {**scenario.outputs, "tick_dead_letter_queue_url": queue_url}
    return subprocess.run(
        [sys.executable, "-m", "tools.redrive", *arguments],
        input=json.dumps(outputs),
        cwd=PROJECT,
        env={**os.environ, "AWS_ENDPOINT_URL": required("AWS_ENDPOINT_URL")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_dead_ticks_of_both_forms_are_redriven_once_each(scenario: Scenario) -> None:
    sqs, url = scenario.aws.client("sqs"), queue_of_its_own(scenario)
    region, account = scenario.outputs["state_machine_arn"].split(":")[3:5]
    function = scenario.outputs["function_names"]["start_due_executions"]
    function_arn = f"arn:aws:lambda:{region}:{account}:function:{function}"
    with scenario.service(over_sns=True):
        scenario.put("a")
        (rule,) = scenario.rules()
        undelivered_ms = scenario.tick_time() - 120_000
        failed_ms = undelivered_ms + 60_000
        event = {
            "source": "aws.events",
            "time": iso(undelivered_ms),
            "resources": [rule["Arn"]],
            "detail": {},
        }
        attributes = {"RULE_ARN": rule["Arn"], "TARGET_ARN": function_arn}
        for _ in range(2):  # SQS delivers at least once, and so does whoever sends to it
            sqs.send_message(
                QueueUrl=url,
                MessageBody=json.dumps(event),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        record: dict[str, Any] = {
            "requestContext": {"functionArn": f"{function_arn}:$LATEST", "condition": "RetriesExhausted"},
            "requestPayload": {"schedule": scenario.schedule, "scheduled_time": iso(failed_ms)},
        }
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))

        rehearsed = redrive(scenario, url, "--dry-run")
        assert rehearsed.returncode == 0, rehearsed.stderr
        assert rehearsed.stdout.count("would invoke") == 3
        assert scenario.history("a") == []

        done = redrive(scenario, url)
        assert done.returncode == 0, done.stdout + done.stderr
        for at_ms in (undelivered_ms, failed_ms):
            scenario.wait_until("a", at_ms, "success")
        assert len(scenario.history("a")) == 2
    attribute = "ApproximateNumberOfMessages"
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
    assert found["Attributes"][attribute] == "0"
    sqs.delete_queue(QueueUrl=url)


def test_lambda_sends_what_failed_to_the_queue_in_the_form_that_is_redriven(scenario: Scenario) -> None:
    """The tick has no time, so it fails each time."""
    sqs, url = scenario.aws.client("sqs"), scenario.outputs["tick_dead_letter_queue_url"]
    scenario.aws.client("lambda").invoke(
        FunctionName=scenario.outputs["function_names"]["start_due_executions"],
        InvocationType="Event",
        Payload=json.dumps({"schedule": scenario.schedule}),
    )

    def look() -> dict[str, Any] | None:
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2, MaxNumberOfMessages=10)
        for message in found.get("Messages", []):
            if scenario.schedule in message["Body"]:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                body: dict[str, Any] = json.loads(message["Body"])
                return body
        return None

    record = poll(look, 60, "the record of the tick that failed")
    assert record["requestPayload"] == {"schedule": scenario.schedule}
    assert record["requestContext"]["functionArn"]
