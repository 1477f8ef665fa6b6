"""A job that fails repeatedly publishes one event, and one more when it recovers, on a real stage."""

import time

from local.sample_service import Callbacks, Notification, Pause, QueueListener
from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario

ENDS = ("fail", "fail", "fail", "success", "success")


def test_repeated_failures_publish_one_event_and_so_does_the_recovery(scenario: Scenario) -> None:
    ends, published = iter(ENDS), list[Json]()

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if next(ends) == "fail":
            callbacks.fail("LedgerBusy")
        else:
            callbacks.success()

    def note(event: Json, _trace_header: str | None) -> None:
        published.append(scenario.checked_event(event))

    wanted = {"service_name": [scenario.service_name], "event": ["job.failing", "job.recovered"]}
    listener = QueueListener(scenario.outputs["events_topic_arn"], wanted, note, queue_name="published")
    with listener, scenario.service(over_sns=True, work=work):
        scenario.put("a", alert_after_failures=2, owner="team-billing")
        at_ms = scenario.tick_time()
        ticks = [at_ms + 1000 * number for number in range(len(ENDS))]
        for tick, end in zip(ticks, ENDS, strict=True):
            scenario.tick(tick)
            scenario.wait_until("a", tick, end)
            scenario.machine("a", tick)
        poll(lambda: len(published) == 2, 20, "both events")
        time.sleep(3)  # time for an event too many
    assert [(event["event"], event["execution_id"]) for event in published] == [
        ("job.failing", scenario.execution_id("a", ticks[1])),
        ("job.recovered", scenario.execution_id("a", ticks[3])),
    ]
    assert [event["consecutive_failures"] for event in published] == [2, 0]
    assert [event.get("error") for event in published] == ["LedgerBusy", None]
    assert [event["owner"] for event in published] == ["team-billing"] * 2
