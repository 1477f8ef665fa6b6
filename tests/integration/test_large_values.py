"""A job with the largest payload and state: whole wherever they are shown, and no heartbeat pays for them."""

from typing import Any

from bench.table_writes import size_of, units_of
from jobmanager.aws.items import to_item
from jobmanager.core.names import job_guid
from local.sample_service import Callbacks, Notification, Pause
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

PAYLOAD = "€" * (32 * 1024 // 3)
STATE = "ü" * (32 * 1024)


def silent(_: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """Works without a word; the test sends the callbacks."""


def units(scenario: Scenario, table: str, **key: str) -> int:
    """The write units for one change of an item."""
    answer = scenario.aws.client("dynamodb").get_item(
        TableName=scenario.outputs[f"{table}_table_name"], Key=to_item(key), ConsistentRead=True
    )
    return units_of(size_of(answer["Item"]))


def units_of_job_and_record(scenario: Scenario, execution_id: str) -> tuple[int, int]:
    names = {"service_name": scenario.service_name, "job_name": "a"}
    record = {"job_guid": job_guid(scenario.service_name, "a"), "execution_id": execution_id}
    return units(scenario, "jobs", **names), units(scenario, "executions", **record)


def notifications(service: Any, count: int) -> list[Any]:
    def found() -> list[Any] | None:
        received = [each.notification for each in service.received]
        return received if len(received) >= count else None

    return poll(found, 60, f"{count} notifications")


def test_a_large_job_from_put_to_rerun(scenario: Scenario) -> None:
    with scenario.service(work=silent) as service:
        url = service.webhook_url("a")
        scenario.put("a", invocation_target=url, payload="old " + PAYLOAD[:5000], exclusive=True)
        put = scenario.put("a", invocation_target=url, payload=PAYLOAD, exclusive=True)
        assert put.body["payload"] == PAYLOAD

        first = scenario.tick()
        first_id = scenario.execution_id("a", first)
        (notified,) = notifications(service, 1)
        assert notified["payload"] == PAYLOAD
        heartbeat = scenario.callback(notified["callback_url"], {"status": "processing", "progress": 40})
        assert heartbeat.status == 200
        assert units_of_job_and_record(scenario, first_id) <= (2, 2)

        result = {"status": "success", "state": STATE, "summary": "done"}
        assert scenario.callback(notified["callback_url"], result).status == 200
        assert scenario.callback(notified["callback_url"], result).status == 200
        other = {**result, "state": STATE[:-1]}
        assert scenario.callback(notified["callback_url"], other).status == 410
        assert units_of_job_and_record(scenario, first_id) <= (2, 2)
        shown = scenario.execution("a", first)
        assert shown is not None
        assert (shown["payload"], shown["state"]) == (PAYLOAD, STATE)
        job = scenario.job("a")
        assert (job["payload"], job["last_successful_execution"]["state"]) == (PAYLOAD, STATE)

        scenario.put("a", invocation_target=url, payload="small", exclusive=True)
        second = scenario.tick(first + 1000)
        notified = notifications(service, 2)[1]
        assert notified["payload"] == "small"
        assert notified["last_successful_execution"]["state"] == STATE
        assert scenario.callback(notified["callback_url"], {"status": "success"}).status == 200
        scenario.wait_until("a", second, "success")

        again = scenario.api.request("POST", scenario.job_path("a", "executions", first_id, "rerun"))
        assert (again.status, again.body["payload"]) == (201, PAYLOAD)
        notified = notifications(service, 3)[2]
        assert (notified["execution_id"], notified["payload"]) == (again.body["execution_id"], PAYLOAD)
        cancelled = scenario.api.request(
            "POST", scenario.job_path("a", "executions", again.body["execution_id"], "cancel"), {}
        )
        assert (cancelled.status, cancelled.body["payload"]) == (200, PAYLOAD)
        assert [each["execution_id"] for each in scenario.history("a")] == [
            again.body["execution_id"],
            scenario.execution_id("a", second),
            first_id,
        ]
