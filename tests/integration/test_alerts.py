"""A job that fails again and again is told of once, and once when it has recovered; on the whole way."""

import time

from local.behaviours import Notification, Pause
from local.callbacks import Callbacks
from local.channels import QueueListener
from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario

ENDS = ("fail", "fail", "fail", "success", "success")


def test_a_job_that_fails_again_and_again_is_told_of_once_and_so_is_its_recovery(scenario: Scenario) -> None:
    ends, told = iter(ENDS), list[Json]()

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if next(ends) == "fail":
            callbacks.fail("LedgerBusy")
        else:
            callbacks.success()

    def note(event: Json, _trace_header: str | None) -> None:
        told.append(scenario.checked_event(event))

    wanted = {"service_name": [scenario.service_name], "event": ["job.failing", "job.recovered"]}
    listener = QueueListener(scenario.outputs["events_topic_arn"], wanted, note, queue_name="told")
    with listener, scenario.service(over_sns=True, work=work):
        scenario.put("a", alert_after_failures=2, owner="team-billing")
        at_ms = scenario.tick_time()
        ticks = [at_ms + 1000 * number for number in range(len(ENDS))]
        for tick, end in zip(ticks, ENDS, strict=True):
            scenario.tick(tick)
            scenario.wait_until("a", tick, end)
            scenario.machine("a", tick)
        poll(lambda: len(told) == 2, 20, "both events")
        time.sleep(3)  # for one too many
    assert [(event["event"], event["execution_id"]) for event in told] == [
        ("job.failing", scenario.execution_id("a", ticks[1])),
        ("job.recovered", scenario.execution_id("a", ticks[3])),
    ]
    assert [event["consecutive_failures"] for event in told] == [2, 0]
    assert [event.get("error") for event in told] == ["LedgerBusy", None]
    assert [event["owner"] for event in told] == ["team-billing"] * 2
