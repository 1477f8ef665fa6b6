"""Dead letters: ticks and upkeep that fail wait in a queue. A redriven tick starts each job once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobmanager.core.clock import iso
from tests.integration.conftest import required
from tests.integration.polling import poll
from tests.integration.scenario import Scenario
from tests.integration.upkeep import only_one

PROJECT = Path(__file__).resolve().parents[2]


def create_queue(scenario: Scenario) -> str:
    """Creates a queue for this test. Other tests use the stage's own queues."""
    url: str = scenario.aws.client("sqs").create_queue(QueueName=scenario.service_name)["QueueUrl"]
    return url


def redrive(scenario: Scenario, queue_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Redrives only this queue, because the stage's own queues hold dead letters of other tests."""
    outputs = {name: value for name, value in scenario.outputs.items() if not name.endswith("_queue_url")}
    outputs["tick_dead_letter_queue_url"] = queue_url
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
    sqs, url = scenario.aws.client("sqs"), create_queue(scenario)
    region, account = scenario.outputs["state_machine_arn"].split(":")[3:5]
    function = scenario.outputs["function_names"]["start_due_executions"]
    function_arn = f"arn:aws:lambda:{region}:{account}:function:{function}"
    with scenario.service(over_sns=True):
        scenario.put("a")
        scenario.set_back("a")
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
        for _ in range(2):  # SQS delivers at least once, and a sender may send twice
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


def test_lambda_sends_a_failed_tick_to_the_queue_in_the_form_that_is_redriven(scenario: Scenario) -> None:
    """The tick has no scheduled_time, so every attempt fails."""
    url = scenario.outputs["tick_dead_letter_queue_url"]
    scenario.aws.client("lambda").invoke(
        FunctionName=scenario.outputs["function_names"]["start_due_executions"],
        InvocationType="Event",
        Payload=json.dumps({"schedule": scenario.schedule}),
    )

    record = dead_letter(scenario, url, scenario.schedule)
    assert record["requestPayload"] == {"schedule": scenario.schedule}
    assert record["requestContext"]["functionArn"]


UPKEEP = ("reap_executions", "reconcile_schedules")
KEPT = ("finish_execution", *UPKEEP)


def test_upkeep_and_an_end_that_fail_in_every_attempt_wait_in_their_queue(scenario: Scenario) -> None:
    """The events make the functions fail before they do anything."""
    lambdas, url = scenario.aws.client("lambda"), scenario.outputs["upkeep_dead_letter_queue_url"]
    payload = {"requestContext": [scenario.service_name]}
    for function in KEPT:
        lambdas.invoke(
            FunctionName=scenario.outputs["function_names"][function],
            InvocationType="Event",
            Payload=json.dumps(payload),
        )
    found = [dead_letter(scenario, url, scenario.service_name) for _ in KEPT]
    assert [record["requestPayload"] for record in found] == [payload] * len(KEPT)
    assert sorted(record["requestContext"]["functionArn"].split(":")[6] for record in found) == sorted(
        scenario.outputs["function_names"][function] for function in KEPT
    )


def test_upkeep_of_both_forms_is_redriven(scenario: Scenario) -> None:
    sqs, url = scenario.aws.client("sqs"), create_queue(scenario)
    prefix, names = scenario.outputs["prefix"], scenario.outputs["function_names"]
    arn = scenario.aws.client("events").describe_rule(Name=f"{prefix}-reap-executions")["Arn"]
    of_functions = arn.partition(":rule/")[0].replace(":events:", ":lambda:") + ":function:"
    attributes = {"RULE_ARN": arn, "TARGET_ARN": of_functions + names["reap_executions"]}
    sqs.send_message(
        QueueUrl=url,
        MessageBody=json.dumps({"source": "aws.events", "resources": [arn], "detail": {}}),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )
    context = {"functionArn": f"{of_functions}{names['reconcile_schedules']}:$LATEST"}
    record = {"requestContext": context, "requestPayload": {"source": "aws.events"}}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))

    with only_one("reconciler"):
        done = redrive(scenario, url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"invoked {names[function]} " in done.stdout for function in UPKEEP)
    sqs.delete_queue(QueueUrl=url)


def test_every_function_that_a_rule_invokes_has_a_dead_letter_queue(scenario: Scenario) -> None:
    """Rules send undelivered events to it, and Lambda sends events whose every attempt failed."""
    scenario.put("a")
    events, lambdas = scenario.aws.client("events"), scenario.aws.client("lambda")
    names, prefix = scenario.outputs["function_names"], scenario.outputs["prefix"]
    queues = {
        _queue_arn(scenario, scenario.outputs[name]): name
        for name in ("tick_dead_letter_queue_url", "upkeep_dead_letter_queue_url")
    }
    invoked: set[str] = set()
    for rule in (scenario.rules()[0]["Name"], *(names[function] for function in UPKEEP)):
        for target in events.list_targets_by_rule(Rule=rule)["Targets"]:
            assert target["DeadLetterConfig"]["Arn"] in queues
            invoked.add(target["Arn"].split(":")[6])
    assert invoked == {names["start_due_executions"], *(names[function] for function in UPKEEP)}
    for function in names.values():
        is_rules = "events.amazonaws.com" in _policy_of(lambdas, function)
        assert is_rules == (function in invoked), f"{function} of {prefix}"
        if is_rules:
            kept = lambdas.get_function_event_invoke_config(FunctionName=function)
            assert kept["DestinationConfig"]["OnFailure"]["Destination"] in queues
            assert kept["MaximumRetryAttempts"] == 2


def _policy_of(lambdas: Any, function: str) -> str:
    try:
        policy: str = lambdas.get_policy(FunctionName=function)["Policy"]
    except lambdas.exceptions.ResourceNotFoundException:
        return ""
    return policy


def _queue_arn(scenario: Scenario, url: str) -> str:
    attributes = scenario.aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = attributes["Attributes"]["QueueArn"]
    return arn


def dead_letter(scenario: Scenario, url: str, text: str) -> dict[str, Any]:
    """Receives and deletes the next message with that text. Other tests may use the same queue."""
    sqs = scenario.aws.client("sqs")

    def look() -> dict[str, Any] | None:
        found = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=2, MaxNumberOfMessages=10, VisibilityTimeout=2
        )
        for message in found.get("Messages", []):
            if text in message["Body"]:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                body: dict[str, Any] = json.loads(message["Body"])
                return body
        return None

    return poll(look, 60, "dead letter")
