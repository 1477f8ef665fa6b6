"""The stage's functions log one JSON line for each fact, with the execution that it is about.

The saved queries find their fields in these lines.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, takewhile

from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario
from tests.unit.terraform.saved_queries import QUERIES

OF_REQUEST = re.compile(r'"function_request_id": ?"([^"]+)"')
BEGINS_WITH = re.compile(r"START RequestId: (\S+)")
# https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
LAMBDAS_OWN = ("INIT_START ", "START RequestId: ", "END RequestId: ", "REPORT RequestId: ")
# https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
OF_THE_RUNTIME = ("[ERROR] ", "Traceback ")
FIELDS_OF_EACH_LINE = {
    "timestamp",
    "level",
    "location",
    "message",
    "service",
    "correlation_id",
    "xray_trace_id",
}
FIELDS_OF_EACH_LINE |= {"function_request_id", "cold_start"}
OF_A_RUN = {"service_name", "job_name", "execution_id"}
MESSAGES = {
    "run_execution": ["execution started", "service notified"],
    "receive_callback": ["heartbeat accepted", "execution finished"],
}
METRICS = {"InvocationLatency", "InvocationLatencyPct", "Heartbeats", "Duration", "Succeeded"}
# These queries find lines of the test's run. The others search REPORT lines, throttling or the access log.
ANSWERED_QUERIES = {"what failed", "one execution", "errors", "refused callbacks"}


@dataclass
class Invocation:
    """The log lines of one invocation of a function."""

    function: str
    text: list[str] = field(default_factory=list)

    @property
    def has_raised(self) -> bool:
        """Whether the runtime wrote a stack trace. It is the last entry."""
        return any(line.startswith(OF_THE_RUNTIME) for line in self.text)

    @property
    def lines(self) -> list[Json]:
        """The function's own lines, each of which must be JSON."""
        own = takewhile(lambda line: not line.startswith(OF_THE_RUNTIME), self.text)
        return [json.loads(line) for line in own if not line.startswith(LAMBDAS_OWN)]

    @property
    def facts(self) -> list[Json]:
        """The lines without metrics."""
        return [line for line in self.lines if "_aws" not in line]

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics."""
        return {
            metric["Name"]
            for line in self.lines
            if "_aws" in line
            for directive in line["_aws"]["CloudWatchMetrics"]
            for metric in directive["Metrics"]
        }


def invocations(scenario: Scenario, since_ms: int) -> Iterator[Invocation]:
    """The invocations that logged anything about the scenario's service."""
    pages = scenario.aws.client("logs").get_paginator("filter_log_events")
    for function, name in scenario.outputs["function_names"].items():
        found: dict[str, Invocation] = {}
        request_id: dict[str, str] = {}
        for page in pages.paginate(logGroupName=f"/aws/lambda/{name}", startTime=since_ms):
            for event in page["events"]:
                stream, text = event["logStreamName"], event["message"]
                begun = BEGINS_WITH.match(text)
                if begun:
                    request_id[stream] = begun[1]
                # On a busy machine, a line may be written after the next invocation has begun.
                own = OF_REQUEST.search(text)
                invocation = own[1] if own else request_id.get(stream)
                if invocation:
                    found.setdefault(invocation, Invocation(function)).text.append(text)
        yield from (each for each in found.values() if scenario.service_name in "".join(each.text))


def wait_for_lines(scenario: Scenario, since_ms: int, message: str, count: int = 1) -> list[Invocation]:
    """Waits for that many lines with this message, because Lambda writes late. Returns all invocations."""

    def look() -> list[Invocation] | None:
        found = list(invocations(scenario, since_ms))
        matching = [line for each in found for line in each.facts if line["message"] == message]
        return found if len(matching) >= count else None

    return poll(look, 30, f"{count} lines with the message {message}")


def test_each_line_of_a_run_is_json_and_names_its_execution(scenario: Scenario) -> None:
    since_ms = int(time.time() * 1000)
    with scenario.service(over_sns=True):
        scenario.put("a", payload=json.dumps({"do": "succeed", "seconds": 1, "heartbeats": 1}))
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
    *others, last = chain.from_iterable(MESSAGES.values())
    for message in others:
        wait_for_lines(scenario, since_ms, message)
    found = wait_for_lines(scenario, since_ms, last)
    about = {"service_name": scenario.service_name, "job_name": "a"}
    about["execution_id"] = scenario.execution_id("a", at_ms)
    run = [each for each in found if each.function in MESSAGES]
    messages = {
        function: [line["message"] for each in run if each.function == function for line in each.facts]
        for function in MESSAGES
    }
    assert messages == MESSAGES
    facts = [line for each in run for line in each.facts]
    assert [line for line in facts if not about.items() <= line.items()] == []
    assert len({line["xray_trace_id"] for line in facts}) == 1
    assert set().union(*(each.metrics for each in run)) >= METRICS
    for each in found:
        assert not each.has_raised
        for line in each.facts:
            assert line.keys() >= FIELDS_OF_EACH_LINE, line
            assert line["service"] == each.function
            assert line["cold_start"] in (True, False)
            assert line["service_name"] == scenario.service_name or each.function == "start_due_executions"


def test_the_saved_queries_find_their_fields(scenario: Scenario) -> None:
    since_ms = int(time.time() * 1000)
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a")
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        url = service.received[0].notification["callback_url"]
        assert scenario.callback(url, {"status": "success", "colour": "blue"}).status == 400
        about = {"service_name": scenario.service_name, "job_name": "a"}
        about["execution_id"] = scenario.execution_id("a", at_ms)
        broken = scenario.aws.client("lambda").invoke(
            FunctionName=scenario.outputs["function_names"]["run_execution"],
            Payload=json.dumps({"execution": about}),
        )
        assert broken["FunctionError"]
        assert scenario.callback(url, {"status": "fail", "error": "Oops"}).status == 200
        scenario.wait_until("a", at_ms, "fail")
        found = wait_for_lines(scenario, since_ms, "execution finished")
    lines = [line for each in found for line in each.facts]
    assert {query.name for query in QUERIES.values() if query.messages} == {
        *(ANSWERED_QUERIES - {"one execution"}),
        "throttled starts",
    }
    for name in ANSWERED_QUERIES:
        query = QUERIES[name]
        answer = [
            line
            for line in lines
            if (line["message"] in query.messages if query.messages else about.items() <= line.items())
        ]
        fields = {field for line in answer for field in line}
        assert {field for field in query.fields if field[0] != "@"} <= fields, name
