"""The invariants detect what is wrong: the test breaks each by hand, without the manager."""

from typing import Any

from jobmanager.aws.items import to_item
from tests.integration.invariants import broken_invariants
from tests.integration.polling import poll
from tests.integration.scenario import Scenario
from tests.integration.stage_view import Stage


def change(scenario: Scenario, table: str, key: dict[str, Any], update: str, **values: Any) -> None:
    scenario.aws.client("dynamodb").update_item(
        TableName=scenario.outputs[f"{table}_table_name"],
        Key=to_item(key),
        UpdateExpression=update,
        **(
            {"ExpressionAttributeValues": to_item({f":{name}": v for name, v in values.items()})}
            if values
            else {}
        ),
    )


def test_the_invariants_hold_until_the_stage_is_changed_by_hand(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("done", exclusive=True)
        first = scenario.tick()
        scenario.machine("done", first)
        scenario.put("waits", exclusive=True, payload='{"do": "silent"}')
        # Late enough on a slow stage too: a job is not due at a time before it was made.
        second = scenario.tick(max(first + 1000, scenario.tick_time()))
        service.wait_for(lambda s: len(s.received) == 3, 30, "all notifications")
        scenario.machine("done", second)
        received = [each.notification for each in service.received]
        acknowledged = [(scenario.execution_id("done", at_ms), 1, "success") for at_ms in (first, second)]

        def broken(**more: Any) -> list[str]:
            told = {"received": received, "acknowledged": acknowledged, **more}
            return broken_invariants(Stage(scenario.aws, scenario.outputs), [scenario.service_name], **told)

        assert broken() == []

        done, waits = scenario.execution_id("done", first), scenario.execution_id("waits", second)
        (again,) = broken(received=[*received, received[0]])
        assert again == f"attempt 1 of {received[0]['execution_id']} was notified 2 times"
        assert broken(received=[*received, received[0]], excused={(received[0]["execution_id"], 1)}) == []
        assert broken(acknowledged=[(done, 1, "fail")]) == [
            f"attempt 1 of {done} was acknowledged as fail, and the record says success"
        ]

        machines = scenario.aws.client("stepfunctions")
        machines.stop_execution(executionArn=scenario.machine_arn("waits", second))
        poll(lambda: scenario.machine("waits", second), 10, "stopped machine")
        key = f"{scenario.service_name}/waits"
        assert broken() == [
            f"the lock of {key} is held by {waits}, whose machine is ABORTED",
            f"{waits} is running, and its machine is ABORTED",
        ]
        (rule,) = scenario.rules()
        scenario.aws.client("events").disable_rule(Name=rule["Name"])
        job_of_done = {"service_name": scenario.service_name, "job_name": "done"}
        guid = {"job_guid": done.rpartition("-")[0], "execution_id": done}
        change(scenario, "jobs", job_of_done, "REMOVE active_schedule")
        change(scenario, "jobs", job_of_done, "SET last_execution.execution_id = :other", other=waits)
        change(
            scenario,
            "executions",
            guid,
            "SET sweep_shard = :shard, fencing_token = :two",
            shard="open#0",
            two=2,
        )
        found = broken()
        for expected in (
            f"{done} has ended as success, and is still among the open ones",
            f"last_execution of {scenario.service_name}/done is ('{waits}', 'success')",
            "have the same fencing_token",
            f"{scenario.schedule} is counted 2 times, and 1 active jobs have it",
            f"the rule of {scenario.schedule} is DISABLED",
        ):
            assert any(expected in sentence for sentence in found), (expected, found)
        scenario.aws.client("events").enable_rule(Name=rule["Name"])
        change(scenario, "executions", guid, "REMOVE sweep_shard")
