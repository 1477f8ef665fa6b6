"""One run of a job is one trace: each function, each AWS call, the webhook, and the service's callback.

The tests listen in the place of the X-Ray daemon. Only one of them can listen at a time, so they share one
group.
"""

from typing import Any

import pytest

from local.observed_service import ObservedService
from local.sample_service import Received
from local.segments import Invocation, Segment, SegmentListener, invocations
from tests.integration.scenario import Scenario

pytestmark = [pytest.mark.xdist_group("x-ray"), pytest.mark.slow(2)]

SECONDS = 30

STARTS = {"dynamodb Query", "dynamodb UpdateItem", "states StartExecution"}
RUNS = {"dynamodb GetItem", "dynamodb PutItem", "sns Publish"}
TAKES_THE_CALLBACK = {"dynamodb GetItem", "dynamodb UpdateItem", "sns Publish", "states SendTaskSuccess"}


def fields_of(trace_header: str | None) -> dict[str, str]:
    assert trace_header is not None
    return dict(field.split("=", 1) for field in trace_header.split(";"))


class Run:
    """One run of a job on the stage, and its segments."""

    def __init__(self, scenario: Scenario, service: ObservedService, listener: SegmentListener) -> None:
        self._scenario, self._service, self._listener = scenario, service, listener
        self._key_of = {name: key for key, name in scenario.outputs["function_names"].items()}
        self.segments: list[Segment] = []

    def wait(self, job_name: str) -> None:
        """Delivers a tick, and waits for the end of the run and for its last segments."""
        at_ms = self._scenario.tick()
        self._scenario.wait_until(job_name, at_ms, "success")
        self.root = fields_of(self.received.trace_header)["Root"]

        def has_all(arrived: list[Segment]) -> bool:
            names = [self._key_of.get(segment.name) for segment in arrived if segment.trace_id == self.root]
            return {"run_execution", "receive_callback", "start_due_executions"} <= set(names)

        arrived = self._listener.take_until(has_all, SECONDS, "the functions of one run in one trace")
        self.segments = [segment for segment in arrived if segment.trace_id == self.root]

    @property
    def received(self) -> Received:
        """The notification."""
        [received] = self._service.received
        return received

    def functions(self) -> dict[str, Invocation]:
        """The invocations, by the functions' names."""
        found = invocations(self.segments, self._key_of)
        by_name = {self._key_of[each.function_name]: each for each in found}
        assert len(by_name) == len(found), "a function ran twice"
        return by_name

    def with_id(self, identifier: str | None) -> Segment:
        """The segment of that id."""
        [segment] = [segment for segment in self.segments if segment.id == identifier]
        return segment


def calls(invocation: Invocation) -> set[str]:
    return {f"{call.service} {call.operation}" for call in invocation.aws_calls}


def check(run: Run, scenario: Scenario) -> None:
    """Checks the calls and the annotations of each function."""
    functions = run.functions()
    assert {name: calls(invocation) for name, invocation in functions.items()} == {
        "start_due_executions": STARTS,
        "run_execution": RUNS,
        "receive_callback": TAKES_THE_CALLBACK,
    }
    about: dict[str, Any] = {
        "service_name": scenario.service_name,
        "job_name": "nightly",
        "execution_id": run.received.notification["execution_id"],
    }
    annotations = {name: invocation.segment.annotations for name, invocation in functions.items()}
    assert annotations.pop("start_due_executions") == {"schedule": scenario.schedule}
    assert all(about.items() <= found.items() for found in annotations.values()), annotations


def test_a_run_with_a_webhook_is_one_trace(scenario: Scenario) -> None:
    with SegmentListener() as listener, scenario.service() as service:
        scenario.put("nightly", invocation_target=f"{service.webhook_url('nightly')}?key=secret")
        listener.take()
        run = Run(scenario, service, listener)
        run.wait("nightly")

        check(run, scenario)
        sent = fields_of(run.received.trace_header)
        webhook = run.with_id(sent["Parent"])
        assert sent["Sampled"] == "1"
        assert (webhook.namespace, webhook.name) == ("remote", "127.0.0.1")
        assert webhook.http == {
            "request": {"method": "POST", "url": service.webhook_url("nightly")},
            "response": {"status": 202},
        }
        assert webhook.parent_id == run.functions()["run_execution"].segment.id
        assert [segment for segment in run.segments if segment.namespace == "remote"] == [webhook]


