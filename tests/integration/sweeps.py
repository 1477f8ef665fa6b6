"""Invokes the sweep. Lets it look at overdue executions early, so that a test waits less."""

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from jobmanager.aws.items import to_item
from tests.integration.scenario import Json, Scenario
from tests.integration.upkeep import only_one

# As terraform/environments/local has it.
GRACE_SECONDS = 5


def reap(scenario: Scenario) -> Json:
    """Invokes the reaper, as its rule does. Returns what it did."""
    with only_one("sweep"):
        answer = scenario.aws.client("lambda").invoke(
            FunctionName=scenario.outputs["function_names"]["reap_executions"], Payload="{}"
        )
        result = answer["Payload"].read()
    assert "FunctionError" not in answer, result
    done: Json = json.loads(result)
    assert done.keys() == {"reaped", "retried", "closed", "restarted", "told"}
    return done


def reap_expired(scenario: Scenario) -> Json:
    """Invokes the reaper, which then looks at each execution of the scenario whose deadline has passed."""
    dynamodb, table = scenario.aws.client("dynamodb"), scenario.outputs["executions_table_name"]
    found = dynamodb.query(
        TableName=table,
        IndexName="by_service",
        KeyConditionExpression="service_name = :service",
        ExpressionAttributeValues=to_item({":service": scenario.service_name}),
    )
    keys = [{name: each[name] for name in ("job_guid", "execution_id")} for each in found["Items"]]
    look_at_expired(dynamodb, table, keys)
    return reap(scenario)


def look_at_expired(dynamodb: Any, table: str, keys: Iterable[Mapping[str, Any]]) -> None:
    """Has the next sweep look at those of these executions whose deadline has passed.

    Otherwise it looks at an attempt of an Express execution only a minute after the attempt began.
    """
    now = int(time.time())
    for key in keys:
        with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
            dynamodb.update_item(
                TableName=table,
                Key=key,
                UpdateExpression="SET sweep_at = :now",
                ConditionExpression="lock_expires_at < :expired AND sweep_at > :now",
                ExpressionAttributeValues=to_item({":now": now, ":expired": now - GRACE_SECONDS}),
            )
