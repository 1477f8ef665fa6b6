"""Problems are told to people: once at first, once more for the rest, and once when they are over."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobmanager.core.clock import iso, now_ms
from local.sample_service import Callbacks, Notification, Pause
from tests.integration.contract import CheckedApi
from tests.integration.forks import Terraform
from tests.integration.polling import patient, poll
from tests.integration.scenario import Scenario, own_schedule

# One worker applies the module, once.
pytestmark = [pytest.mark.xdist_group("alert_routes"), pytest.mark.slow(5)]

HERE = "tests/integration/alert_routes"
SIGNING_KEY = b"a key of the tests, 32 bytes long"

type Json = dict[str, Any]


class Receiver(http.server.ThreadingHTTPServer):
    """A destination. It answers with ``script``, then with 200, and keeps what it has taken and refused."""

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str]]] = []
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.refused: list[float] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                status, headers = receiver.script.pop(0) if receiver.script else (200, {})
                if status == 200:
                    receiver.taken.append((self.path, dict(self.headers.items()), content))
                else:
                    receiver.refused.append(time.monotonic())
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def bodies(self, text: str) -> list[Json]:
        """The bodies of the messages about a service or an alarm."""
        return [json.loads(content) for _, _, content in self.taken if text in content.decode()]


class Routes:
    """The routes of the test, applied, with their destination."""

    def __init__(self, aws: Any, outputs: Json, directory: Any) -> None:
        self.receiver = Receiver()
        self.outputs = outputs
        self.sns = aws.client("sns")
        self.ssm = aws.client("ssm")
        self.prefix = f"routes-{uuid.uuid4().hex[:8]}"
        self.window_seconds = patient(45)
        self.terraform = Terraform(directory, outputs, self.prefix, HERE)
        self.parameters = {
            "slack": self.receiver.url("/services/T0/B0/secret"),
            "hook": self.receiver.url("/hook?key=secret"),
            "hook-secret": f"whsec_{base64.b64encode(SIGNING_KEY).decode()}",
        }
        for name, value in self.parameters.items():
            self.ssm.put_parameter(Name=self.parameter(name), Value=value, Type="SecureString")

    def parameter(self, name: str) -> str:
        return f"/{self.prefix}/{name}"

    def apply(self) -> Json:
        pace = {"window_seconds": self.window_seconds, "quiet_seconds": 3}
        hook = {"signing_parameter_name": self.parameter("hook-secret"), "alarms": True, "events": []}
        applied: Json = self.terraform.apply(
            routes={
                "slack": {
                    "kind": "slack",
                    "parameter_name": self.parameter("slack"),
                    "services": [f"test-{self.prefix}*"],
                    **pace,
                },
                "hook": {"kind": "webhook", "parameter_name": self.parameter("hook"), **hook, **pace},
            }
        )
        return applied

    def close(self) -> None:
        try:
            self.terraform.destroy()
        finally:
            for name in self.parameters:
                self.ssm.delete_parameter(Name=self.parameter(name))
            self.receiver.shutdown()
            self.receiver.server_close()

    def publish(self, event: str, service_name: str, *job_names: str) -> None:
        """Publishes an event of each job, as the stage does when one of its executions ends."""
        at_ms = now_ms()
        messages = [
            {
                "event": event,
                "occurred_at": iso(at_ms),
                "service_name": service_name,
                "job_name": job_name,
                "execution_id": f"{job_name}-{at_ms}",
                "finished_at_ms": at_ms,
                **({"error": "LedgerBusy"} if event == "execution.failed" else {}),
            }
            for job_name in job_names
        ]

        def publish(start: int) -> None:
            self.sns.publish_batch(
                TopicArn=self.outputs["events_topic_arn"],
                PublishBatchRequestEntries=[
                    {
                        "Id": str(number),
                        "Message": json.dumps(message),
                        "MessageAttributes": {
                            name: {"DataType": "String", "StringValue": str(message[name])}
                            for name in ("event", "service_name", "job_name")
                        },
                    }
                    for number, message in enumerate(messages[start : start + 10])
                ],
            )

        # At once, so that all come within a route's window also on a slow machine.
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(publish, range(0, len(messages), 10)))

    def told(self, text: str, count: int, seconds: float = 60) -> list[Json]:
        """Waits for so many messages with this text; returns them."""
        return poll(
            lambda: found if len(found := self.receiver.bodies(text)) >= count else None,
            seconds,
            f"{count} messages about {text}",
        )


@pytest.fixture(scope="module")
def routes(aws: Any, outputs: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    made = Routes(aws, outputs, tmp_path_factory.mktemp("alert_routes"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def applied(routes: Routes) -> Json:
    return routes.apply()


def test_a_bad_night_is_three_messages(
    routes: Routes, applied: Json, aws: Any, outputs: Json, api: CheckedApi
) -> None:
    service_name = f"test-{routes.prefix}-night"
    scenario = Scenario(aws, outputs, api, service_name, own_schedule())
    ends = iter(("success", "fail", "success"))

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if next(ends) == "fail":
            callbacks.fail("LedgerClosed")
        else:
            callbacks.success()

    with scenario.service(over_sns=True, work=work):
        scenario.put("nightly", owner="team-billing")
        at_ms = scenario.tick_time()
        for number, status in enumerate(("success", "fail")):
            scenario.tick(at_ms + 1000 * number)
            scenario.wait_until("nightly", at_ms + 1000 * number, status)
        (opened,) = routes.told(service_name, 1)
        assert opened["text"] == f"[{routes.prefix}] {service_name}/nightly failed"
        shown = opened["blocks"][1]["text"]["text"]
        execution_id = scenario.execution_id("nightly", at_ms + 1000)
        assert f"<http://127.0.0.1:8765/jobs/{service_name}/nightly/executions/{execution_id}|" in shown
        assert "LedgerClosed" in shown
        assert "Last success: 20" in shown
        assert "Owner: team-billing." in shown

        night = [f"job-{number}" for number in range(100)]
        routes.publish("execution.failed", service_name, *night)
        _, update = routes.told(service_name, 2, routes.window_seconds + 60)
        assert update["text"] == f"[{routes.prefix}] 100 more problems in {service_name}, 101 now"

        routes.publish("execution.succeeded", service_name, *night)
        scenario.tick(at_ms + 2000)
        scenario.wait_until("nightly", at_ms + 2000, "success")
        *_, over = routes.told(service_name, 3)
        assert over["text"] == f"[{routes.prefix}] Over: 101 problems in {service_name}"
        time.sleep(5)  # time for a message too many
        assert len(routes.receiver.bodies(service_name)) == 3
    assert {path for path, _, _ in routes.receiver.taken} == {"/services/T0/B0/secret"}


def test_a_destination_that_is_busy_or_broken_is_tried_again(routes: Routes, applied: Json) -> None:
    service_name = f"test-{routes.prefix}-busy"
    routes.receiver.refused.clear()
    routes.receiver.script += [(429, {"retry-after": "2"}), (500, {})]
    routes.publish("execution.failed", service_name, "nightly")
    routes.told(service_name, 1, 120)
    assert len(routes.receiver.refused) == 2

    routes.publish("execution.succeeded", service_name, "nightly")
    _, over = routes.told(service_name, 2)
    assert over["text"] == f"[{routes.prefix}] Over: {service_name}/nightly succeeded"


def test_an_alarm_is_told_to_a_webhook_which_can_verify_it(routes: Routes, applied: Json) -> None:
    name = f"{routes.prefix}-late-ticks"

    def change_to(state: str) -> None:
        alarm = {
            "AlarmName": name,
            "AlarmDescription": "Ticks wait.",
            "NewStateValue": state,
            "NewStateReason": "Threshold Crossed",
            "StateChangeTime": f"{iso(now_ms())[:-1]}.000+0000",
            "AlarmArn": f"arn:aws:cloudwatch:eu-central-1:123456789012:alarm:{name}",
        }
        routes.sns.publish(TopicArn=routes.outputs["alarms_topic_arn"], Message=json.dumps(alarm))

    change_to("ALARM")
    (opened,) = routes.told(name, 1)
    assert (opened["type"], opened["data"]["rows"][0]["what"]) == ("alert.opened", "is in alarm")
    time.sleep(1.1)  # the times of alarms have whole seconds here
    change_to("OK")
    _, over = routes.told(name, 2)
    assert (over["type"], over["data"]["alert_id"]) == ("alert.over", opened["data"]["alert_id"])

    for path, headers, content in routes.receiver.taken:
        if name not in content.decode():
            continue
        assert path == "/hook?key=secret"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
        signature = base64.b64encode(hmac.digest(SIGNING_KEY, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{signature}"


def test_no_secret_is_in_the_logs_or_in_terraforms_state(routes: Routes, applied: Json, aws: Any) -> None:
    logs = aws.client("logs")
    for route in applied["routes"].values():
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{route['function_name']}")["events"]
        text = "\n".join(event["message"] for event in events)
        assert "alert delivered" in text
        for secret in ("T0/B0", "key=secret", base64.b64encode(SIGNING_KEY).decode()):
            assert secret not in text
    state = routes.terraform.run("show", "-json")
    assert routes.parameter("slack") in state
    assert "T0/B0" not in state
