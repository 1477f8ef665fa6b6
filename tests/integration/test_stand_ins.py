"""The stand-ins of the simulation answer as the stage's AWS does."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.exhaustive import cases
from tests.integration.polling import poll
from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.rules import EventBridge
from tests.simulation.same_as import (
    MACHINES,
    RULE_OPERATIONS,
    VALID_OPERATIONS,
    Asked,
    AskedForRules,
    Operation,
    compare,
    compare_rules,
    our_end,
    stand_in,
    table_definition,
    their_end,
)
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story
from tests.simulation.ticks import Ticks

EXAMPLES = cases(few=25, many=400)
# The emulator lists and removes targets of a rule that is not there.
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html#API_ListTargetsByRule_Errors
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_RemoveTargets.html#API_RemoveTargets_Errors
TOLERATED = {
    ("list_targets_by_rule", "ResourceNotFoundException", "[]"),
    ("remove_targets", "ResourceNotFoundException", "done"),
}


@pytest.fixture(scope="module")
def table(aws: Any) -> Iterator[str]:
    client, name = aws.client("dynamodb"), f"stand-ins-{uuid.uuid4().hex[:12]}"
    client.create_table(**table_definition(name))
    client.get_waiter("table_exists").wait(TableName=name)
    yield name
    client.delete_table(TableName=name)


@pytest.mark.samples
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=VALID_OPERATIONS)
def test_the_stand_in_of_dynamodb_answers_as_dynamodb_does(
    aws: Any, table: str, operations: list[Operation]
) -> None:
    example = f"{uuid.uuid4().hex} "
    compare(operations, Asked(aws.client("dynamodb"), table, example), Asked(stand_in(), "things", example))


@pytest.mark.samples
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=RULE_OPERATIONS)
def test_the_stand_in_of_eventbridge_answers_as_eventbridge_does(
    aws: Any, operations: list[Operation]
) -> None:
    example, client, scheduler = f"stand-ins-{uuid.uuid4().hex[:12]}-", aws.client("events"), Scheduler(0)
    choices, story = Choices(0, {}), Story()
    calls = Calls(scheduler, choices, story, Odds())
    ours = EventBridge(scheduler, Ticks(scheduler, choices, calls, story, lambda *_: None))
    try:
        compare_rules(operations, AskedForRules(client, example), AskedForRules(ours, example), TOLERATED)
    finally:
        for rule in client.list_rules(NamePrefix=example)["Rules"]:
            targets = client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            if targets:
                client.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
            client.delete_rule(Name=rule["Name"])


@pytest.mark.samples
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(machine=MACHINES)
def test_the_stand_in_of_step_functions_ends_as_step_functions_does(
    aws: Any, outputs: dict[str, Any], machine: tuple[str, str]
) -> None:
    definition, found = machine
    client = aws.client("stepfunctions")
    role = client.describe_state_machine(stateMachineArn=outputs["state_machine_arn"])["roleArn"]
    name = f"stand-ins-{uuid.uuid4().hex[:12]}"
    arn = client.create_state_machine(name=name, definition=definition, roleArn=role)["stateMachineArn"]
    try:
        started = client.start_execution(stateMachineArn=arn, name=name, input=found)["executionArn"]

        def look() -> Any:
            described = client.describe_execution(executionArn=started)
            return None if described["status"] == "RUNNING" else described

        assert our_end(definition, found) == their_end(poll(look, 30, "end of the machine"))
    finally:
        client.delete_state_machine(stateMachineArn=arn)