def test_a_run_over_sns_is_one_trace(scenario: Scenario) -> None:
    with SegmentListener() as listener, scenario.service(over_sns=True) as service:
        scenario.put("nightly")
        listener.take()
        run = Run(scenario, service, listener)
        run.wait("nightly")

        check(run, scenario)
        sent = fields_of(run.received.trace_header)
        publish = run.with_id(sent["Parent"])
        assert sent["Sampled"] == "1"
        assert (publish.name, publish.aws["operation"]) == ("sns", "Publish")
        assert publish.parent_id == run.functions()["run_execution"].segment.id


def test_a_chain_is_one_trace(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("first")
        scenario.put("second", schedule=None, after={"job": "first"}, workflow_type="express")
        scenario.put("third", schedule=None, after=[{"job": "second"}])
        scenario.tick()
        service.wait_for(lambda found: len(found.received) == 3, 2 * SECONDS, "the notifications")
        headers = [fields_of(received.trace_header) for received in service.received]
    assert {received.job_name for received in service.received} == {"first", "second", "third"}
    assert len({header["Root"] for header in headers}) == 1
    assert {header["Sampled"] for header in headers} == {"1"}


def test_a_change_of_a_job_is_one_trace_through_its_state_machine_and_the_webhook(scenario: Scenario) -> None:
    names = {name: key for key, name in scenario.outputs["function_names"].items()}
    steps = {"put_job", "validate_job", "test_target", "put_schedule", "save_job", "release_schedule"}

    def changing(arrived: list[Segment]) -> list[Segment]:
        roots = {
            segment.trace_id
            for segment in arrived
            if segment.annotations.get("service_name") == scenario.service_name
        }
        return [segment for segment in arrived if segment.trace_id in roots]

    with SegmentListener() as listener, scenario.service() as service:
        scenario.put("nightly", invocation_target=service.webhook_url("nightly"), test_invocation=True)
        arrived = listener.take_until(
            lambda arrived: steps <= {names.get(segment.name) for segment in changing(arrived)},
            SECONDS,
            "the functions of a change in one trace",
        )
        [received] = service.received
    found = {names[each.function_name]: each for each in invocations(changing(arrived), names)}
    assert found.keys() == steps
    assert len({each.segment.trace_id for each in found.values()}) == 1
    sent = fields_of(received.trace_header)
    assert sent["Root"] == found["test_target"].segment.trace_id
    [webhook] = [segment for segment in arrived if segment.id == sent["Parent"]]
    assert webhook.parent_id == found["test_target"].segment.id
    about = {"service_name": scenario.service_name, "job_name": "nightly"}
    for name in steps:
        assert about.items() <= found[name].segment.annotations.items(), name


@pytest.mark.parametrize(("jobs", "traces"), [(2, 1), (6, 6)])
def test_executions_share_their_ticks_trace_only_if_they_are_few(
    scenario: Scenario, jobs: int, traces: int
) -> None:
    names = [f"job-{number}" for number in range(jobs)]
    starts = scenario.outputs["function_names"]["start_due_executions"]
    with SegmentListener() as listener, scenario.service(over_sns=True) as service:
        for name in names:
            scenario.put(name)
        listener.take()
        at_ms = scenario.tick()
        for name in names:
            scenario.wait_until(name, at_ms, "success")

        roots = {fields_of(received.trace_header)["Root"] for received in service.received}
        of_ticks = {
            segment.trace_id
            for segment in listener.take()
            if segment.name == starts and segment.annotations.get("schedule") == scenario.schedule
        }
    assert len(roots) == traces
    assert (roots == of_ticks) is (traces == 1)
    assert len(of_ticks) == 1
